"""Run the model on windows, those of several sources at once, and count what that costs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.level import level_dbfs
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.backends.backend import Backend

SILENCE_DB = -100.0
"""The floor of a log-mel."""
MOST_WINDOWS = 8
"""Scored at once, one of each source."""
RECENT_RUNS = 9
"""Whose median is what a window takes at present: an engine that is loaded meanwhile does not count."""


class Scorer:
    """A backend with a gate: windows that are too quiet get the scores of silence, without a run of the model."""

    def __init__(
        self,
        backend: Backend,
        front_end: FrontEnd,
        gate_dbfs: float | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Score with `backend`; windows whose level is below `gate_dbfs` are not run, all are where it is None."""
        self.backend, self._front_end, self._gate_dbfs, self._clock = backend, front_end, gate_dbfs, clock
        self.runs = self.windows = self.gated = 0
        self.seconds = self.slowest = 0.0
        self._silence: FloatArray | None = None
        self._recent: deque[float] = deque(maxlen=RECENT_RUNS)

    @property
    def window_s(self) -> float:
        """Seconds that a window takes at present; 0 before the first."""
        return median(self._recent) if self._recent else 0.0

    def __call__(self, windows: Sequence[Window]) -> list[FloatArray]:
        """Return the scores (steps, C) of each window."""
        loud = [
            self._gate_dbfs is None or level_dbfs(window.log_mel, self._front_end) >= self._gate_dbfs
            for window in windows
        ]
        scores = iter(self._run([w.log_mel for w, is_loud in zip(windows, loud, strict=True) if is_loud]))
        self.gated += loud.count(False)
        return [next(scores) if is_loud else self._score_silence(windows[0]) for is_loud in loud]

    def _run(self, log_mels: Sequence[FloatArray]) -> list[FloatArray]:
        if not log_mels:
            return []
        begun = self._clock()
        batch = log_mels[0][None] if len(log_mels) == 1 else np.stack(log_mels)  # one alone needs no copy
        framewise = self.backend.infer(batch).framewise
        took = self._clock() - begun
        self.runs, self.windows, self.seconds = self.runs + 1, self.windows + len(log_mels), self.seconds + took
        self.slowest = max(self.slowest, took)
        self._recent.append(took / len(log_mels))
        return list(framewise)

    def _score_silence(self, like: Window) -> FloatArray:
        if self._silence is None:
            (self._silence,) = self._run([np.full_like(like.log_mel, SILENCE_DB)])
        return self._silence
