"""Compute what operating points reach: how soon sounds are reported, how many of them, and how many false alarms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel

from htsat_edge.evaluation.event_scores import EventScores, Timed
from htsat_edge.evaluation.figures import FEWEST, RESAMPLES, Figure
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import FIRST_S, NEAR_S, HeardRecording, Outcome, match
from htsat_edge.evaluation.metrics import Interval, mean_known
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

LAST_S = 5.0
"""A sound that begins so near to the end of a recording has no latency: its start may be yet to come."""
HOPS, LOOK_AHEADS = (1, 2, 4), (1, 4, 8)
"""Steps."""


class Recall(BaseModel):
    """How many sounds were found."""

    sounds: int
    found: int

    @staticmethod
    def of(outcomes: Iterable[Outcome]) -> Recall:
        """Count what became of sounds."""
        found = [outcome.found for outcome in outcomes]
        return Recall(sounds=len(found), found=sum(found))

    @property
    def share(self) -> float | None:
        """Share that was found; None of no sound."""
        return self.found / self.sounds if self.sounds else None


class OperatingPoint(BaseModel):
    """What a model reaches with some settings, of which runtime/models/settings.py says what each is."""

    hop_s: float
    look_ahead_s: float
    early_margin: float | None
    is_default: bool
    """Whether a user gets these without choosing."""
    timed: int
    """Sounds whose latency is known."""
    latency_median_s: float | None
    latency_p95_s: float | None
    recall: Recall
    recall_first: Recall
    """Of sounds that begin in the first `first_s` of a recording."""
    recall_later: Recall
    recall_after_gap: Recall
    """Of sounds that begin in the `first_s` after a gap in the middle of a recording."""
    recall_without_gap: Recall
    """Of the same sounds, heard without the gap."""
    event_f1: Interval
    """Mean over the classes, as in accuracy.json."""
    segment_f1: Interval
    false_alarms_per_hour: float


class LatencyFigures(BaseModel):
    """The content of latency.json."""

    written_by: Literal["htsat-edge"] = "htsat-edge"
    bundle: str
    graph: str
    material: str
    recordings: int
    hours: float
    near_s: float = NEAR_S
    """A start whose onset is so near to a sound of its class belongs to it; every other is a false alarm."""
    first_s: float = FIRST_S
    last_s: float = LAST_S
    """Sounds that begin so near to the end of a recording have no latency."""
    versions: dict[str, str]
    points: list[OperatingPoint]


def operating_points(
    info: ModelInfo,
    hops_s: Sequence[float] | None = None,
    look_aheads_s: Sequence[float] | None = None,
    early_margins: Sequence[float | None] | None = None,
) -> list[Settings]:
    """Return every combination of settings, each once; by default some that tell much, and what a user gets.

    Raises
    ------
    HtsatEdgeError
        One does not fit the model.
    """
    default = Settings()
    if hops_s is None:
        hops_s = [steps * info.step_s for steps in HOPS if steps <= info.steps]
    if look_aheads_s is None:
        look_aheads_s = [steps * info.step_s for steps in LOOK_AHEADS if steps < info.steps]
    if early_margins is None:
        early_margins = [default.early_margin, None]
    grid = itertools.product(hops_s, look_aheads_s, early_margins)
    chosen = [Settings(hop_s=hop_s, look_ahead_s=ahead_s, early_margin=margin) for hop_s, ahead_s, margin in grid]
    for point in chosen:
        point.validate(info)
    return list({_steps(info, point): point for point in chosen}.values())


def _steps(info: ModelInfo, point: Settings) -> tuple[float, float, float | None]:
    """Return the hop and the look-ahead in steps, and the margin: settings that agree in these are the same."""
    return point.grid(info).hop_steps, point.look_ahead_steps(info), point.early_margin


def figures_of(
    info: ModelInfo,
    points: Sequence[Settings],
    i: int,
    heard: Sequence[HeardRecording],
    truth: Sequence[Sequence[Occurrence]],
) -> OperatingPoint:
    """Return what operating point `i` reaches on recordings, of which `truth` has the sounds."""
    outcomes: list[Outcome] = []
    latencies: list[float] = []
    without_gap: list[Outcome] = []
    after_gap: list[Outcome] = []
    alarms = 0
    for recording, sounds in zip(heard, truth, strict=True):
        own, false = match(sounds, recording.whole[i])
        outcomes += own
        alarms += false
        limit_s = recording.duration_s - LAST_S
        latencies += [o.latency_s for o in own if o.latency_s is not None and o.sound.onset_s <= limit_s]
        if recording.gap_s is not None:
            without_gap += _soon_after(recording.gap_s, own)
            after_gap += _soon_after(recording.gap_s, match(sounds, recording.after_gap[i])[0])
    hop, look_ahead, early_margin = _steps(info, points[i])
    hours = sum(recording.duration_s for recording in heard) / 3600
    event_f1, segment_f1 = _f1(info.labels, i, heard, truth)
    median_s, p95_s = (float(np.percentile(latencies, q)) if latencies else None for q in (50, 95))
    return OperatingPoint(
        hop_s=round(hop * info.step_s, DECIMALS),
        look_ahead_s=round(look_ahead * info.step_s, DECIMALS),
        early_margin=early_margin,
        is_default=_steps(info, points[i]) == _steps(info, Settings()),
        timed=len(latencies),
        latency_median_s=median_s,
        latency_p95_s=p95_s,
        recall=Recall.of(outcomes),
        recall_first=Recall.of(_soon_after(0.0, outcomes)),
        recall_later=Recall.of(o for o in outcomes if o.sound.onset_s >= FIRST_S),
        recall_after_gap=Recall.of(after_gap),
        recall_without_gap=Recall.of(without_gap),
        event_f1=event_f1,
        segment_f1=segment_f1,
        false_alarms_per_hour=alarms / hours,
    )


def _soon_after(begin_s: float, outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if begin_s <= outcome.sound.onset_s < begin_s + FIRST_S]


def _f1(
    labels: Sequence[str],
    i: int,
    heard: Sequence[HeardRecording],
    truth: Sequence[Sequence[Occurrence]],
) -> tuple[Interval, Interval]:
    events = [Timed.of_events([r.event for r in one.whole[i]], one.duration_s, labels) for one in heard]
    scores = EventScores(events, truth, labels)
    halves, resamples = [0.5] * len(labels), RESAMPLES if len(heard) >= FEWEST else 0
    return (
        _interval(Figure(*scores.event_f1(halves, resamples))),
        _interval(Figure(*scores.segment_f1(halves, resamples))),
    )


def _interval(figure: Figure) -> Interval:
    found = Interval.of(figure.mean, np.array([mean_known(drawn) for drawn in figure.drawn]))
    return found if found.value is not None else Interval(value=figure.mean, low=None, high=None)
