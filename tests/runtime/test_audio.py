import struct

import numpy as np
import pytest
import soundfile
import soxr

from runtime.audio import AudioFile, Resampler
from runtime.errors import UserError

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


@pytest.fixture
def noise():
    return (np.random.default_rng(0).normal(0, 0.1, 96_000)).astype(np.float32)


def write(path, samples, rate=48_000):
    kind, subtype = FORMATS[path.name.partition(".")[2]]
    soundfile.write(path, samples, rate, format=kind, subtype=subtype)
    return path


def read(path, block=1000):
    return np.concatenate(list(AudioFile(path).blocks(block)))


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_format_is_read_as_one_channel(extension, channels, noise, tmp_path):
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
def test_a_truncated_file_is_refused(extension, noise, tmp_path):
    path = write(tmp_path / f"x.{extension}", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"x\..*: is truncated or damaged"):
        read(path)


def test_a_wav_from_a_pipe_does_not_know_its_length(noise, tmp_path):
    path = write(tmp_path / "x.wav", noise)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(content)
    assert len(read(path)) == len(noise)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused_with_its_place(bad, noise, tmp_path):
    noise[72_000] = bad
    with pytest.raises(UserError, match=r"not a number at 1\.500 s"):
        read(write(tmp_path / "x.float.wav", noise))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is no recording at all", "is no recording that can be read"),
        ("random.mp3", bytes(range(256)) * 20, "is no recording that can be read"),
    ],
)
def test_what_is_no_recording_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        AudioFile(tmp_path / name)


def test_no_file_no_samples_and_a_directory(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        AudioFile(tmp_path / "absent.wav")
    with pytest.raises(UserError, match="is a directory"):
        AudioFile(tmp_path)
    with pytest.raises(UserError, match="has no samples"):
        AudioFile(write(tmp_path / "x.wav", np.empty(0, np.float32)))


@pytest.mark.parametrize("rate", [8000, 22_050, 32_000, 44_100, 96_000])
@pytest.mark.parametrize("chunk", [1, 160, 4801])
def test_resampling_does_not_depend_on_chunks(rate, chunk, noise):
    noise = noise[:20_000]
    resampler = Resampler(rate, 32_000)
    parts = [resampler.push(noise[i : i + chunk]) for i in range(0, len(noise), chunk)]
    np.testing.assert_array_equal(np.concatenate([*parts, resampler.flush()]), soxr.resample(noise, rate, 32_000))
