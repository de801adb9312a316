"""Recordings to read."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}


@pytest.fixture
def noise():
    """Two seconds at 48 kHz."""
    return (np.random.default_rng(0).normal(0, 0.1, 96_000)).astype(np.float32)


@pytest.fixture
def write():
    """Write samples in the format of the file's name; return the path."""

    def to(path, samples, rate=48_000):
        kind, subtype = FORMATS[path.name.partition(".")[2]]
        soundfile.write(path, samples, rate, format=kind, subtype=subtype)
        return path

    return to


@pytest.fixture(scope="session")
def ffmpeg():
    """Skip a test where there is no ffmpeg."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg: sudo apt install ffmpeg")


@pytest.fixture(scope="session")
def encode(ffmpeg, farmyard, tmp_path_factory):
    """Write 18 s of the farmyard with ffmpeg, in the format of the name and with its options; return the path."""

    def to(name, *options, to=None):
        path = (to or tmp_path_factory.mktemp("encoded")) / name
        source = ["-t", "18", "-i", farmyard]
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *source, *options, path], check=True)
        return path

    return to


@pytest.fixture(scope="session")
def decode(ffmpeg):
    """Return what ffmpeg makes of all of a file, (S, channels) float32."""

    def of(path, channels=1, options=()):
        command = ["ffmpeg", "-nostdin", "-v", "error", *options, "-i", path, "-vn", "-f", "f32le", "pipe:1"]
        return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<f4").reshape(
            -1, channels
        )

    return of
