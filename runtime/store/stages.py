"""What became of each step of a class: it belongs to an event that was reported, or what held it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.hysteresis import Rule
from htsat_edge.runtime.store.records import Stage, StoredEvent
from htsat_edge.runtime.store.replay import Replay, Replayed, narrow, replay
from htsat_edge.runtime.store.runs import ScoreRun
from htsat_edge.runtime.store.score_codes import LEAST_LOGIT, MOST_LOGIT

RULES: dict[str, Stage] = {"suppress": "suppress", "cooldown": "cooldown", "quiet_hours": "quiet_hours"}
NEAR_S = 2.56
"""So much earlier than by the final scores a start that was early may have seen the onset."""
ROUNDED_S = 0.005
"""Times of day are in whole milliseconds: a moment so little before a step is meant to be in it."""
EARLY_S = 10.0
"""So long before an event that was reported early, what only the final scores find is no alarm of its own."""
HALF_CODE = (MOST_LOGIT - LEAST_LOGIT) / 254 / 2
"""What a stored score may differ from the true one, in logits."""


@dataclass(frozen=True)
class Known:
    """What the store has of a class in a run of scores, in steps of that run."""

    events: Sequence[range]
    """Those that were reported; one whose end is not known is a step long."""
    open: frozenset[int]
    """Where those begin whose end is not known."""
    left_out: Sequence[tuple[int, Stage]]
    """Where events began that a rule did not let through, and that rule."""
    step_s: float

    def find_rule(self, heard: Replayed) -> Stage | None:
        """Return the rule that did not let an event through; None where none did."""
        return next((rule for step, rule in self.left_out if self._near(heard, step)), None)

    def is_reported(self, heard: Replayed) -> bool:
        """Return whether an event was reported, by itself or in an alarm that had gone out already."""
        early = heard.onset + EARLY_S / self.step_s
        return any(
            (event.start < heard.offset and heard.onset < event.stop)
            or heard.offset <= event.start <= early
            or (event.start in self.open and self._near(heard, event.start))
            for event in self.events
        )

    def _near(self, heard: Replayed, step: int) -> bool:
        return heard.onset - NEAR_S / self.step_s <= step < heard.offset


@dataclass(frozen=True)
class Course:
    """What became of a class in a run of scores."""

    run: ScoreRun
    label: str
    stages: Sequence[Stage]
    """Of each step."""
    replay: Replay | None
    """Of the class, the last, and of those that are more specific; None where the run has no such class."""
    labels: Sequence[str]
    """Of these."""

    @property
    def scores(self) -> FloatArray | None:
        """Those of the class, (n,); None where the run has none."""
        return None if self.replay is None else self.replay.scores[:, -1]

    def step(self, at: float) -> int | None:
        """Return the step that a moment lies in; None where it is outside."""
        step = int((at - self.run.at + ROUNDED_S) // self.run.step_s)
        return step if 0 <= step < len(self.stages) else None

    def heard(self, step: int) -> Replayed | None:
        """Return what has reached the threshold at a step, whether an event or not."""
        heard = () if self.replay is None else self.replay.heard
        return next((one for one in heard if one.k == len(self.labels) - 1 and one.covers(step)), None)


def follow(run: ScoreRun, label: str, events: Sequence[StoredEvent], left_out: Sequence[tuple[float, str]]) -> Course:
    """Return what became of a class in a run.

    Parameters
    ----------
    run
        The scores; long enough before what matters that the replay is in the right state.
    label
        The class.
    events
        Its events of this source in the run's session.
    left_out
        Onsets of its events that a rule did not let through there, in seconds since the source began, and that rule.
    """
    count, setup = len(run.scores), run.setup

    def step(onset: float) -> int:
        return round((onset - run.onset) / run.step_s)

    known = Known(
        events=[range(step(e.onset), step(e.offset) if e.offset is not None else step(e.onset) + 1) for e in events],
        open=frozenset(step(e.onset) for e in events if e.offset is None),
        left_out=[(step(onset), RULES[rule]) for onset, rule in left_out if rule in RULES],
        step_s=run.step_s,
    )
    if label not in setup.labels:
        return Course(run, label, _mark_events(["not_reported"] * count, known), None, ())
    rule, own = narrow(setup.rule(), setup.labels.index(label))
    played = replay(rule, run.scores[:, own])
    if setup.thresholds[own[-1]] is None:
        stages: list[Stage] = ["not_reported"] * count
    else:
        stages = _explain_found(stages_of(played, setup.min_length, known), played, setup.min_length, known)
    return Course(run, label, _mark_events(stages, known), played, [setup.labels[k] for k in own])


def stages_of(played: Replay, min_length: int, known: Known) -> list[Stage]:
    """Return what became of each step of the last class by a replay; `reported` where it finds an event.

    `min_length` is what an event of any class needs.
    """
    rule, scores = played.rule, played.scores[:, -1]
    release, last = rule.release[-1], len(rule.release) - 1
    stages: list[Stage] = ["below_threshold" if score >= release else "below_release" for score in scores]
    if rule.below is not None:
        above = map(int, np.flatnonzero(scores >= release))
        for step in filter(played.hiding, above):
            stages[step] = "more_specific"
    for step, why in known.left_out:  # where the start was early, and the final scores do not bear it out
        for i in range(max(step, 0), len(stages)):
            if i > step and scores[i] < release:
                break
            stages[i] = why
    for heard in played.heard:
        if heard.k == last:
            stages[heard.onset : heard.offset] = [_fate(heard, rule, min_length, known)] * (heard.offset - heard.onset)
    return stages


def _fate(heard: Replayed, rule: Rule, min_length: int, known: Known) -> Stage:
    """Return what became of steps that have reached the threshold."""
    length, needed = heard.offset - heard.onset, np.broadcast_to(rule.min_length, rule.threshold.shape)[-1]
    if not heard.found:
        return "too_short" if length < min_length else "confirming" if length < needed else "more_specific"
    return known.find_rule(heard) or "reported"


def _explain_found(stages: list[Stage], played: Replay, min_length: int, known: Known) -> list[Stage]:
    """Return the stages without the events that only the replay finds.

    Stored scores are rounded: where such an event is none as soon as they are a little lower, that is what they were.
    Else it was not stored.
    """
    lost = [one for one in played.heard if one.found and one.k == played.scores.shape[1] - 1]
    lost = [one for one in lost if known.find_rule(one) is None and not known.is_reported(one)]
    if not lost:
        return stages
    strict = replay(_stricter(played.rule), played.scores)
    stricter = stages_of(strict, min_length, known)
    for heard in lost:
        for i in range(heard.onset, heard.offset):
            stages[i] = "not_stored" if stricter[i] == "reported" else stricter[i]
    return stages


def _stricter(rule: Rule) -> Rule:
    threshold, release = rule.threshold.copy(), rule.release.copy()
    for limits in (threshold, release):
        limits[-1] = expit(logit(np.float64(limits[-1])) + HALF_CODE)
    return replace(rule, threshold=threshold, release=release)


def _mark_events(stages: list[Stage], known: Known) -> list[Stage]:
    """Return the stages with what was reported in any case."""
    for event in known.events:
        for i in range(max(event.start, 0), min(event.stop, len(stages))):
            stages[i] = "reported"
    return stages
