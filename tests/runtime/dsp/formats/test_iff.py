import numpy as np
import pytest

from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import iff

NAMES = ("x.aiff", "x.aifc", "x.au", "x.caf")
FIELDS = {"x.aiff": (b"SSND", 4, 8), "x.aifc": (b"SSND", 4, 8), "x.caf": (b"data", 8, 4)}
"""The chunk of the samples, the bytes of its size, and those before the samples."""


def read(path):
    return np.concatenate(list(AudioFile(path).blocks(7000)))


def declare(path, length):
    """Write another length of the samples, in bytes, into the header."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".au":
        content[8:12] = length.to_bytes(4, "big")
    else:
        name, width, before = FIELDS[path.name]
        at = content.index(name) + 4
        content[at : at + width] = (length + before).to_bytes(width, "big")
    path.write_bytes(content)


@pytest.fixture
def made(encode, tmp_path):
    """Write the farmyard in a format: 18 s of 32 kHz, 16 bits."""

    def make(name):
        options = ("-f", "aiff", "-c:a", "pcm_s16le") if name == "x.aifc" else ()
        return encode(name, *options, to=tmp_path)

    return make


@pytest.mark.parametrize("declared", [0, 2, 640_000, 1_151_000])
@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_promises_too_little(name, declared, made, caplog):
    path = made(name)
    wanted = read(path)
    assert iff.mend(path) is None
    assert len(wanted) == 18 * 32_000
    declare(path, declared)
    np.testing.assert_array_equal(read(path), wanted)
    claim = f"claims {declared} bytes of samples, but 1152000 are there"
    assert caplog.messages[0] == f"{path}: its header {claim}; all of them are read"


@pytest.mark.parametrize("cut", [2, 3, 45, 400_001])
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_that_broke_off_is_read_to_its_last_sample(name, cut, made, caplog):
    path = made(name)
    wanted = read(path)
    path.write_bytes(path.read_bytes()[:-cut])
    np.testing.assert_array_equal(read(path), wanted[: (1_152_000 - cut) // 2])
    claim = f"its header claims 1152000 bytes of samples, but {1_152_000 - cut} are there; all of them are read"
    assert caplog.messages[0] == f"{path}: {claim}"
    if cut < 4 or cut > 5000:  # as much as a head, which some writers count, or samples
        assert AudioFile(path).missing == ("" if cut < 4 else claim)


@pytest.mark.parametrize("name", ["x.aiff", "x.caf"])
def test_metadata_behind_the_samples_is_no_sound(name, made, caplog):
    path = made(name)
    wanted, width = read(path), FIELDS[name][1]
    chunk = b"free" + (5001).to_bytes(width, "big") + bytes([128]) * 5001
    path.write_bytes(path.read_bytes() + chunk)
    np.testing.assert_array_equal(read(path), wanted)
    assert caplog.messages == []


@pytest.mark.parametrize("rest", [b"\0", bytes(511)])
@pytest.mark.parametrize("name", NAMES)
def test_padding_is_no_sound(rest, name, made, caplog):
    path = made(name)
    wanted = read(path)
    path.write_bytes(path.read_bytes() + rest)
    np.testing.assert_array_equal(read(path), wanted)
    assert caplog.messages == []


@pytest.mark.parametrize(
    "content", [b"FORM", b".snd", b"caff\0\1\0\0", b"FORM\0\0\0\4AIFFSSND\0\0", b".snd" + bytes(9)]
)
def test_what_is_no_whole_header_is_left_to_libsndfile(content, tmp_path):
    (tmp_path / "x").write_bytes(content)
    assert iff.mend(tmp_path / "x") is None
