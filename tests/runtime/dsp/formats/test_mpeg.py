import numpy as np
import pytest

from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import mpeg
from htsat_edge.runtime.dsp.formats.splice import Mended

MPEG_1, MPEG_2, MPEG_2_5 = 3, 2, 0
"""Bits of a header's version (ISO 11172-3 and 13818-3, section 2.4.2.3)."""
KBPS_1 = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
KBPS_2 = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
"""Bitrates of layer III in MPEG 1, and in 2 and 2.5, from index 1 on."""
HZ = {MPEG_1: [44_100, 48_000, 32_000], MPEG_2: [22_050, 24_000, 16_000], MPEG_2_5: [11_025, 12_000, 8000]}


def header(version=MPEG_1, layer=1, bitrate=9, rate=0, padding=0):
    """The four bytes before a frame; layer III is 1."""
    return bytes([0xFF, 0xE1 | version << 3 | layer << 1, bitrate << 4 | rate << 2 | padding << 1, 0xC4])


def frames(count, **fields):
    """Frames of 128 kbit/s at 44.1 kHz, 417 bytes each; or with other fields in their headers."""
    return count * (header(**fields) + bytes(413))


def measure(tmp_path, content):
    path = tmp_path / "x.mp3"
    path.write_bytes(content)
    length = mpeg.measure(path)
    return None if length is None else (length.found, length.declared, length.whole)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130)])
def test_mp3_frames_are_counted(rate, tag, noise, tmp_path, write):
    path = write(tmp_path / "x.mp3", noise, rate)
    path.write_bytes(tag + path.read_bytes())
    length = mpeg.measure(path)
    assert length.whole
    assert 0 <= length.found - len(noise) < 4 * 1152
    assert length.declared is None or abs(length.found - length.declared) <= 1152


@pytest.mark.parametrize("version", [MPEG_1, MPEG_2, MPEG_2_5])
@pytest.mark.parametrize("rate", [0, 1, 2])
@pytest.mark.parametrize("padding", [0, 1])
def test_a_frame_is_as_long_as_its_bitrate_says(version, rate, padding, tmp_path):
    """To the byte: one that is missing makes the last frame incomplete, one more is junk."""
    samples = 1152 if version == MPEG_1 else 576
    for bitrate, kbps in enumerate(KBPS_1 if version == MPEG_1 else KBPS_2, start=1):
        length = samples * kbps * 125 // HZ[version][rate] + padding
        frame = header(version, 1, bitrate, rate, padding) + bytes(length - 4)
        assert measure(tmp_path, 3 * frame) == (3 * samples, None, True), kbps
        assert measure(tmp_path, (3 * frame)[:-1]) == (2 * samples, None, False), kbps
        assert measure(tmp_path, 2 * frame + b"\0" + 2 * frame) == (4 * samples, None, True), kbps


@pytest.mark.parametrize("fields", [{"version": 1}, {"layer": 2}, {"bitrate": 0}, {"bitrate": 15}, {"rate": 3}])
def test_other_headers_are_no_frames(fields, tmp_path):
    assert measure(tmp_path, frames(3, **fields)) is None
    assert measure(tmp_path, frames(2) + frames(3, **fields)) == (2 * 1152, None, True)


def test_a_single_frame_may_be_a_coincidence(tmp_path):
    assert measure(tmp_path, frames(1)) is None
    assert measure(tmp_path, frames(2)) == (2 * 1152, None, True)


@pytest.mark.parametrize("size", [(0, 0, 3, 72), (0, 1, 2, 3), (1, 1, 0, 1)])
def test_what_lies_in_a_tag_is_not_counted(size, tmp_path):
    """Not even frames; its size is in groups of seven bits."""
    a, b, c, d = size
    length = ((a * 128 + b) * 128 + c) * 128 + d
    tag = b"ID3\x04\x00\x00" + bytes(size) + frames(length // 417 + 1)[:length]
    assert measure(tmp_path, tag + frames(3)) == (3 * 1152, None, True)
    assert measure(tmp_path, frames(2) + tag + frames(3)) == (5 * 1152, None, True)


def test_what_lies_in_an_old_tag_is_not_counted(tmp_path):
    small = header(bitrate=1) + bytes(100)  # 104 bytes
    tag = b"TAG" + (small + header(bitrate=1)).ljust(125, b"\0")
    assert measure(tmp_path, frames(2) + tag + frames(3)) == (5 * 1152, None, True)
    assert measure(tmp_path, frames(2) + tag) == (2 * 1152, None, True)


@pytest.mark.parametrize("start", [b"RIFF", b"fLaC", b"", b"\xff"])
def test_only_mp3s_are_counted(start, noise, tmp_path, write):
    """Not those of which a part looks like frames."""
    assert mpeg.measure(write(tmp_path / "x.wav", noise)) is None
    assert measure(tmp_path, start + (frames(2) if len(start) > 1 else b"")) is None


@pytest.mark.parametrize("before", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130)])
@pytest.mark.parametrize("after", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(2000), bytes(5000)])
def test_the_decoder_sees_no_tags(before, after, noise, tmp_path, write, capfd):
    """It prints warnings about them to the terminal."""
    path = write(tmp_path / "x.mp3", noise)
    content, wanted = path.read_bytes(), np.concatenate(list(AudioFile(path).blocks(1000)))
    path.write_bytes(before + content + after)
    mended = mpeg.mend(path, mpeg.measure(path))
    start = len(before)
    assert mended == (None if start == len(after) == 0 else Mended(b"", start, start + len(content)))
    np.testing.assert_array_equal(np.concatenate(list(AudioFile(path).blocks(1000))), wanted)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("start", [b"fLaC", b"OggS", b"RIFF", b"wvpk", b"\xff\xf1\x50\x80", b"\xff\xf9\x50\x80"])
def test_a_tag_may_be_that_of_something_else(start, tmp_path):
    """In which a few bytes look like frames."""
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130)
    assert measure(tmp_path, tag + tag + start + frames(3)) is None
    assert measure(tmp_path, start + bytes(60) + frames(9)) is None
    assert measure(tmp_path, tag + tag + frames(3)) == (3 * 1152, None, True)


@pytest.mark.parametrize("cut", [1, 300, 416])
def test_the_first_frame_may_be_cut(cut, tmp_path):
    assert measure(tmp_path, frames(9)[cut:]) == (8 * 1152, None, True)
    assert measure(tmp_path, frames(3)[cut:]) is None
    assert measure(tmp_path, b"\0\0\0\x20ftypisom" + bytes(20) + frames(9)) is None
