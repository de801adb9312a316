"""The last samples of a source, between the thread that records and the one that detects."""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap


class Skip(NamedTuple):
    """Samples that the writer reported as lost."""

    at: int
    """Samples that were written before."""
    length: int
    reason: str


class RingBuffer:
    """Samples of one rate. One thread writes and never waits, another reads; what was overwritten unread is a gap.

    There is no lock: the reader copies first, and looks afterwards whether the writer has come by meanwhile.
    """

    def __init__(self, capacity: int, sample_rate: int, news: threading.Event, base_s: float = 0.0) -> None:
        """Hold `capacity` samples at `sample_rate` Hz, the first of which is at `base_s` seconds of the source.

        `news` is set when there is something to read, and may serve several rings.
        """
        self.sample_rate, self._base_s = sample_rate, base_s
        self._samples = np.zeros(capacity, np.float32)
        # Counts of samples that were there; those that were lost come on top to make positions.
        self._written = self._claimed = self._read = 0
        self._skipped = self._passed = 0
        self._skips: deque[Skip] = deque()
        self._news = news

    @property
    def end_s(self) -> float:
        """Position of the next sample to be written, in seconds since the source began."""
        return self._seconds(self._written + self._skipped)

    @property
    def waiting_s(self) -> float:
        """Seconds of samples that were not read yet."""
        return (self._written - self._read) / self.sample_rate

    @property
    def idle(self) -> bool:
        """Whether there is nothing to be read."""
        return self._written == self._read and not self._skips

    def write(self, samples: FloatArray) -> None:
        """Add samples (S,); of more than fit, the last ones stay."""
        end = self._written + len(samples)
        self._claimed = end  # up to where the writer may be writing now
        kept = samples[-len(self._samples) :]
        at = (end - len(kept)) % len(self._samples)
        first = min(len(kept), len(self._samples) - at)
        self._samples[at : at + first] = kept[:first]
        self._samples[: len(kept) - first] = kept[first:]
        self._written = end
        self._news.set()

    def skip(self, length: int, reason: str) -> None:
        """Record that `length` samples, or none, were lost before the next one, which is not joined to the last."""
        self._skips.append(Skip(self._written, length, reason))
        self._skipped += length
        self._news.set()

    def read(self, most: int) -> AudioBlock | Gap | None:
        """Return the next samples, at most so many, or the next gap; None where there is nothing yet."""
        written = self._written  # before the skips: what is written after one may not be taken for what comes before it
        skip = self._skips[0] if self._skips else None
        at = written if skip is None else skip.at
        if skip is not None and at == self._read:
            self._skips.popleft()
            gap = self._gap(self._read, skip.length, skip.reason)
            self._passed += skip.length
            return gap
        end = min(self._read + most, at)
        if end == self._read:
            return None
        start, begin = self._read, self._read % len(self._samples)
        samples = self._samples[begin : begin + end - start].copy()
        if len(samples) < end - start:
            samples = np.concatenate([samples, self._samples[: end - start - len(samples)]])
        oldest = self._claimed - len(self._samples)
        if start >= oldest:
            self._read = end
            return AudioBlock(self._seconds(start + self._passed), self.sample_rate, samples)
        self._read = min(oldest, at)
        return self._gap(start, self._read - start, "overrun")

    def _gap(self, start: int, length: int, reason: str) -> Gap:
        start_s = self._seconds(start + self._passed)
        return Gap(start_s, start_s + length / self.sample_rate, reason)

    def _seconds(self, position: int) -> float:
        return self._base_s + position / self.sample_rate
