import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp import mpeg
from htsat_edge.runtime.dsp.audio import AudioFile

FORMATS = ("wav", "float.wav", "flac", "ogg", "mp3")


def read(path, block=1000):
    return np.concatenate(list(AudioFile(Path(path)).blocks(block)))


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_format_is_read_as_one_channel(extension, channels, noise, tmp_path, write):
    if extension == "mp3" and channels > 2:
        pytest.skip("MP3 has at most two channels")
    samples = noise[:, None] * np.linspace(0.5, 1.5, channels) if channels > 1 else noise
    path = write(tmp_path / f"x.{extension}", samples)
    found, file = read(path), AudioFile(path)
    assert file.sample_rate == 48_000
    assert abs(len(found) - len(noise)) < 3000  # MP3 pads
    if extension in ("wav", "float.wav", "flac"):
        np.testing.assert_allclose(found, noise, atol=1e-4)


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
def test_a_truncated_file_is_refused(extension, share, noise, tmp_path, capfd, write):
    path = write(tmp_path / f"x.{extension}", noise)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(HtsatEdgeError, match=r"x\..*: is truncated or damaged"):
        read(path)
    assert capfd.readouterr().err == ""  # decoders write to the terminal behind our back


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFF00])
def test_a_wav_from_a_pipe_does_not_know_its_length(length, noise, tmp_path, write):
    """As ffmpeg, sox and arecord write it."""
    path = write(tmp_path / "x.wav", noise)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    assert len(read(path)) == len(noise)


def test_a_flac_from_a_pipe_says_why_it_is_refused(noise, tmp_path, write):
    path = write(tmp_path / "x.flac", noise)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the total of samples, 36 bits of the STREAMINFO block
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(HtsatEdgeError, match="does not say how long it is"):
        read(path)


@pytest.mark.parametrize("extension", ["ogg", "mp3"])
@pytest.mark.parametrize("parts", ["ab", "aa", "aba"])
@pytest.mark.parametrize(
    "tag", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130), b"TAG" + bytes(125), b"\x00" * 37]
)
def test_joined_files_of_which_only_the_first_would_be_read(extension, parts, tag, noise, tmp_path, capfd, write):
    files = {
        "a": write(tmp_path / f"a.{extension}", noise).read_bytes(),
        "b": write(tmp_path / f"b.{extension}", noise[::-1]).read_bytes(),
    }
    between = tag if extension == "mp3" else b""
    path = tmp_path / f"x.{extension}"
    path.write_bytes(between.join(files[part] for part in parts))
    with pytest.raises(
        HtsatEdgeError, match=r"Ogg streams one after the other|an MP3 of which only \d+ % would be read"
    ):
        read(path)
    assert capfd.readouterr().err == ""


def test_a_wav_of_gigabytes_that_was_cut(noise, tmp_path, write):
    path = write(tmp_path / "x.wav", noise)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", 0xB0000000)
    path.write_bytes(content)
    with pytest.raises(HtsatEdgeError, match="truncated"):
        read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_no_sound_is_refused_with_its_place(bad, noise, tmp_path, write):
    samples = np.stack([noise, noise], axis=1)
    samples[72_000, 1] = bad
    with pytest.raises(HtsatEdgeError, match=r"a sample that is no sound \(.*\) at 1\.500 s"):
        read(write(tmp_path / "x.float.wav", samples))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is no recording at all", "is no recording that can be read"),
        ("random.mp3", bytes(range(256)) * 20, "is no recording that can be read"),
        ("x.raw", bytes(1000), "is no recording that can be read; want wav, flac, ogg or mp3"),
    ],
)
def test_what_is_no_recording_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HtsatEdgeError, match=message):
        AudioFile(tmp_path / name)


def test_no_file_no_samples_and_a_directory(tmp_path, write):
    with pytest.raises(HtsatEdgeError, match="no such file"):
        AudioFile(tmp_path / "absent.wav")
    with pytest.raises(HtsatEdgeError, match="File name too long"):
        AudioFile(tmp_path / ("x" * 300))
    with pytest.raises(HtsatEdgeError, match="is a directory"):
        AudioFile(tmp_path)
    with pytest.raises(HtsatEdgeError, match="has no samples"):
        AudioFile(write(tmp_path / "x.wav", np.empty(0, np.float32)))


def test_a_name_that_is_no_text(noise, tmp_path, write):
    path = write(tmp_path / "x.wav", noise)
    assert len(read(path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")))) == len(noise)


@pytest.mark.parametrize(
    ("more", "message"),
    [(-6, "of which only 93 % would be read"), (-2, None), (0, None), (4, None), (5, "is truncated or damaged")],
)
def test_an_mp3_may_have_a_few_frames_more_or_less_than_its_tag_says(more, message, noise, tmp_path, write):
    """Encoders pad; four frames of 24 ms are borne."""
    path = write(tmp_path / "x.mp3", noise)
    content = path.read_bytes()
    at = content.index(b"Xing") + 8
    frames = int.from_bytes(content[at : at + 4], "big")
    assert mpeg.measure(path) == (frames * 1152, frames * 1152, True)
    path.write_bytes(content[:at] + (frames + more).to_bytes(4, "big") + content[at + 4 :])
    assert mpeg.measure(path).declared == (frames + more) * 1152
    if message is None:
        assert abs(len(read(path)) - len(noise)) <= 2 * 1152
    else:
        with pytest.raises(HtsatEdgeError, match=message):
            read(path)


@pytest.mark.parametrize("loud_first", [False, True])
@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_an_mp3_of_variable_bitrate_without_a_tag(loud_first, level, noise, tmp_path, write):
    """libsndfile estimates its length from the first frame: too short is refused, too long does no harm."""
    noise[slice(48_000, None) if loud_first else slice(48_000)] *= 1e-4
    path = tmp_path / "x.mp3"
    soundfile.write(path, noise, 48_000, format="MP3", bitrate_mode="VARIABLE", compression_level=level)
    content = path.read_bytes()
    assert b"Xing" in content[:200]
    first = content.index(content[:2], 4)
    path.write_bytes(content[first:])
    assert mpeg.measure(path).declared is None
    if loud_first:
        with pytest.raises(HtsatEdgeError, match=r"an MP3 of which only \d+ % would be read"):
            read(path)
    else:
        assert abs(len(read(path)) - len(noise)) < 4 * 1152
