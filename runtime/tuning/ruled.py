"""Which replayed events the rules between sounds would have let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import groupby
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray
from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart
from htsat_edge.runtime.tuning.heard import HeardRun
from htsat_edge.runtime.tuning.sweep import Spans


class EventEdge(NamedTuple):
    """A start or an end of an event, in the order in which the rules get to know of them."""

    step: int
    """At which it is known."""
    is_end: bool
    k: int
    """Place of its class."""
    i: int
    """Which of the class's events in the run it is."""


def is_ruled(rules: RulesConfig, source: str, label: str) -> bool:
    """Return whether any rule concerns a class of a source."""
    quiet = (hours for hours in rules.quiet_hours if hours.labels is None or label in hours.labels)
    return bool(
        label in rules.suppress
        or rules.cooldown_of(label)
        or any(hours.sources is None or names_of(source) & {*hours.sources} for hours in quiet)
    )


def suppressors(rules: RulesConfig, label: str) -> list[str]:
    """Return the classes that may keep another from being reported."""
    rule = rules.suppress.get(label)
    return [] if rule is None else list(rule.while_)


class RuledClass:
    """A class whose events go through the rules, together with those of the classes that may suppress it."""

    def __init__(
        self,
        rules: RulesConfig,
        source: str,
        label: str,
        labels: Sequence[str],
        runs: Sequence[HeardRun],
        others: Mapping[str, Sequence[Spans]],
    ) -> None:
        """Prepare for events of a class.

        Parameters
        ----------
        rules, source, label
            The rules, and whose events they are.
        labels
            All classes, in the order of the scores: of events of one step, that decides which comes first.
        runs
            What was heard, in order.
        others
            Events of the classes that may suppress it, by label and run.
        """
        self._rules, self._source, self._label, self._labels, self._runs = rules, source, label, labels, runs
        self._others = others
        self._has_hours = bool(rules.quiet_hours)

    def select(self, events: Sequence[Spans]) -> list[BoolArray]:
        """Return which events of the class, by run, would have been reported."""
        found, rules, session = list[BoolArray](), Rules(), -1
        for n, (run, own) in enumerate(zip(self._runs, events, strict=True)):
            if run.session != session:
                rules, session = Rules(self._rules, self._source), run.session
            heard = {self._label: own} | {label: spans[n] for label, spans in self._others.items()}
            found.append(self._select(rules, run, heard))
        return found

    def _select(self, rules: Rules, run: HeardRun, heard: Mapping[str, Spans]) -> BoolArray:
        own, number = self._labels.index(self._label), len(self._labels)
        reported = np.zeros(len(heard[self._label].onset), bool)
        edges = sorted(one for label, spans in heard.items() for one in self._edges(self._labels.index(label), spans))
        for _, batch in groupby(edges, key=lambda one: one.step):
            events = [self._event(run, one, heard[self._labels[one.k]], one.k + number * one.i) for one in batch]
            for event in rules.select(events).reported:
                if event.id % number == own:
                    reported[event.id // number] = True
        return reported

    def _edges(self, k: int, spans: Spans) -> Iterator[EventEdge]:
        for i, (start, end) in enumerate(zip(spans.started.tolist(), spans.closed.tolist(), strict=True)):
            yield EventEdge(start, False, k, i)
            yield EventEdge(end, True, k, i)

    def _event(self, run: HeardRun, one: EventEdge, spans: Spans, number: int) -> Event:
        step, label = int(spans.onset[one.i]), self._labels[one.k]
        onset = run.position(step)
        if one.is_end:
            offset = run.position(int(spans.offset[one.i]))
            return EventEnd.model_construct(
                source=self._source, id=number, label=label, onset=onset, offset=offset, time=None, score=1.0
            )
        time = None
        if self._has_hours and run.timed:
            time = format_time(datetime.fromtimestamp(run.at(step), timezone.utc))
        return EventStart.model_construct(
            source=self._source, id=number, label=label, onset=onset, time=time, score=1.0
        )
