"""Merge the scores of overlapping windows on one timeline."""

from __future__ import annotations

import math

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray


class Timeline:
    """Averages the scores that several windows give for the same step.

    A window knows its middle best, where it hears what comes before and after, so its scores weigh most there and fall
    off to its ends. A step is final, and leaves, once a window has ended `look_ahead` steps after it. A window that
    begins within a step shares its scores between the two steps that each of its own lies on. The `mirrored` last steps
    of a window are no part of the recording.
    """

    def __init__(self, steps: int, look_ahead: int, mirrored: int = 0, first: int = 0) -> None:
        """Prepare for windows of so many `steps`; what lies before the step `first` is left out."""
        if not 0 <= look_ahead < steps - mirrored:
            raise ValueError(f"a look-ahead of {look_ahead} steps does not fit a window of {steps}")
        self._steps = steps - mirrored
        self._look_ahead, self._first = look_ahead, first
        at = np.arange(self._steps, dtype=np.float32) + np.float32(0.5)
        self._weight = (1 - np.abs(2 * at / steps - 1))[:, None]
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self.begin = self._first
        """The step after the last that is final."""
        self._end = 0.0
        """Up to where the last window has heard, in steps."""
        self._sum: FloatArray | None = None
        self._weights: FloatArray = np.zeros((0, 1), np.float32)

    def push(self, step: float, framewise: FloatArray) -> FloatArray:
        """Add the scores (steps, C) of a window that begins at `step`; return those (n, C) that are now final.

        Windows come in order, each at most a window's length after the one before. What lies before the first
        step is left out.
        """
        scores, weight = self._weight * framewise[: self._steps], self._weight
        if part := step % 1:
            scores, weight = _shift(scores, part), _shift(weight, part)
        self._add(math.floor(step), scores, weight)
        return self._finish(step + self._steps)

    def push_whole(self, scores: FloatArray) -> FloatArray:
        """Add the scores (n, C) of a recording that fits into a window; return those that are now final.

        They weigh as much as the middle of a window, and so more than what was scored before the recording was over.
        """
        self._add(0, scores, np.ones((len(scores), 1), np.float32))
        return self._finish(len(scores))

    @property
    def newest(self) -> FloatArray:
        """The scores (n, C) so far of the steps from `begin` on that were heard to their ends, and are not final."""
        return self._mean(max(math.floor(self._end) - self.begin, 0))

    def flush(self) -> FloatArray | None:
        """End the recording; return the scores (n, C) that were not final yet, or None if there was no window."""
        if self._sum is None:
            return None
        scores = self._pop(len(self._sum))
        self.reset()
        return scores

    def _add(self, step: int, scores: FloatArray, weight: FloatArray) -> None:
        if self._sum is None:
            self._sum = np.zeros_like(scores[:0])
        offset = step - self.begin
        late, early = max(offset, 0), max(-offset, 0)
        grow = offset + len(scores) - len(self._sum)
        if grow > 0:
            self._sum = np.pad(self._sum, ((0, grow), (0, 0)))
            self._weights = np.pad(self._weights, ((0, grow), (0, 0)))
        span = slice(late, max(offset + len(scores), 0))
        self._sum[span] += scores[early:]
        self._weights[span] += weight[early:]

    def _finish(self, end: float) -> FloatArray:
        """Return the scores that are final now that a window has ended there."""
        self._end = end
        return self._pop(math.floor(end) - self._look_ahead - self.begin)

    def _pop(self, count: int) -> FloatArray:
        assert self._sum is not None
        scores = self._mean(max(count, 0))
        self._sum, self._weights = self._sum[len(scores) :], self._weights[len(scores) :]
        self.begin += len(scores)
        return scores

    def _mean(self, count: int) -> FloatArray:
        assert self._sum is not None
        scores: FloatArray = self._sum[:count] / self._weights[:count]
        return scores


def _shift(rows: FloatArray, part: float) -> FloatArray:
    """Return rows (n + 1, C), each the share of two neighbours that lies in it after a shift by a part of a row."""
    padded = np.pad(rows, ((1, 1), (0, 0)))
    shifted: FloatArray = np.float32(1 - part) * padded[1:] + np.float32(part) * padded[:-1]
    return shifted
