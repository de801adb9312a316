"""Merge the scores of overlapping windows on one timeline."""

from __future__ import annotations

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray


class Timeline:
    """Averages the scores that several windows give for the same step.

    A window knows its middle best, where it hears what comes before and after, so its scores weigh most there and fall
    off to its ends. A step is final, and leaves, once a window has ended `look_ahead` steps after it.
    """

    def __init__(self, steps: int, look_ahead: int) -> None:
        if not 0 <= look_ahead < steps:
            raise ValueError(f"a look-ahead of {look_ahead} steps does not fit a window of {steps}")
        self._steps = steps
        self._look_ahead = look_ahead
        self._weight = (1 - np.abs(2 * (np.arange(steps, dtype=np.float32) + 0.5) / steps - 1))[:, None]
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._begin = 0
        self._sum: FloatArray | None = None
        self._weights = np.zeros((self._steps, 1), np.float32)

    def push(self, step: int, framewise: FloatArray) -> FloatArray:
        """Add the scores (steps, C) of a window that begins at `step`; return those (n, C) that are now final.

        Windows come in order, each at most a window's length after the one before.
        """
        if self._sum is None:
            self._sum = np.zeros_like(framewise)
        offset = step - self._begin
        late, early = max(offset, 0), max(-offset, 0)
        grow = offset + self._steps - len(self._sum)
        if grow > 0:
            self._sum = np.pad(self._sum, ((0, grow), (0, 0)))
            self._weights = np.pad(self._weights, ((0, grow), (0, 0)))
        span = slice(late, offset + self._steps)
        self._sum[span] += (self._weight * framewise)[early:]
        self._weights[span] += self._weight[early:]
        return self._pop(offset + self._steps - self._look_ahead)

    def flush(self) -> FloatArray | None:
        """End the recording; return the scores (n, C) that were not final yet, or None if there was no window."""
        if self._sum is None:
            return None
        scores = self._pop(len(self._sum))
        self.reset()
        return scores

    def _pop(self, count: int) -> FloatArray:
        assert self._sum is not None
        count = max(count, 0)
        scores: FloatArray = self._sum[:count] / self._weights[:count]
        self._sum, self._weights = self._sum[count:], self._weights[count:]
        self._begin += count
        return scores
