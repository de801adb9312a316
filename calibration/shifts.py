"""Hear recordings with every threshold a little lower and higher at once, and count what is found then."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import HeardRecording, Report, Score, listen, match
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

FloatTable = npt.NDArray[np.float64]
"""(shifts, C)."""
HIGHEST = 0.99
"""No threshold is raised above this."""
BETA_SQUARED = 0.75
"""Of the F-score: precision of starts weighs somewhat more than recall."""


class ClassCounts(NamedTuple):
    """What was reported of each class at each shift: tables (shifts, C)."""

    sounds: FloatTable
    found: FloatTable
    starts: FloatTable
    false: FloatTable
    """Of the starts, those that belong to no sound."""

    def f_scores(self) -> FloatTable:
        """Return the F-score of precision of starts and recall of sounds; 0 where nothing is found."""
        precision = (self.starts - self.false) / np.maximum(self.starts, 1)
        recall = self.found / np.maximum(self.sounds, 1)
        return (1 + BETA_SQUARED) * precision * recall / np.maximum(BETA_SQUARED * precision + recall, 1e-9)


def shifted(info: ModelInfo, shifts: Iterable[float]) -> list[dict[str, float]]:
    """Return the thresholds by label at each shift; at 0 they are those of the bundle, or 0.5 where it has none."""
    present = {label: info.threshold_of(label) for label in info.labels}
    return [present if shift == 0 else {k: _shift(t, shift) for k, t in present.items()} for shift in shifts]


def _shift(threshold: float, shift: float) -> float:
    return min(float(f"{expit(logit(threshold) + shift):.2g}"), max(threshold, HIGHEST))


def count(labels: Sequence[str], heard: Sequence[HeardRecording], truth: Sequence[Sequence[Occurrence]]) -> ClassCounts:
    """Count sounds and starts of each class in recordings that were heard at each shift."""
    counts = ClassCounts(*np.zeros((4, len(heard[0].whole), len(labels))))
    column = {label: k for k, label in enumerate(labels)}
    for recording, sounds in zip(heard, truth, strict=True):
        for i, reports in enumerate(recording.whole):
            for label in {sound.label for sound in sounds} | {report.label for report in reports}:
                own_sounds = [sound for sound in sounds if sound.label == label]
                own_reports = [report for report in reports if report.label == label]
                outcomes, false = match(own_sounds, own_reports)
                found = sum(outcome.found for outcome in outcomes)
                for table, more in zip(counts, (len(own_sounds), found, len(own_reports), false), strict=True):
                    table[i, column[label]] += more
    return counts


class ShiftedListener:
    """Hears recordings at every shift: a model that has every class once for each, so that one pass counts them all."""

    def __init__(self, info: ModelInfo, shifts: Sequence[float], score: Score) -> None:
        """Take a model, the shifts in logits, and what gives its scores."""
        self._info, self._shifts, self._score_once = info, shifts, score
        self._name_of = {f"{label} {place}": (place, label) for place in range(len(shifts)) for label in info.labels}
        thresholds = shifted(info, shifts)
        self._unrolled = info.model_copy(
            update={
                "labels": [*self._name_of],
                "thresholds": {name: thresholds[place][label] for name, (place, label) in self._name_of.items()},
                "median_steps": {name: info.median_steps.get(label, 1) for name, (_, label) in self._name_of.items()},
                "parents": {},
                "levels": None,
            }
        )

    def hear(self, path: Path) -> HeardRecording:
        """Play a recording as a user's would be; `whole` of the result has what was reported at each shift."""
        heard = listen(path, self._unrolled, [Settings()], self._score, with_gap=False)
        reports: list[list[Report]] = [[] for _ in self._shifts]
        for report in heard.whole[0]:
            place, label = self._name_of[report.label]
            reports[place].append(replace(report, label=label, event=report.event._replace(label=label)))
        return replace(heard, whole=reports)

    def _score(self, window: Window) -> FloatArray:
        return np.tile(self._score_once(window), len(self._shifts))
