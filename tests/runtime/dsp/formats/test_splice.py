import io
import os

import numpy as np
import pytest

from htsat_edge.runtime.dsp.formats.splice import Mended, Splice


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_splice_is_the_head_and_then_the_file(size, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(50)))
    splice, wanted = Splice(path, Mended(b"a new head", 20, 45)), b"a new head" + bytes(range(20, 45))
    found = b"".join(iter(lambda: splice.read(size), b""))
    assert found == wanted
    splice.close()


def test_it_can_be_sought_in_like_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(50)))
    splice, wanted = Splice(path, Mended(b"head", 2, 50)), io.BytesIO(b"head" + bytes(range(2, 50)))
    rng = np.random.default_rng(0)
    for _ in range(300):
        whence, offset, length = int(rng.integers(3)), int(rng.integers(-30, 60)), int(rng.integers(20))
        if whence != os.SEEK_SET or offset >= 0:
            assert splice.seek(offset, whence) == wanted.seek(offset, whence)
        assert splice.read(length) == wanted.read(length)
        assert splice.tell() == wanted.tell()


def test_a_disk_that_fails_is_the_end(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(bytes(50))
    splice = Splice(path, Mended(b"head", 0, 50))

    def fail(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    assert splice.read(100) + splice.read(100) == b"head"
