"""The settings of detection, and what they come to for a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.hysteresis import Rule
from htsat_edge.runtime.dsp.log_mel import BLOCK
from htsat_edge.runtime.dsp.windows import WindowGrid
from htsat_edge.runtime.models.bundle import DEFAULT_THRESHOLD, ModelInfo


@dataclass(frozen=True)
class Settings:
    """What a user may choose of detection; seconds become whole steps of the model."""

    hop_s: float | None = None
    """From one run of the model to the next; None: an eighth of a window, 1.28 s for 10.24 s."""
    look_ahead_s: float | None = None
    """Heard after a moment before its scores are final; None: a quarter of a window, 2.56 s."""
    threshold: float | None = None
    """For every class, in place of the model's own; between 0 and 1."""
    release: float = 0.6
    """An event goes on while its score is at least this share of the threshold."""
    min_length_s: float = 0.3
    """Shorter events are left out."""
    merge_gap_s: float = 0.7
    """Events of one class that are at most this far apart are one."""
    labels: tuple[str, ...] | None = None
    """Report only these classes; None or empty: all."""

    def validate(self, info: ModelInfo) -> None:
        """Raise an HtsatEdgeError where a model cannot work with these settings."""
        for name in ("hop_s", "look_ahead_s", "min_length_s", "merge_gap_s"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds < np.inf:
                raise HtsatEdgeError(f"{name}: {seconds:g} is not a number of seconds from 0 on")
        for name in ("threshold", "release"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise HtsatEdgeError(f"{name}: {share:g} is not above 0 and at most 1")
        window_s = info.steps * info.step_s
        if self.hop_s is not None and not 1 <= info.steps_of(self.hop_s) <= info.steps:
            raise HtsatEdgeError(f"hop of {self.hop_s:g} s: want between {info.step_s:g} and {window_s:g} s")
        if self.look_ahead_s is not None and not 0 <= info.steps_of(self.look_ahead_s) < info.steps:
            raise HtsatEdgeError(f"look-ahead of {self.look_ahead_s:g} s is not shorter than a window, {window_s:g} s")
        if isinstance(self.labels, str):
            raise HtsatEdgeError(f"labels: want a tuple such as ({self.labels!r},), not a text")
        info.check_labels("labels", self.labels or ())

    def grid(self, info: ModelInfo) -> WindowGrid:
        """Return how the model's windows lie on a recording."""
        hop = max(1, info.steps // 8) if self.hop_s is None else info.steps_of(self.hop_s)
        return WindowGrid(info.frames, info.steps, info.step_frames, hop)

    def look_ahead_steps(self, info: ModelInfo) -> int:
        """Return the look-ahead in steps."""
        return info.steps // 4 if self.look_ahead_s is None else info.steps_of(self.look_ahead_s)

    def rule(self, info: ModelInfo) -> Rule:
        """Return when scores are an event, for each class."""
        if self.threshold is not None:
            threshold = np.full(len(info.labels), self.threshold, np.float32)
        else:
            threshold = np.array([info.thresholds.get(label, DEFAULT_THRESHOLD) for label in info.labels], np.float32)
        if self.labels:
            threshold[[label not in self.labels for label in info.labels]] = np.inf
        return Rule(
            threshold=threshold,
            release=(threshold * self.release).astype(np.float32),
            min_length=max(1, info.steps_of(self.min_length_s)),
            merge_gap=info.steps_of(self.merge_gap_s),
        )

    def latency_s(self, info: ModelInfo) -> float:
        """Return the seconds from the onset of a sound to its event at the latest, once a whole window was heard.

        The model's own time comes on top.
        """
        steps = self.grid(info).hop_steps + self.look_ahead_steps(info) + self.rule(info).min_length - 1
        steps += max(info.median_steps.values(), default=1) // 2
        front_end = info.front_end
        around_s = front_end.n_fft / 2 / front_end.sample_rate
        return steps * info.step_s + BLOCK * front_end.frame_s + around_s
