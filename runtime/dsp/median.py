"""Smooth scores by a running median over the steps, with a length for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray


class MedianFilter:
    """Replaces each score by the median of those around it; the first and last score of a recording count on.

    `lengths` are odd numbers of steps, one a class. All classes are delayed alike, by half of the greatest length.
    `within` a recording the first scores are only what surrounds others: none comes out for the first `delay`.
    """

    def __init__(self, lengths: Sequence[int], within: bool = False) -> None:
        if any(length < 1 or length % 2 == 0 for length in lengths):
            raise ValueError(f"median lengths {sorted(set(lengths))}: want odd numbers of steps")
        self._lengths, self._within = np.array(lengths), within
        self.delay = max(lengths) // 2
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._scores: FloatArray | None = None

    def push(self, scores: FloatArray) -> FloatArray:
        """Take scores (n, C); return those (m, C) whose surroundings are complete."""
        if len(scores) == 0:
            return scores
        if self._scores is None:
            self._scores = np.repeat(scores[:1], 0 if self._within else self.delay, axis=0)
        self._scores = np.concatenate([self._scores, scores])
        ready = len(self._scores) - 2 * self.delay
        if ready <= 0:
            return scores[:0]
        smooth = self._smooth(self._scores, ready)
        self._scores = self._scores[ready:]
        return smooth

    @property
    def pending(self) -> FloatArray | None:
        """The scores (n, C) whose surroundings are not complete, as they came; None before the first."""
        return None if self._scores is None else self._scores[self.delay :]

    def flush(self) -> FloatArray | None:
        """End the recording; return the scores (m, C) that are left, or None if there were none."""
        if self._scores is None:
            return None
        smooth = self.push(np.repeat(self._scores[-1:], self.delay, axis=0))
        self.reset()
        return smooth

    def _smooth(self, scores: FloatArray, count: int) -> FloatArray:
        smooth = np.empty((count, scores.shape[1]), np.float32)
        for length in np.unique(self._lengths):
            reach = length // 2
            around = scores[self.delay - reach : self.delay + reach + count, self._lengths == length]
            windows = np.lib.stride_tricks.sliding_window_view(around, length, axis=0)
            smooth[:, self._lengths == length] = np.median(windows, axis=-1)
        return smooth
