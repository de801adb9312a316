"""Keep what a recording looked like to the model, small enough for a picture however long it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray, IntArray

Pool = Callable[..., FloatArray]
"""np.mean or np.max."""


class Pooled:
    """The rows of a stream (n, K), about `most` of them at the most: each pools a span that doubles as needed."""

    def __init__(self, most: int, pool: Pool) -> None:
        self._most = most + most % 2
        self._pool = pool
        self._rows: list[FloatArray] = []
        self._part: list[FloatArray] = []
        self.span = 1
        """How many rows of the stream are one here."""

    def push(self, rows: FloatArray) -> None:
        """Take the next rows."""
        for row in rows:
            if len(self._rows) == self._most:
                pairs = zip(self._rows[::2], self._rows[1::2], strict=True)
                self._rows = [self._pool(np.stack(pair), axis=0) for pair in pairs]
                self.span *= 2
            self._part.append(row)
            if len(self._part) == self.span:
                self._rows.append(self._pool(np.stack(self._part), axis=0))
                self._part = []

    def rows(self) -> FloatArray:
        """Return the pooled rows (m, K); the last may be of a shorter span."""
        rest = [self._pool(np.stack(self._part), axis=0)] if self._part else []
        return np.array([*self._rows, *rest])


class Trace:
    """An observer of a detector that keeps spectrogram, scores, and where each class scored highest."""

    def __init__(self, columns: int = 2000) -> None:
        self.spectrogram = Pooled(columns, np.mean)
        self.score = Pooled(columns, np.max)
        self.peak: FloatArray | None = None
        """(C,)."""
        self.peak_step: IntArray = np.empty(0, np.int64)
        self._steps = 0

    def frames(self, log_mel: FloatArray) -> None:
        """Take the next frames (T, F)."""
        self.spectrogram.push(log_mel)

    def scores(self, scores: FloatArray) -> None:
        """Take the next final scores (n, C)."""
        self.score.push(scores)
        best, at = scores.max(axis=0), scores.argmax(axis=0) + self._steps
        if self.peak is None:
            self.peak, self.peak_step = best, at
        else:
            self.peak_step = np.where(best > self.peak, at, self.peak_step)
            self.peak = np.maximum(best, self.peak)
        self._steps += len(scores)

    def top(self, count: int) -> list[tuple[int, float, int]]:
        """Return the classes that scored highest as (index, score, step), best first."""
        if self.peak is None:
            return []
        best = np.argsort(-self.peak, kind="stable")[:count]
        return [(int(k), float(self.peak[k]), int(self.peak_step[k])) for k in best]
