"""Recordings on disk, read block by block."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from runtime.errors import UserError
from runtime.features import FloatArray

OGG_PAGE_MAX = 65_307
"""Bytes of the largest Ogg page (RFC 3533)."""
UNKNOWN_LENGTH = 0x7FFF_FFFF
"""A WAV written to a pipe says this or more in place of its length."""


class AudioFile:
    """A wav, flac, ogg or mp3 recording; every fault is a UserError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise UserError(f"{path}: is a directory, want a recording")
        if not path.exists():
            raise UserError(f"{path}: no such file")
        try:
            if path.stat().st_size == 0:
                raise UserError(f"{path}: is empty")
            self._file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise UserError(f"{path}: is no recording that can be read: {error.error_string.strip(' .')}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        self.sample_rate: int = self._file.samplerate
        self.samples: int = self._file.frames
        """What the file says of its length."""
        if self.samples == 0:
            self._file.close()
            raise UserError(f"{path}: has no samples")

    def blocks(self, length: int) -> Iterator[FloatArray]:
        """The recording, mixed to one channel, in blocks (S,) of at most `length` samples."""
        done = 0
        with self._file as file:
            if self._cut_short():
                raise self._truncated()
            while True:
                try:
                    block = file.read(length, dtype="float32", always_2d=True)
                except soundfile.LibsndfileError:
                    raise self._truncated(done) from None
                if len(block) == 0:
                    break
                mono: FloatArray = block.mean(axis=1)
                self._check(mono, done)
                done += len(mono)
                yield mono
        if done < self.samples:
            raise self._truncated(done)

    def _check(self, mono: FloatArray, done: int) -> None:
        bad = np.flatnonzero(~np.isfinite(mono))
        if len(bad):
            at = (done + bad[0]) / self.sample_rate
            raise UserError(f"{self.path}: holds a sample that is not a number at {at:.3f} s; write it anew without")

    def _cut_short(self) -> bool:
        """Whether the container says that the file once was longer; decoders do not tell."""
        log = self._file.extra_info
        for said, found in re.findall(r"^(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", log, re.MULTILINE):
            if int(found) < int(said) < UNKNOWN_LENGTH:
                return True
        if "does not match value from 'ds64' chunk" in log:
            return True
        return self._file.format == "OGG" and not self._ogg_ends()

    def _ogg_ends(self) -> bool:
        """Whether the last page carries the mark of the end (RFC 3533, section 6)."""
        with self.path.open("rb") as file:
            file.seek(-min(OGG_PAGE_MAX, self.path.stat().st_size), 2)
            tail = file.read()
        page = tail.rfind(b"OggS")
        return 0 <= page < len(tail) - 5 and bool(tail[page + 5] & 4)

    def _truncated(self, done: int | None = None) -> UserError:
        where = "" if done is None else f" after {done / self.sample_rate:.3f} s"
        return UserError(f"{self.path}: is truncated or damaged{where}; copy it again, or convert what is left of it")


class Resampler:
    """Changes the sample rate of a stream (S,); its output does not depend on how the input was chunked."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self._stream = soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32") if rate_in != rate_out else None

    def push(self, samples: FloatArray) -> FloatArray:
        """Take samples, return those at the new rate that are ready."""
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def flush(self) -> FloatArray:
        """End the recording: the samples that are left."""
        none = np.empty(0, np.float32)
        return none if self._stream is None else self._stream.resample_chunk(none, last=True)

    def reset(self) -> None:
        """Begin a new recording."""
        if self._stream is not None:
            self._stream.clear()
