"""What versions of a model reach on labelled recordings, and what each costs beside the first."""

from __future__ import annotations

import bisect
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from htsat_edge.evaluation.event_scores import PSDS1, PSDS2, EventScores, Timed, pieces
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.metrics import Interval, average_precision, mean_known
from htsat_edge.evaluation.playback import Heard, Version
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.models.bundle import CPU_FP32
from pydantic import BaseModel, ConfigDict, Field

Values = npt.NDArray[np.float64]
RESAMPLES = 200
"""Of the recordings, the same for every version: so the change is known better than the figure."""
PIECE_STEPS = 200
"""Steps that PSDS takes at once: its tool compares every event with every other at every threshold."""
FEWEST = 5
"""Recordings to resample; the intervals of fewer say nothing."""
ENOUGH = 20
"""Events that fp32 must have heard before another graph is recommended for good."""
TOLD = {
    "accuracy": "accuracy",
    "clip_ap": "mAP, recordings",
    "step_ap": "mAP, steps",
    "event_f1": "event F1",
    "segment_f1": "segment F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
}
BY_CLASS = ("clip_ap", "step_ap", "event_f1", "segment_f1")
"""The figures that each class has."""
GUARDED = ("accuracy", "clip_ap", "step_ap", "event_f1")
"""The means that must not fall."""


class Budget(BaseModel):
    """The keys of configs/accuracy.yaml; the comments there explain each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    macro_points: float = Field(1.0, ge=0)
    class_points: float = Field(5.0, ge=0)
    class_examples: int = Field(20, ge=1)
    logit_snr_db: float = 30.0
    range_excess_db: float = Field(9.0, ge=0)
    lost_percent: float = Field(10.0, ge=0, le=100)


@dataclass(frozen=True)
class Figure:
    """A figure of each class, and of resampled recordings."""

    values: Values
    """(C,), NaN where a class never sounds; (1,) of what is no mean over classes."""
    drawn: Values
    """(resamples, C), or (0, C)."""

    @property
    def mean(self) -> float:
        """Over the classes that sound."""
        return mean_known(self.values)

    def change_from(self, other: Figure) -> Interval:
        """How much more this is than another of the same recordings, with the interval of the difference."""
        drawn = np.array([mean_known(a) - mean_known(b) for a, b in zip(self.drawn, other.drawn, strict=True)])
        change = Interval.of(self.mean - other.mean, drawn)
        return change if change.value is not None else Interval(value=self.mean - other.mean, low=None, high=None)


class Truth:
    """What is known of the recordings, in the order in which they were heard."""

    def __init__(self, recordings: Sequence[Labelled], labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.recordings = recordings
        known = [r.labels for r in recordings]
        self.present = None if None in known else np.array([[k in (r or ()) for k in labels] for r in known])
        """(R, C): whether; None where it is not known of every recording."""
        self.events = None if any(r.events is None for r in recordings) else [r.events or () for r in recordings]
        """And when."""

    @property
    def kind(self) -> str:
        """How much is known."""
        return "none" if self.present is None else "whether" if self.events is None else "when"

    def examples(self) -> list[int]:
        """How often each class sounds: its events, or else its recordings."""
        if self.events is not None:
            counts = Counter(event.label for events in self.events for event in events)
            return [counts[label] for label in self.labels]
        return [0] * len(self.labels) if self.present is None else self.present.sum(axis=0).tolist()


def figures(heard: Sequence[Heard], truth: Truth, step_s: float) -> dict[str, Figure]:
    """Every figure that the labels allow."""
    found: dict[str, Figure] = {}
    if truth.present is not None:
        clipwise, present = np.stack([h.clipwise for h in heard]), truth.present
        found["clip_ap"] = _resampled(len(heard), lambda chosen: _precision(clipwise[chosen], present[chosen]))
        if (present.sum(axis=1) == 1).all():
            right = clipwise.argmax(axis=1) == present.argmax(axis=1)
            found["accuracy"] = _resampled(len(heard), lambda chosen: np.array([right[chosen].mean()]))
    if truth.events is not None:
        found |= _timed_figures(heard, truth.events, truth.labels, step_s)
    return {name: found[name] for name in TOLD if name in found and not math.isnan(found[name].mean)}


def _timed_figures(
    heard: Sequence[Heard], truth: Sequence[Sequence[Occurrence]], labels: Sequence[str], step_s: float
) -> dict[str, Figure]:
    steps = [h.scores for h in heard if h.scores is not None]
    active = [active_steps(events, len(scores), labels, step_s) for scores, events in zip(steps, truth, strict=True)]

    def step_ap(chosen: Sequence[int]) -> Values:
        return _precision(np.concatenate([steps[i] for i in chosen]), np.concatenate([active[i] for i in chosen]))

    found = {"step_ap": _resampled(len(heard), step_ap)}
    if not any(truth):
        return found
    resamples, halves = RESAMPLES if len(heard) >= FEWEST else 0, [0.5] * len(labels)
    events = EventScores([Timed.of_events(h.events, h.duration_s, labels) for h in heard], truth, labels)
    found["event_f1"] = Figure(*events.event_f1(halves, resamples))
    found["segment_f1"] = Figure(*events.segment_f1(halves, resamples))
    cut = [
        piece
        for h, scores, own in zip(heard, steps, truth, strict=True)
        for piece in pieces(Timed.of_steps(scores, step_s, h.duration_s), own, PIECE_STEPS)
    ]
    scores = EventScores([timed for timed, _ in cut], [own for _, own in cut], labels)
    for name, scenario in (("psds1", PSDS1), ("psds2", PSDS2)):
        found[name] = Figure(np.array([scores.psds(scenario)]), np.empty((0, 1)))
    return found


def active_steps(
    events: Sequence[Occurrence], count: int, labels: Sequence[str], step_s: float
) -> npt.NDArray[np.bool_]:
    """(count, C): where a class sounds for more than half of a step."""
    covered = np.zeros((count, len(labels)), np.float32)
    begins = np.arange(count) * step_s
    for event in events:
        overlap = np.minimum(event.offset_s, begins + step_s) - np.maximum(event.onset_s, begins)
        covered[:, labels.index(event.label)] += np.maximum(overlap, 0)
    return np.asarray(covered > step_s / 2)


def _precision(scores: FloatArray, truth: npt.NDArray[np.bool_]) -> Values:
    return np.array([average_precision(scores[:, k], truth[:, k]) for k in range(truth.shape[1])])


def _resampled(count: int, figure: Callable[[Sequence[int]], Values]) -> Figure:
    values, rng = figure(range(count)), np.random.default_rng(0)
    resamples = RESAMPLES if count >= FEWEST else 0
    drawn = [figure(rng.integers(0, count, count).tolist()) for _ in range(resamples)]
    return Figure(values, np.array(drawn).reshape(resamples, len(values)))


def unmatched(events: Sequence[Sequence[Occurrence]], others: Sequence[Sequence[Occurrence]]) -> list[Occurrence]:
    """Events of recordings that no event of the same class overlaps among the others of the same recording.

    Those of one class never overlap each other, so that the last one to begin before an event ends is the one to ask.
    """
    alone = []
    for own, theirs in zip(events, others, strict=True):
        by_label: dict[str, list[Occurrence]] = defaultdict(list)
        for other in sorted(theirs):
            by_label[other.label].append(other)
        for event in own:
            candidates = by_label[event.label]
            last = bisect.bisect_left(candidates, event.offset_s, key=lambda other: other.onset_s) - 1
            if last < 0 or candidates[last].offset_s <= event.onset_s:
                alone.append(event)
    return alone


class OddWindow(BaseModel):
    """The clip that a version hears most differently."""

    file: str
    at_s: float
    logit_snr_db: float


class Measured(BaseModel):
    """What one version reaches, and what it costs beside fp32; figures are shares of 1."""

    sha256: str
    size: int
    """Bytes."""
    clip_ms: float
    """Median time of one clip, all versions in turn on the same clips."""
    logit_snr_db: float | None
    """None: the same to the bit, or no number at all, which `broken` says."""
    worst_clip: OddWindow | None
    events: int
    events_lost: int
    """Events of fp32 that no event of this one overlaps."""
    events_gained: int
    """The other way round."""
    false_events_per_hour: float | None
    """Events that overlap nothing of their class in the labels."""
    figures: dict[str, float]
    changes: dict[str, Interval]
    """From fp32."""
    class_figures: dict[str, dict[str, float | None]]
    """By label, the figures that each class has."""
    broken: list[str] = []
    """What of the budget it breaks."""


class Accuracy(BaseModel):
    """What accuracy.json says."""

    material: str
    """What was measured on."""
    recordings: int
    hours: float
    labels_say: str
    """`when` a class sounds, `whether` it does, or `none`: then everything is agreement with fp32."""
    processor: str
    budget: Budget
    versions: dict[str, str]
    graphs: dict[str, Measured]
    recommended: dict[str, str]
    """By backend, the fastest graph within the budget; fp32 where none is a tenth faster, or too little was heard."""


def compare(
    version: Version,
    reference: Version,
    own: Mapping[str, Figure],
    theirs: Mapping[str, Figure],
    truth: Truth,
    sha256: str,
    size: int,
) -> Measured:
    """What a version reaches beside the reference: `own` figures and `theirs`; and the graph's hash and bytes."""
    events, wanted = ([h.events for h in v.heard] for v in (version, reference))
    hours = sum(h.duration_s for h in version.heard) / 3600
    by_class = {name: own[name].values for name in BY_CLASS if name in own}
    worst = [
        OddWindow(file=clip.file, at_s=round(clip.at_s, 2), logit_snr_db=round(clip.snr_db, 1))
        for clip in version.odd_clips[:1]
        if math.isfinite(clip.snr_db)
    ]
    return Measured(
        sha256=sha256,
        size=size,
        clip_ms=round(version.clip_ms, 2),
        logit_snr_db=round(version.snr_db, 1) if math.isfinite(version.snr_db) else None,
        broken=["gives scores that are no numbers"] if version.snr_db == -math.inf else [],
        worst_clip=worst[0] if worst else None,
        events=sum(map(len, events)),
        events_lost=len(unmatched(wanted, events)),
        events_gained=len(unmatched(events, wanted)),
        false_events_per_hour=None if truth.events is None else len(unmatched(events, truth.events)) / hours,
        figures={name: figure.mean for name, figure in own.items()},
        changes={name: figure.change_from(theirs[name]) for name, figure in own.items()},
        class_figures={
            label: {name: None if math.isnan(values[k]) else float(values[k]) for name, values in by_class.items()}
            for k, label in enumerate(truth.labels)
        },
    )


def broken_by(measured: Measured, reference: Measured, truth: Truth, budget: Budget) -> list[str]:
    """What a version breaks of the budget, a line each."""
    broken = list(measured.broken)
    for name in GUARDED:
        fallen = 100 * -((measured.changes[name].value or 0.0) if name in measured.changes else 0.0)
        if fallen > budget.macro_points:
            broken.append(f"{TOLD[name]} falls by {fallen:.1f} points, allowed are {budget.macro_points:g}")
    name = "event_f1" if truth.events is not None else "clip_ap"
    for label, examples in zip(truth.labels, truth.examples(), strict=True):
        before, after = (m.class_figures.get(label, {}).get(name) for m in (reference, measured))
        if before is None or after is None:
            continue
        enough = examples >= budget.class_examples or after == 0
        if enough and 100 * (before - after) > budget.class_points:
            broken.append(
                f"{TOLD[name]} of {label} falls by {100 * (before - after):.1f} points, "
                f"allowed are {budget.class_points:g}"
            )
    if truth.events is None and measured.events_lost * 100 > budget.lost_percent * reference.events:
        lost = f"{measured.events_lost} of {reference.events} events of fp32"
        broken.append(f"{lost} are lost, allowed are {budget.lost_percent:g} %")
    if measured.logit_snr_db is not None and measured.logit_snr_db < budget.logit_snr_db:
        broken.append(f"logits are within {measured.logit_snr_db:g} dB of fp32, want {budget.logit_snr_db:g}")
    return broken


def recommend(graphs: Mapping[str, Measured], reference: str, gain: float = 0.9) -> str:
    """The fastest graph within the budget, if it is worth it, and if ENOUGH was heard to say so.

    Else it is full precision, in the faster of its two forms.
    """
    fit = {name: m.clip_ms for name, m in graphs.items() if not m.broken}
    whole = min((name for name in (reference, CPU_FP32) if name in fit), key=lambda name: fit[name])
    if graphs[reference].events < ENOUGH:
        return whole
    fastest = min(fit, key=lambda name: fit[name])
    return fastest if fit[fastest] < gain * fit[whole] else whole
