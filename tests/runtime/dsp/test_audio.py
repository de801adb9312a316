import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import mpeg

FORMATS = ("wav", "float.wav", "flac", "ogg", "mp3")


def count_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


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


@pytest.mark.parametrize("extension", ["flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_copy_that_broke_off_is_read_up_to_there(extension, share, channels, noise, tmp_path, capfd, write):
    path = write(tmp_path / f"x.{extension}", np.tile(noise[:, None], (3, channels)))
    wanted = read(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = []
    with pytest.raises(HtsatEdgeError, match=r"x\..*: is truncated or damaged after \d\.\d{3} s; copy it again, or"):
        found.extend(AudioFile(path).blocks(1000))
    found = np.concatenate(found)
    assert share * len(wanted) - 60_000 < len(found) <= len(wanted)
    np.testing.assert_array_equal(found[:-3000], wanted[: len(found) - 3000])
    assert capfd.readouterr().err == ""  # decoders write to the terminal behind our back


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30, 33.0, -3e4])
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
        ("x.raw", bytes(1000), "is no recording that can be read: .*; want wav, flac, ogg, opus, mp3, .* ffmpeg knows"),
    ],
)
def test_what_is_no_recording_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HtsatEdgeError, match=message):
        AudioFile(tmp_path / name)


@pytest.mark.parametrize("rate", [1, 100, 999, 1_000_001])
def test_a_sample_rate_that_no_microphone_has_is_refused(rate, noise, tmp_path, write):
    """At 1 Hz, two seconds of audio would last for a day."""
    path = write(tmp_path / "x.wav", noise, rate)
    with pytest.raises(
        HtsatEdgeError, match=rf"x\.wav: has a sample rate of {rate} Hz, want 1000 to 1000000; write it"
    ):
        AudioFile(path)


@pytest.mark.parametrize("full_scale", [2**15, 2**23, 2**31])
@pytest.mark.parametrize("block", [1, 17, 96_000])
def test_integers_written_as_floats_are_scaled(full_scale, block, noise, tmp_path, write, caplog):
    noise[:5000] = 0  # silence says nothing of the scale
    wanted = np.round(noise * full_scale).astype(np.float32)
    path = write(tmp_path / "x.float.wav", wanted)
    np.testing.assert_array_equal(read(path, max(block, 500)), wanted / np.float32(full_scale))
    (line,) = caplog.messages
    assert line.endswith(
        f"holds samples up to {np.abs(wanted).max():.0f}, integers written as floats; they are divided by {full_scale}"
    )


def test_floats_that_are_not_whole_numbers_are_scaled_too(noise, tmp_path, write):
    samples = noise * np.float32(2**15)
    found = read(write(tmp_path / "x.float.wav", samples))
    np.testing.assert_array_equal(found, samples / np.float32(2**15))


@pytest.mark.parametrize("gain", [1, 10, 40])
def test_floats_may_pass_full_scale(gain, noise, tmp_path, write, caplog):
    np.testing.assert_array_equal(read(write(tmp_path / "x.float.wav", gain * noise)), gain * noise)
    assert caplog.messages == []


def test_many_channels_are_read_in_parts(tmp_path):
    path = tmp_path / "x.wav"
    samples = np.random.default_rng(0).normal(0, 0.1, (9000, 512)).astype(np.float32)
    soundfile.write(path, samples, 48_000, subtype="FLOAT")
    frames = list(AudioFile(path).frames(9000))
    assert max(map(len, frames)) * 512 <= 1 << 22
    np.testing.assert_array_equal(np.concatenate(frames), samples)


def test_a_recording_can_be_read_again_and_holds_no_file_open(noise, tmp_path, write):
    file = AudioFile(write(tmp_path / "x.wav", noise))
    descriptors = count_descriptors()
    first, second = (np.concatenate(list(file.blocks(1000))) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    files = [AudioFile(file.path) for _ in range(10)]
    assert count_descriptors() == descriptors
    assert {file.samples for file in files} == {len(noise)}
    file.path.unlink()
    with pytest.raises(HtsatEdgeError, match="no such file"):
        next(file.blocks(1000))


def test_no_file_no_samples_and_a_directory(tmp_path, write):
    with pytest.raises(HtsatEdgeError, match="no such file"):
        AudioFile(tmp_path / "absent.wav")
    with pytest.raises(HtsatEdgeError, match="File name too long"):
        AudioFile(tmp_path / ("x" * 300))
    with pytest.raises(HtsatEdgeError, match="is a directory"):
        AudioFile(tmp_path)
    with pytest.raises(HtsatEdgeError, match="has no samples"):
        AudioFile(write(tmp_path / "x.wav", np.empty(0, np.float32)))


def test_a_name_cannot_command_the_terminal(tmp_path):
    with pytest.raises(HtsatEdgeError) as error:
        AudioFile(tmp_path / "\x1b[2J\n.wav")
    assert str(error.value) == f"{tmp_path}/\\x1b[2J\\n.wav: no such file"


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
    assert mpeg.measure(path)[:3] == (frames * 1152, frames * 1152, True)
    path.write_bytes(content[:at] + (frames + more).to_bytes(4, "big") + content[at + 4 :])
    assert mpeg.measure(path).declared == (frames + more) * 1152
    if message is None:
        assert abs(len(read(path)) - len(noise)) <= 2 * 1152
    else:
        with pytest.raises(HtsatEdgeError, match=message):
            read(path)


@pytest.mark.parametrize("loud_first", [False, True])
@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("rate", [48_000, 16_000])
@pytest.mark.parametrize("missing", [0, 1, 200])
def test_an_mp3_of_variable_bitrate_without_a_tag(loud_first, level, rate, missing, noise, tmp_path, write):
    """libsndfile would estimate its length from the first frame; which may be cut, as in a part of a stream."""
    noise[slice(48_000, None) if loud_first else slice(48_000)] *= 1e-4
    path = tmp_path / "x.mp3"
    soundfile.write(path, noise, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=level)
    content = path.read_bytes()
    assert b"Xing" in content[:200]
    first = content.index(content[:2], 4)
    path.write_bytes(content[first + missing :])
    assert mpeg.measure(path).declared is None
    assert abs(len(read(path)) - len(noise)) < 4 * 1152


@pytest.mark.parametrize("channels", [1, 2])
def test_what_comes_before_a_sample_that_is_no_sound_is_heard(channels, noise, tmp_path, write):
    """Also of a mix, whose first 0.1 s are held back."""
    samples = np.repeat(noise[:, None], channels, axis=1)
    samples[3000] = np.nan
    found = []
    with pytest.raises(HtsatEdgeError, match="a sample that is no sound"):
        found.extend(AudioFile(write(tmp_path / "x.float.wav", samples)).blocks(1000))
    np.testing.assert_array_equal(np.concatenate(found), noise[:3000])
