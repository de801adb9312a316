"""From scores to events: hysteresis, merged gaps and a minimum length, one step after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray, IntArray
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart


@dataclass(frozen=True)
class Rule:
    """When scores are an event.

    An event is a run of steps at or above `release` in which at least one is at or above `threshold`. Runs of one
    class that are at most `merge_gap` steps apart are one event. Events shorter than `min_length` are left out.
    """

    threshold: FloatArray
    """(C,); infinite for classes that are not reported."""
    release: FloatArray
    """(C,), at most the threshold."""
    min_length: int = 1
    """Steps."""
    merge_gap: int = 0
    """Steps."""


class State(NamedTuple):
    """What is known between two steps; every array is (C,)."""

    step: int
    run: IntArray
    """Step at which the present run at or above the release began, or -1."""
    hot: BoolArray
    """Whether the present run has reached the threshold."""
    open: BoolArray
    """Whether there is an event: it goes on, or its end is still near enough to be merged with."""
    started: BoolArray
    """Whether its start was reported."""
    onset: IntArray
    offset: IntArray
    """Step after the last of the event, so far."""
    peak: FloatArray


def initial_state(classes: int) -> State:
    """Return the state before a recording begins."""
    none, zero = np.zeros(classes, bool), np.zeros(classes, np.int64)
    return State(0, zero - 1, none, none, none, zero, zero, np.zeros(classes, np.float32))


def advance(state: State, score: FloatArray, rule: Rule) -> tuple[State, BoolArray, BoolArray]:
    """Take the scores (C,) of one step; return the new state, and which classes start and which end an event (C,)."""
    now = state.step
    above = score >= rule.release
    run = np.where(above, np.where(state.run < 0, now, state.run), -1)
    hot = above & (state.hot | (score >= rule.threshold))
    begins = hot & ~state.open
    opened = state.open | hot
    onset = np.where(begins, run, state.onset)
    offset = np.where(hot, now + 1, state.offset)
    peak = np.where(hot, np.maximum(score, np.where(begins, 0, state.peak)), state.peak)
    starts = hot & ~state.started & (offset - onset >= rule.min_length)
    # A run that has begun near enough may still reach the threshold: it keeps the event open.
    closes = opened & ~above & (now + 1 - offset > rule.merge_gap)
    started = state.started | starts
    after = State(now + 1, run, hot, opened & ~closes, started & ~closes, onset, offset, peak)
    return after, starts, closes & started


class EventTracker:
    """Turns the final scores of a source into events."""

    def __init__(
        self,
        labels: Sequence[str],
        step_s: float,
        rule: Rule,
        ids: Iterator[int],
        *,
        source: str = "",
        origin_s: float = 0.0,
        time_of: Callable[[float], str | None] = lambda _: None,
    ) -> None:
        """Begin a recording.

        Parameters
        ----------
        labels
            The model's classes, in the order of its scores.
        step_s
            Seconds of a step.
        ids
            Where the numbers of events come from; it may outlive the tracker.
        source
            The events' source.
        origin_s
            Seconds from the beginning of the source to the first step.
        time_of
            Gives the time of day of a moment in seconds since the source began.
        """
        self._labels, self._step_s, self._rule, self._ids = labels, step_s, rule, ids
        self._source, self._origin_s, self._time_of = source, origin_s, time_of
        self._state = initial_state(len(labels))
        self._open: dict[int, EventStart] = {}

    def push(self, scores: FloatArray, end_s: float = np.inf) -> list[Event]:
        """Take scores (n, C); return the events that start or end, none later than `end_s` after the first step.

        The last step may reach past the end of a recording.
        """
        events: list[Event] = []
        for row in scores:
            self._state, starts, ends = advance(self._state, row, self._rule)
            events += [self._start(int(k)) for k in np.flatnonzero(starts)]
            events += [self._end(int(k), end_s) for k in np.flatnonzero(ends)]
        return events

    def flush(self, end_s: float = np.inf) -> list[Event]:
        """End the recording; return the ends of the events that go on, where they were heard last."""
        return [self._end(k, end_s) for k in sorted(self._open)]

    def _start(self, k: int) -> EventStart:
        onset = self._position(self._state.onset[k] * self._step_s)
        event = EventStart(
            source=self._source,
            id=next(self._ids),
            label=self._labels[k],
            onset=onset,
            time=self._time_of(onset),
            score=self._peak(k),
        )
        self._open[k] = event
        return event

    def _end(self, k: int, end_s: float) -> EventEnd:
        start = self._open.pop(k)
        return EventEnd(
            source=start.source,
            id=start.id,
            label=start.label,
            onset=start.onset,
            offset=self._position(min(self._state.offset[k] * self._step_s, end_s)),
            time=start.time,  # a clock that was set meanwhile moves no event
            score=self._peak(k),
        )

    def _peak(self, k: int) -> float:
        return round(float(self._state.peak[k]), DECIMALS)

    def _position(self, seconds: float) -> float:
        """Return seconds since the first step as seconds since the source began."""
        return round(self._origin_s + round(float(seconds), DECIMALS), DECIMALS)
