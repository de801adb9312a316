"""From scores to events: starts as soon as the newest scores are sure enough, ends by the final ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.message import DECIMALS, format_time
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart
from htsat_edge.runtime.dsp.hysteresis import Rule, advance, initial_state


class Run(NamedTuple):
    """Steps of a class that are at or above its release."""

    onset: int
    offset: int
    """Step after the last."""
    peak: float


@dataclass
class Early:
    """An event whose start was reported before its scores were final, and which these have not borne out yet."""

    onset: int
    """Step."""
    offset: int
    """Step after the last that was heard to belong to it, so far."""
    until: int
    """Step up to which final scores may yet bear it out: after all that was heard of it, and all that was sure."""
    after: int = 0
    """Step up to where an event of its class had gone on that was ended for it: what began before is that one's."""
    peak: float = 0.0
    """Of the final scores from the onset to the offset."""


class EventTracker:
    """Turns the scores of a source into events.

    Final scores decide which events there are, when they begin and end, and how high they score. Where the newest
    scores are sure of an event, its start is reported at once; its end then has the onset of the final scores, and the
    peak of these. If they do not bear it out, it ends where the newest scores saw it end, with what score is left. If
    the newest are sure of another event of a class before the last one has its final end, that one ends by what is
    known then. What only the final scores find before an event that was reported early is not reported.
    """

    def __init__(
        self,
        labels: Sequence[str],
        step_s: float,
        rule: Rule,
        ids: Iterator[int],
        *,
        source: str = "",
        origin_s: float = 0.0,
        time_of: Callable[[float], datetime | None] = lambda _: None,
    ) -> None:
        """Begin a recording.

        Parameters
        ----------
        labels
            The classes, in the order of the scores.
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
        self._min_length = np.broadcast_to(rule.min_length, len(labels))
        self._state = initial_state(len(labels))
        self._open: dict[int, tuple[EventStart, datetime | None]] = {}
        self._early: dict[int, Early] = {}

    def push(self, scores: FloatArray, end_s: float = np.inf) -> list[Event]:
        """Take final scores (n, C); return the events that start or end, none later than `end_s` after the first step.

        The last step may reach past the end of a recording.
        """
        events: list[Event] = []
        loud: BoolArray = np.any(scores >= self._rule.release, axis=1)
        for row, is_loud in zip(scores, loud.tolist(), strict=True):
            if not is_loud and self._is_idle:
                self._state = self._state._replace(step=self._state.step + 1)
                continue
            self._state, starts, ends = advance(self._state, row, self._rule)
            events += [start for k in np.flatnonzero(starts) if (start := self._start_final(int(k)))]
            events += [event for k in np.flatnonzero(ends) if (event := self._end_final(int(k), end_s))]
            events += self._end_early(row, end_s)
        return events

    @property
    def _is_idle(self) -> bool:
        """Whether a step at which nothing reaches its release changes nothing."""
        state = self._state
        return not self._early and not state.open.any() and not state.hot.any() and bool((state.run < 0).all())

    def push_newest(self, step: int, scores: FloatArray) -> list[Event]:
        """Take scores (n, C) from `step` on that are not final; return the events that they are sure have started.

        Such a start ends what goes on of its class.
        """
        if self._rule.early is None or len(scores) == 0:
            return []
        sure = scores >= self._rule.early
        events: list[Event] = []
        for k in map(int, np.flatnonzero(sure.any(axis=0))):
            runs, until = self._runs(k, step, scores[:, k]), step + int(np.flatnonzero(sure[:, k])[-1]) + 1
            events += self._start_early(k, runs, until)
        return events

    def retune(self, rule: Rule, end_s: float = np.inf) -> list[Event]:
        """Begin anew by another rule with the next final step; return the ends of the events that go on.

        One that goes on whose start was early, and which final scores have not borne out yet, was reported: it is not
        ended, and the new rule decides of it as the old one would have.
        """
        found = [k for k in sorted(self._open) if k not in self._early or self._is_borne_out(k)]
        ends: list[Event] = [end for k in found if (end := self._end_final(k, end_s))]
        self._rule, self._min_length = rule, np.broadcast_to(rule.min_length, len(self._labels))
        self._state = initial_state(len(self._labels))._replace(step=self._state.step)
        return ends

    def flush(self, end_s: float = np.inf) -> list[Event]:
        """End the recording; return the ends of the events that go on, where they were heard last."""
        ends: list[Event] = []
        for k in sorted(self._open):
            is_early = k in self._early and not self._state.open[k]
            ends.append((None if is_early else self._end_final(k, end_s)) or self._end(k, *self._pop_early(k), end_s))
        return ends

    def _runs(self, k: int, step: int, scores: FloatArray) -> list[Run]:
        """Return the runs at or above the release in a class's scores (n,), the first with its final part before."""
        edges = np.flatnonzero(np.diff(scores >= self._rule.release[k], prepend=False, append=False)).reshape(-1, 2)
        runs = [Run(step + int(first), step + int(last), float(scores[first:last].max())) for first, last in edges]
        if runs and runs[0].onset == step and self._state.run[k] >= 0:
            runs[0] = runs[0]._replace(onset=int(self._state.run[k]))
        return runs

    def _start_early(self, k: int, runs: Sequence[Run], sure: int) -> list[Event]:
        """Return the start of an event that the newest scores are sure of, after the end of one that goes on.

        Where they hold two, it is the first that reaches the threshold: final scores will find that one first.
        """
        going_on = self._going_on(k)
        for run in runs:
            if going_on and run.onset - going_on.offset <= self._rule.merge_gap:
                offset, peak = max(going_on.offset, run.offset), max(going_on.peak, run.peak)
                going_on = Run(going_on.onset, offset, peak)
            elif run.onset >= sure:
                break
            elif run.peak >= self._rule.threshold[k] and run.offset - run.onset >= self._min_length[k]:
                ended = [self._end(k, *going_on)] if going_on else []
                until, after = max(run.offset, sure), going_on.offset if going_on else 0
                self._early[k] = Early(run.onset, run.offset, until, after)
                return [*ended, self._start(k, run.onset, run.peak)]
        if going_on and (early := self._early.get(k)):
            early.offset, early.until = going_on.offset, max(early.until, going_on.offset)
        return []

    def _going_on(self, k: int) -> Run | None:
        """Return the event of a class that goes on, with its highest score so far."""
        if k not in self._open:
            return None
        early, final = self._early.get(k), self._final(k)
        if early is None:
            return final
        if not self._is_borne_out(k):
            return Run(early.onset, early.offset, early.peak)
        return Run(final.onset, max(early.offset, final.offset), max(early.peak, final.peak))

    def _is_borne_out(self, k: int) -> bool:
        """Return whether the final scores have found the event of a class whose start was early."""
        return bool(self._state.open[k]) and self._final(k).offset > self._early[k].onset

    def _final(self, k: int) -> Run:
        """Return the last event of the final scores, without what belongs to one that was ended before."""
        early, onset = self._early.get(k), int(self._state.onset[k])
        if early is not None and onset < early.after:
            onset = early.onset
        return Run(onset, int(self._state.offset[k]), float(self._state.peak[k]))

    def _end_early(self, row: FloatArray, end_s: float) -> list[Event]:
        """Return the ends of events that the final scores, of which `row` is the newest, do not bear out."""
        state, events = self._state, list[Event]()
        for k, early in list(self._early.items()):
            if early.onset < state.step <= early.offset:
                early.peak = max(early.peak, float(row[k]))
            if state.step >= early.until and not state.open[k] and state.run[k] < 0:
                events.append(self._end(k, *self._pop_early(k), end_s))
        return events

    def _pop_early(self, k: int) -> Run:
        early = self._early.pop(k)
        return Run(early.onset, early.offset, early.peak)

    def _start_final(self, k: int) -> EventStart | None:
        """Return the start of an event by the final scores; None where one goes on that the newest scores found."""
        if k in self._early:
            return None
        return self._start(k, int(self._state.onset[k]), float(self._state.peak[k]))

    def _end_final(self, k: int, end_s: float) -> EventEnd | None:
        """Return the end of an event by the final scores; None where they end another, before that which goes on.

        That other one was ended already, or only they have found it: nobody wants another alarm for it then.
        """
        early, final = self._early.get(k), self._final(k)
        if early is not None and final.offset <= early.onset:
            return None
        self._early.pop(k, None)
        return self._end(k, *final, end_s)

    def _start(self, k: int, onset: int, peak: float) -> EventStart:
        position = self._position(onset * self._step_s)
        moment = self._time_of(position)
        event = EventStart(
            source=self._source,
            id=next(self._ids),
            label=self._labels[k],
            onset=position,
            time=None if moment is None else format_time(moment),
            score=round(peak, DECIMALS),
        )
        self._open[k] = event, moment
        return event

    def _end(self, k: int, onset: int, offset: int, peak: float, end_s: float = np.inf) -> EventEnd:
        start, moment = self._open.pop(k)
        position = self._position(onset * self._step_s)
        if moment is not None:  # a clock that was set meanwhile moves no event
            moment += timedelta(seconds=position - start.onset)
        return EventEnd(
            source=start.source,
            id=start.id,
            label=start.label,
            onset=position,
            offset=self._position(min(offset * self._step_s, end_s)),
            time=None if moment is None else format_time(moment),
            score=round(peak, DECIMALS),
        )

    def _position(self, seconds: float) -> float:
        """Return seconds since the first step as seconds since the source began."""
        return round(self._origin_s + round(float(seconds), DECIMALS), DECIMALS)
