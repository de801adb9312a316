"""Open a recording to be read once, from front to back: libsndfile where it knows the format, else ffmpeg."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.formats import ffmpeg, flac, iff, ogg, wav
from htsat_edge.runtime.dsp.formats.splice import Mended, Splice

WITHOUT_FFMPEG = "wav, flac, ogg, opus, mp3, aiff, caf or w64"
"""Formats that libsndfile knows."""

CHUNKED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU")
PLAIN_SAMPLES = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""In these formats each sample lies where its number says."""


class Reader(Protocol):
    """Reads a recording from front to back."""

    sample_rate: int
    channels: int
    is_float: bool
    """Whether it holds floats, which may be in any scale."""

    def read(self, length: int) -> FloatArray:
        """Return the next frames (S, channels), at most `length`; none at the end."""
        ...

    def finish(self) -> str | None:
        """Return what was wrong with the file, once all of it is read; raise where that is too much."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
    """A file that is never sought in.

    soundfile seeks after each read, to where the decoder already is. An MP3 decoder then forgets the bits that frames
    borrow from those before them, and the next block begins with noise.
    """

    def seekable(self) -> bool:
        """Say no, so that soundfile does not seek."""
        return False


class SoundFileReader:
    """Reads what libsndfile knows, behind another head where the real one is wrong."""

    def __init__(self, path: Path, mended: Mended | None) -> None:
        """Open the file; raise an OSError, or an exception of soundfile, where that fails."""
        self._splice = None if mended is None else Splice(path, mended)
        try:
            self.file = SequentialFile(self._splice or os.fsencode(path))
        except BaseException:
            self._close_splice()
            raise
        self.sample_rate: int = self.file.samplerate
        self.channels: int = self.file.channels
        self.is_float = self.file.subtype in ("FLOAT", "DOUBLE")
        self.is_sought_exactly = self.file.format == "FLAC" or (
            self.file.format in CHUNKED and self.file.subtype in PLAIN_SAMPLES
        )
        """Whether `seek` comes to the sample: not in what is decoded from the samples before."""

    def read(self, length: int) -> FloatArray:
        """Return the next frames (S, channels), at most `length`; none at the end."""
        with np.errstate(over="ignore"):
            frames: FloatArray = self.file.read(length, dtype="float32", always_2d=True)
        return frames

    def seek(self, sample: int) -> int:
        """Have the next frames begin with a sample; return it, or where the file begins to be damaged before it."""
        return int(self.file.seek(sample))

    def finish(self) -> None:
        """Do nothing: libsndfile does not say what is wrong."""

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        self._close_splice()

    def _close_splice(self) -> None:
        if self._splice is not None:
            self._splice.close()


def mend(path: Path) -> Mended | None:
    """Return how to read a file whose head is wrong, None where it is right."""
    return wav.mend(path) or flac.mend(path) or ogg.mend(path) or iff.mend(path)


def open_reader(path: Path, mended: Mended | None) -> Reader:
    """Open a recording.

    Raises
    ------
    HtsatEdgeError
        It is no recording that can be read. The message names no file.
    OSError
        The file cannot be opened.
    """
    try:
        return SoundFileReader(path, mended)
    except (soundfile.LibsndfileError, TypeError, ValueError):  # the latter of a format that needs to be described
        path.open("rb").close()  # where that is the reason, it is raised here
    if not ffmpeg.is_installed():
        raise HtsatEdgeError(
            f"is no {WITHOUT_FFMPEG}, and other formats need ffmpeg: sudo apt install ffmpeg, or where it is "
            f"installed: {shlex.join(['ffmpeg', '-i', path.name, f'{path.stem}.wav'])}"
        )
    try:
        return ffmpeg.FfmpegReader(path)
    except HtsatEdgeError as error:
        reason = "Format not recognised" if str(error) == ffmpeg.UNKNOWN else error
        raise HtsatEdgeError(
            f"is no recording that can be read: {reason}; want {WITHOUT_FFMPEG}, or what ffmpeg knows"
        ) from None
