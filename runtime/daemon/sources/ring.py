"""The last samples of a source, between the thread that records and the one that detects."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np
from htsat_edge.runtime.common.arrays import FloatArray


@dataclass(frozen=True)
class Chunk:
    """Samples that follow each other."""

    start: int
    """The position of the first: samples since the source began, those that were lost included."""
    samples: FloatArray
    """(S,), the reader's to keep."""


@dataclass(frozen=True)
class Gap:
    """Samples that were lost."""

    start: int
    length: int
    reason: str


class RingBuffer:
    """One thread writes, and never waits; another reads. What was overwritten before it was read is a gap, too.

    There is no lock: the reader copies first, and looks afterwards whether the writer has come by meanwhile.
    """

    def __init__(self, capacity: int, news: threading.Event) -> None:
        """Hold so many samples; `news` is set when there is something to read, and may serve several rings."""
        self._samples = np.zeros(capacity, np.float32)
        # Counts of samples that were there; those that were lost come on top to make positions.
        self._written = self._claimed = self._read = 0
        self._skipped = self._passed = 0
        self._skips: deque[tuple[int, Gap]] = deque()
        self._news = news

    @property
    def position(self) -> int:
        """Of the next sample to be written."""
        return self._written + self._skipped

    @property
    def waiting(self) -> int:
        """Samples that were not read yet."""
        return self._written - self._read

    @property
    def idle(self) -> bool:
        """There is nothing to be read."""
        return self.waiting == 0 and not self._skips

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
        """So many samples, or none, were lost before the next one, which is not joined to what came before."""
        self._skips.append((self._written, Gap(self.position, length, reason)))
        self._skipped += length
        self._news.set()

    def read(self, most: int) -> Chunk | Gap | None:
        """The next samples, at most so many, or the next gap; None where there is nothing yet."""
        written = self._written  # before the gaps: what is written after one may not be taken for what comes before it
        at, gap = self._skips[0] if self._skips else (written, None)
        if gap is not None and at == self._read:
            self._skips.popleft()
            self._passed += gap.length
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
            return Chunk(start + self._passed, samples)
        self._read = min(oldest, at)
        return Gap(start + self._passed, self._read - start, "overrun")
