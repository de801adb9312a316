"""Compute what a model's results on labelled recordings come to, with intervals over resampled recordings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from htsat_edge.evaluation.event_scores import PSDS1, PSDS2, EventScores, Timed, pieces
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.metrics import Interval, average_precision, mean_known
from htsat_edge.evaluation.playback import RecordingResult
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray

Values = npt.NDArray[np.float64]
RESAMPLES = 200
"""Of the recordings, the same for every version: a change is then known better than a figure."""
PIECE_STEPS = 200
"""Steps that PSDS takes at once: its tool compares every event with every other at every threshold."""
FEWEST = 5
"""Recordings to resample; intervals of fewer say nothing."""
TITLES = {
    "accuracy": "accuracy",
    "clip_ap": "mean average precision",
    "step_ap": "mean average precision of steps",
    "event_f1": "event F1",
    "segment_f1": "segment F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
}
BY_CLASS = ("clip_ap", "step_ap", "event_f1", "segment_f1")
"""The figures that each class has."""


@dataclass(frozen=True)
class Figure:
    """A figure of each class, and of resampled recordings."""

    values: Values
    """(C,), NaN where a class never sounds; (1,) of a figure that is no mean over classes."""
    drawn: Values
    """(resamples, C), or (0, C)."""

    @property
    def mean(self) -> float:
        """Mean over the classes that sound."""
        return mean_known(self.values)

    def change_from(self, other: Figure) -> Interval:
        """Return the difference to another figure of the same recordings, with its interval."""
        drawn = np.array([mean_known(a) - mean_known(b) for a, b in zip(self.drawn, other.drawn, strict=True)])
        change = Interval.of(self.mean - other.mean, drawn)
        return change if change.value is not None else Interval(value=self.mean - other.mean, low=None, high=None)


class Truth:
    """The labels of recordings, in the order in which they are played."""

    def __init__(self, recordings: Sequence[Labelled], labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.recordings = recordings
        known = [r.labels for r in recordings]
        self.present = None if None in known else np.array([[k in (r or ()) for k in labels] for r in known])
        """(R, C): whether a class sounds; None where that is not known of every recording."""
        self.events = None if any(r.events is None for r in recordings) else [r.events or () for r in recordings]
        """When the classes sound; None where that is not known of every recording."""

    @property
    def kind(self) -> str:
        """How much the labels say, as in accuracy.json."""
        return "none" if self.present is None else "whether" if self.events is None else "when"

    def examples(self) -> list[int]:
        """Return how often each class sounds: in how many events, or else in how many recordings."""
        if self.events is not None:
            counts = Counter(event.label for events in self.events for event in events)
            return [counts[label] for label in self.labels]
        return [0] * len(self.labels) if self.present is None else self.present.sum(axis=0).tolist()


def figures(results: Sequence[RecordingResult], truth: Truth, step_s: float) -> dict[str, Figure]:
    """Return every figure that the labels allow, by its key in TITLES."""
    found: dict[str, Figure] = {}
    if truth.present is not None:
        clipwise, present = np.stack([r.clipwise for r in results]), truth.present
        found["clip_ap"] = _resampled(len(results), lambda chosen: _precision(clipwise[chosen], present[chosen]))
        if (present.sum(axis=1) == 1).all():
            right = clipwise.argmax(axis=1) == present.argmax(axis=1)
            found["accuracy"] = _resampled(len(results), lambda chosen: np.array([right[chosen].mean()]))
    if truth.events is not None:
        found |= _timed_figures(results, truth.events, truth.labels, step_s)
    return {name: found[name] for name in TITLES if name in found and not math.isnan(found[name].mean)}


def _timed_figures(
    results: Sequence[RecordingResult], truth: Sequence[Sequence[Occurrence]], labels: Sequence[str], step_s: float
) -> dict[str, Figure]:
    steps = [r.scores for r in results if r.scores is not None]
    active = [active_steps(events, len(scores), labels, step_s) for scores, events in zip(steps, truth, strict=True)]

    def step_ap(chosen: Sequence[int]) -> Values:
        return _precision(np.concatenate([steps[i] for i in chosen]), np.concatenate([active[i] for i in chosen]))

    found = {"step_ap": _resampled(len(results), step_ap)}
    if not any(truth):
        return found
    resamples, halves = RESAMPLES if len(results) >= FEWEST else 0, [0.5] * len(labels)
    events = EventScores([Timed.of_events(r.events, r.duration_s, labels) for r in results], truth, labels)
    found["event_f1"] = Figure(*events.event_f1(halves, resamples))
    found["segment_f1"] = Figure(*events.segment_f1(halves, resamples))
    cut = [
        piece
        for r, scores, own in zip(results, steps, truth, strict=True)
        for piece in pieces(Timed.of_steps(scores, step_s, r.duration_s), own, PIECE_STEPS)
    ]
    scores = EventScores([timed for timed, _ in cut], [own for _, own in cut], labels)
    for name, scenario in (("psds1", PSDS1), ("psds2", PSDS2)):
        found[name] = Figure(np.array([scores.psds(scenario)]), np.empty((0, 1)))
    return found


def active_steps(events: Sequence[Occurrence], count: int, labels: Sequence[str], step_s: float) -> BoolArray:
    """Return (count, C): whether a class sounds for more than half of a step."""
    covered = np.zeros((count, len(labels)), np.float32)
    begins = np.arange(count) * step_s
    for event in events:
        overlap = np.minimum(event.offset_s, begins + step_s) - np.maximum(event.onset_s, begins)
        covered[:, labels.index(event.label)] += np.maximum(overlap, 0)
    return np.asarray(covered > step_s / 2)


def _precision(scores: FloatArray, truth: BoolArray) -> Values:
    return np.array([average_precision(scores[:, k], truth[:, k]) for k in range(truth.shape[1])])


def _resampled(count: int, figure: Callable[[Sequence[int]], Values]) -> Figure:
    values, rng = figure(range(count)), np.random.default_rng(0)
    resamples = RESAMPLES if count >= FEWEST else 0
    drawn = [figure(rng.integers(0, count, count).tolist()) for _ in range(resamples)]
    return Figure(values, np.array(drawn).reshape(resamples, len(values)))
