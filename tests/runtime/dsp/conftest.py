"""Recordings to read."""

import numpy as np
import pytest
import soundfile

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
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
