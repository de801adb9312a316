import os

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.formats import content, flac, mpeg, ogg
from htsat_edge.runtime.dsp.formats.content import Content

BYTES = np.random.default_rng(0).bytes(1000)


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "x"
    made.write_bytes(BYTES)
    return made


@pytest.mark.parametrize("block", [1, 7, 5000])
@pytest.mark.parametrize("skipped", [0, 10])
def test_it_is_sliced_and_searched_like_bytes(block, skipped, path, monkeypatch):
    monkeypatch.setattr(content, "BLOCK", block)
    rng, wanted = np.random.default_rng(1), BYTES[skipped:]
    with Content(path) as found:
        found.skip(skipped)
        assert len(found) == len(wanted)
        for first, end in rng.integers(-1100, 1100, (300, 2)):
            assert found[first:end] == wanted[first:end]
        for byte, at in zip(rng.integers(0, 256, 100), rng.integers(0, 1100, 100), strict=True):
            assert found.find(byte, at) == wanted.find(byte, at)


@pytest.mark.parametrize(("name", "kind"), [("x.flac", flac), ("x.ogg", ogg), ("x.mp3", mpeg)])
def test_a_file_that_is_cut_while_it_is_looked_at_is_refused(name, kind, noise, tmp_path, write, monkeypatch):
    """A map of it would end the process."""
    path, fstat = write(tmp_path / name, noise), os.fstat

    def cut(descriptor):
        seen = fstat(descriptor)
        os.truncate(path, 5000)
        return seen

    monkeypatch.setattr(os, "fstat", cut)
    with pytest.raises(HtsatEdgeError, match="became shorter while it was read; try again when nothing writes to it"):
        kind.measure(path)


def test_a_disk_that_fails_is_an_error_of_the_system(path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with Content(path) as found, pytest.raises(OSError, match="Input/output error"):
        found[:4]
