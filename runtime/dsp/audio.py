"""Read recordings on disk, block by block."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp import mpeg, ogg

SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"}
"""Of the names of recordings in a folder."""
MP3_PADDING = 4 * 1152
"""Samples that encoders put around a recording, and decoders take off or leave."""
UNKNOWN_WAV_BYTES = 0x7FFF_0000
"""A WAV written to a pipe has a little more (sox, arecord) or 0xFFFFFFFF (ffmpeg) in place of its length."""
UNKNOWN_SAMPLES = 1 << 62
"""The length that libsndfile gives for a FLAC that was written to a pipe."""
LOUDEST = 1e6
"""Samples are within -1 and 1; some programs write integers as floats. What is beyond this is no sound."""


class AudioFile:
    """A wav, flac, ogg or mp3 recording on disk."""

    def __init__(self, path: Path) -> None:
        """Open a recording; raise an HtsatEdgeError where it cannot be read whole."""
        self.path = path
        try:
            if path.is_dir():
                raise HtsatEdgeError(f"{path}: is a directory, want a recording")
            if path.stat().st_size == 0:
                raise HtsatEdgeError(f"{path}: is empty")
            # libsndfile would read what there is, and warn on the terminal at most.
            self._check_ogg(ogg.measure(path))
            mp3 = mpeg.measure(path)
            self._check_mp3(mp3)
            self._file = soundfile.SoundFile(os.fsencode(path))
        except FileNotFoundError:
            raise HtsatEdgeError(f"{path}: no such file") from None
        except OSError as error:
            raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
        except soundfile.LibsndfileError as error:
            raise HtsatEdgeError(
                f"{path}: is no recording that can be read: {error.error_string.strip(' .')}"
            ) from None
        except (TypeError, ValueError):  # soundfile's own, of a format that needs to be described
            raise HtsatEdgeError(f"{path}: is no recording that can be read; want wav, flac, ogg or mp3") from None
        self.sample_rate: int = self._file.samplerate
        self.samples: int = self._file.frames
        """Samples of one channel, as the file says."""
        try:
            self._check_length(mp3)
        except HtsatEdgeError:
            self._file.close()
            raise

    def blocks(self, length: int) -> Iterator[FloatArray]:
        """Yield the recording, mixed to one channel, in blocks (S,) of at most `length` samples.

        Raise an HtsatEdgeError at a sample that is no number or beyond any sound, and where the file ends too soon.
        """
        done = 0
        with self._file as file:
            while True:
                try:
                    block = file.read(length, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError:
                    raise self._truncated(done) from None
                if len(block) == 0:
                    break
                self._check_samples(block, done)
                done += len(block)
                yield block.mean(axis=1)
        if done < self.samples - (MP3_PADDING if self._file.format == "MP3" else 0):
            raise self._truncated(done)

    def _check_samples(self, block: FloatArray, done: int) -> None:
        sound = (np.abs(block) <= LOUDEST).all(axis=1)
        if not sound.all():
            at = int(sound.argmin())
            value, at_s = block[at, np.abs(block[at]).argmax()], (done + at) / self.sample_rate
            raise HtsatEdgeError(
                f"{self.path}: holds a sample that is no sound ({value:g}) at {at_s:.3f} s; write it anew"
            )

    def _check_ogg(self, shape: ogg.Shape | None) -> None:
        if shape is None:
            return
        if not shape.whole:
            raise self._truncated()
        if shape.streams > 1:
            streams = f"{shape.streams} Ogg streams one after the other"
            raise HtsatEdgeError(f"{self.path}: is {streams}, of which only the first can be read; split it")

    def _check_mp3(self, length: mpeg.Length | None) -> None:
        if length is None:
            return
        if not length.whole:
            raise self._truncated()
        if length.declared is not None and length.found < length.declared - MP3_PADDING:
            raise self._truncated()
        if length.declared is not None:
            self._refuse_part(length.found, length.declared)

    def _check_length(self, mp3: mpeg.Length | None) -> None:
        """Raise where the file holds less, or more, than libsndfile says."""
        if self.samples == 0:
            raise HtsatEdgeError(f"{self.path}: has no samples")
        if self.samples >= UNKNOWN_SAMPLES:
            raise HtsatEdgeError(
                f"{self.path}: does not say how long it is, as if written to a pipe; convert it to wav"
            )
        log = self._file.extra_info
        for declared, found in re.findall(r"^(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE):
            if int(found) < int(declared) and int(declared) % (1 << 31) < UNKNOWN_WAV_BYTES:
                raise self._truncated()
        if "does not match value from 'ds64' chunk" in log:
            raise self._truncated()
        if mp3 is not None:
            self._refuse_part(mp3.found, self.samples)
            # An estimate from the first bitrate may be too long as well: that does no harm.
            self.samples = min(self.samples, mp3.found)

    def _refuse_part(self, found: int, declared: int) -> None:
        """Raise where libsndfile would stop before the end."""
        if found > declared + MP3_PADDING:
            percent = 100 * declared / found
            raise HtsatEdgeError(
                f"{self.path}: is an MP3 of which only {percent:.0f} % would be read; convert it to wav or flac"
            )

    def _truncated(self, done: int | None = None) -> HtsatEdgeError:
        where = "" if done is None else f" after {done / self.sample_rate:.3f} s"
        return HtsatEdgeError(
            f"{self.path}: is truncated or damaged{where}; copy it again, or convert what is left of it"
        )
