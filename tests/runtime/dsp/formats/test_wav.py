import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import wav


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf59.27.100\0"))
TRAILERS = {
    "nothing": b"",
    "LIST": LIST,
    "guan": chunk(b"guan", b"GUANO|Version:1.0\nMake: x\n"),
    "guan, not padded": chunk(b"guan", b"GUANO|Version:1.0\nMake: xy\n")[:-1],
    "wamd": chunk(b"wamd", bytes(range(90))),
    "bext": chunk(b"bext", b"a recorder".ljust(602, b"\0")),
    "iXML and LIST": chunk(b"iXML", b"<BWFXML/>" * 7) + LIST,
}
"""What recorders put after the samples."""


def parts(path):
    """The fmt chunk, and the samples' bytes, of a WAV."""
    content = path.read_bytes()
    at = content.index(b"data")
    return content[12:at], content[at + 8 :]


def riff(fmt, samples, declared, trailer=b""):
    return b"RIFF" + struct.pack("<I", 0) + b"WAVE" + fmt + b"data" + struct.pack("<I", declared) + samples + trailer


def rf64(fmt, samples, declared, trailer=b"", size=0xFFFFFFFF):
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, 0, declared, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data" + struct.pack("<I", size) + samples + trailer


def read(path, block=7000):
    return np.concatenate(list(AudioFile(path).blocks(block)))


@pytest.fixture
def original(noise, tmp_path, write):
    path = write(tmp_path / "x.wav", noise)
    return path, *parts(path), read(path)


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize(
    "claim",
    [0, 2, 77_000, -2, 8, 36, 44, 100, 192_000, 0x7FFFF000, 0x7FFFFF00, 0x80000000, 0xB0000000, 0xFFFFFFFF, 0xFFFFFFF0],
)
def test_a_header_that_is_wrong_about_its_length(claim, trailer, original, caplog):
    """Negative, from 8 to 100, and 192 000: in comparison with what is there. The last are those of pipes."""
    path, fmt, samples, wanted = original
    declared = claim if claim in (0, 2, 77_000) or claim > 192_000 else len(samples) + claim
    path.write_bytes(riff(fmt, samples, declared, TRAILERS[trailer]))
    np.testing.assert_array_equal(read(path), wanted)
    (line,) = caplog.messages
    assert line == (
        f"{path}: its header claims {declared} bytes of samples ({declared / 96_000:.3f} s), but 192000 bytes of "
        "samples (2.000 s) are there; all of them are read"
    )


@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_header_that_is_right_is_believed(trailer, original, caplog):
    path, fmt, samples, wanted = original
    for content in (
        riff(fmt, samples, len(samples), TRAILERS[trailer]),
        rf64(fmt, samples, len(samples), TRAILERS[trailer]),
    ):
        path.write_bytes(content)
        assert wav.mend(path) is None
        np.testing.assert_array_equal(read(path), wanted)
    assert caplog.messages == []


@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_byte_too_many_is_less_than_a_sample(trailer, original, caplog):
    path, fmt, samples, wanted = original
    path.write_bytes(riff(fmt, samples, len(samples) + 1, TRAILERS[trailer]))
    np.testing.assert_array_equal(read(path), wanted)
    assert caplog.messages == []


@pytest.mark.parametrize("rest", [b"\0", bytes(511), LIST[:20], LIST + LIST[:9], b"LIST\xff\xff\0\0abc"])
def test_padding_and_a_trailer_that_was_cut_are_no_samples(rest, original, caplog):
    path, fmt, samples, wanted = original
    path.write_bytes(riff(fmt, samples, len(samples), rest))
    np.testing.assert_array_equal(read(path), wanted)
    assert caplog.messages == []


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize(("declared", "size"), [(0, 0xFFFFFFFF), (0, 0), (77_000, 0xFFFFFFFF), (192_036, 0xFFFFFFFF)])
def test_an_rf64_that_was_never_finished(declared, size, trailer, original, caplog):
    path, fmt, samples, wanted = original
    path.write_bytes(rf64(fmt, samples, declared, TRAILERS[trailer], size))
    np.testing.assert_array_equal(read(path), wanted)
    assert f"claims {declared} bytes" in caplog.text
    assert AudioFile(path).missing == ""


@pytest.mark.parametrize("make", [riff, rf64])
@pytest.mark.parametrize("cut", [1, 2, 44, 45, 1001, 100_001])
def test_a_copy_that_broke_off_is_read_to_its_last_sample(cut, make, original, caplog):
    path, fmt, samples, wanted = original
    path.write_bytes(make(fmt, samples, len(samples))[:-cut])
    np.testing.assert_array_equal(read(path), wanted[: (len(samples) - cut) // 2])
    (line,) = caplog.messages
    assert "its header claims 192000 bytes of samples (2.000 s), but " in line
    missing = AudioFile(path).missing
    assert missing == (line.partition(": ")[2] if cut > 1000 else "" if cut < 45 else missing)  # a head, or samples


@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_wav_without_samples_has_none(trailer, original):
    path, fmt, _, _ = original
    path.write_bytes(riff(fmt, b"", 0, TRAILERS[trailer]))
    with pytest.raises(HtsatEdgeError, match="has no samples"):
        AudioFile(path)


@pytest.mark.parametrize("trailer", ["nothing", "LIST", "guan, not padded"])
@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0x7FFFF000, 705_032_704 - 2**20, 100])
def test_more_than_four_gigabytes(declared, trailer, original):
    """A field of 32 bits cannot hold the length; of 5 GB, 705 032 704 remain. On disk most of it is a hole."""
    path, fmt, samples, wanted = original
    length = 5_000_000_000 - 2**20
    with path.open("wb") as file:
        file.write(riff(fmt, samples, declared))
        start = file.tell() - len(samples)
        file.seek(start + length - len(samples))
        file.write(samples + TRAILERS[trailer])
    mended = wav.mend(path)
    assert (mended.start, mended.end) == (start, start + length)
    file = AudioFile(path)
    assert file.samples == length // 2
    np.testing.assert_array_equal(next(file.blocks(len(wanted))), wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["wav", "float.wav"])
def test_a_part_of_a_frame_is_left_out(channels, kind, noise, tmp_path, write):
    path = write(tmp_path / f"x.{kind}", np.repeat(noise[:, None], channels, axis=1))
    wanted, content = read(path), path.read_bytes()
    at = content.index(b"data") + 4
    for cut in range(1, channels * 2 + 1):
        path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 : -cut])
        np.testing.assert_array_equal(read(path), wanted[:-1])


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"fLaC" + bytes(50), b"RIFFxxxxWAVEdata\1\0\0\0"]
)
def test_what_is_no_whole_header_is_left_to_libsndfile(content, tmp_path):
    (tmp_path / "x.wav").write_bytes(content)
    assert wav.mend(tmp_path / "x.wav") is None


ID3 = b"ID3\4\0\0\0\0\2\x0a" + bytes(range(256)) + bytes(10)


@pytest.mark.parametrize("tag", [b"TAG".ljust(128, b"x"), ID3, ID3 + b"TAG".ljust(128, b"x")])
@pytest.mark.parametrize("declared", [192_000, 192_036, 77_000, 0, 0xFFFFFFFF])
def test_a_tag_behind_the_samples_is_no_sound(declared, tag, original):
    path, fmt, samples, wanted = original
    path.write_bytes(riff(fmt, samples, declared, tag))
    np.testing.assert_array_equal(read(path), wanted)


def test_another_recording_behind_the_samples_is_not_passed_over_in_silence(original, caplog):
    path, _, _, wanted = original
    content = path.read_bytes()
    path.write_bytes(content + content)
    np.testing.assert_array_equal(read(path), wanted)
    assert caplog.messages == [
        f"{path}: behind its samples follow {len(content)} bytes of another recording, which are not read; split it"
    ]


def test_samples_whose_bits_do_not_fit_are_refused(original):
    path, fmt, samples, _ = original
    path.write_bytes(riff(fmt[:22] + struct.pack("<H", 17) + fmt[24:], samples, len(samples)))
    with pytest.raises(
        HtsatEdgeError, match=r"x\.wav: its header claims samples of 17 bits, but 1 of them in 2 bytes; write it anew"
    ):
        AudioFile(path)


@pytest.mark.parametrize(("declared", "level"), [(0xFFFFFFFF, "INFO"), (0, "INFO"), (384_000, "WARNING")])
def test_a_pipe_that_leaves_its_length_open_is_no_warning(declared, level, original, caplog):
    """One that broke off is."""
    path, fmt, samples, wanted = original
    path.write_bytes(riff(fmt, samples, declared))
    caplog.set_level("INFO")
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        np.testing.assert_array_equal(read(Path(f"/dev/fd/{process.stdout.fileno()}")), wanted)
    assert [record.levelname for record in caplog.records] == [level]
