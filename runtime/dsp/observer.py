"""Who wants to see what goes by between samples and events."""

from __future__ import annotations

from typing import Protocol

from htsat_edge.runtime.common.arrays import FloatArray


class FrameObserver(Protocol):
    """Sees frames go by."""

    def frames(self, log_mel: FloatArray) -> None:
        """Take the next frames (T, F) in dB."""


class ScoreObserver(Protocol):
    """Sees scores go by."""

    def scores(self, scores: FloatArray) -> None:
        """Take the next final scores (n, C), smoothed, as they are compared with the thresholds."""


class Observer(FrameObserver, ScoreObserver, Protocol):
    """Sees frames and scores go by, for a picture or to explain why nothing was found."""
