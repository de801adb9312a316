"""Take samples out that are no sound: NaN, infinity, and numbers far beyond full scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.audio import LOUDEST

INVALID = "samples that are no numbers, or far beyond full scale"
JOIN_S = 1.0
"""Invalid samples that are no further apart are lost together with what lies between them."""
LONGEST_S = 60.0
"""Of a span of invalid samples that is reported as one."""


class Sieve:
    """Cuts spans of invalid samples out, the same for any chunking."""

    def __init__(self, sample_rate: int) -> None:
        """Prepare for samples at `sample_rate` Hz."""
        self._join, self._longest = round(JOIN_S * sample_rate), round(LONGEST_S * sample_rate)
        self._lost = 0
        self._since: FloatArray = np.empty(0, np.float32)
        """What came after the last invalid sample, of a span that is not over."""

    @property
    def lost(self) -> int:
        """Samples of the present span; 0 where there is none."""
        return self._lost + len(self._since) if self._lost else 0

    def push(self, samples: FloatArray) -> Iterator[FloatArray | int]:
        """Take samples (S,); yield valid ones, and between them how many are lost."""
        if not self._lost and (np.abs(samples) <= LOUDEST).all():
            yield samples
            return
        samples = np.concatenate([self._since, samples])
        # Runs of valid samples lie between bounds.
        bounds = np.concatenate([[-1], np.flatnonzero(~(np.abs(samples) <= LOUDEST)), [len(samples)]])
        begin = 0  # of the span that is lost
        runs = np.flatnonzero(np.diff(bounds) - 1 >= self._join).tolist()
        if not self._lost and bounds[1] > 0 and 0 not in runs:
            runs.insert(0, 0)  # what comes before the first invalid sample is kept, however short
        for run in runs:
            first, last = int(bounds[run]) + 1, int(bounds[run + 1])
            yield from self._lose(first - begin)
            yield from self._end()
            yield samples[first:last]
            begin = last
        if begin < len(samples):
            end = int(bounds[-2]) + 1
            yield from self._lose(end - begin)
            self._since = samples[end:]

    def flush(self) -> Iterator[FloatArray | int]:
        """Yield what is left of a span, since it is over."""
        since = self._since
        yield from self._end()
        if len(since):
            yield since

    def _lose(self, count: int) -> Iterator[int]:
        self._lost += count
        while self._lost > self._longest:
            self._lost -= self._longest
            yield self._longest

    def _end(self) -> Iterator[int]:
        if self._lost:
            yield self._lost
        self._lost, self._since = 0, np.empty(0, np.float32)
