"""Decide which events are worth a notification: the rules, and what they remember. No thread, no clock of its own."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time
from typing import NamedTuple

from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config.notify import NotificationRuleConfig, NotifyConfig, UnusualConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.daemon.outputs.notify.history import EventHistory
from htsat_edge.runtime.daemon.rules import is_quiet
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.store.records import EventFilter, StoredEvent

MOST_EARLIER = 1000
"""Events of a class on one day that are looked through for one that meets a rule's other conditions."""
DAY_S = 86_400.0
NeededScore = Callable[[NotificationRuleConfig, str, str], float]
"""Of a rule, a source and a class."""


class HeardEvent(NamedTuple):
    """The start or the end of an event, and when it came."""

    event: Event
    came_s: float
    """In monotonic time."""
    came_at: float
    """In seconds since 1970."""

    @property
    def at(self) -> float:
        """When it began, in seconds since 1970; where that is not known, when it came."""
        return self.came_at if self.event.time is None else datetime.fromisoformat(self.event.time).timestamp()


class ChosenRule(NamedTuple):
    """A rule that an event meets, and who is to notify."""

    rule: NotificationRuleConfig
    services: list[str]


class NotificationDecider:
    """Chooses the events that people are notified of, each of them at most once by each service."""

    def __init__(self, config: NotifyConfig, needed_score: NeededScore, history: EventHistory) -> None:
        """Begin with nothing heard but what the history has."""
        self._config, self._needed_score, self._history = config, needed_score, history
        self._waiting: set[tuple[int, str, int]] = set()
        """Rules whose score an event has not reached yet, with its source and id."""
        self._served: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        """Services that have notified of an event that goes on."""
        self._last_s: dict[tuple[int, str, str], float] = {}
        """When a rule has last chosen a class of a source."""
        self._days: dict[tuple[int, str, str], date] = {}
        """Of the last event that met all other conditions of a rule, by source and class."""
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MOST_EARLIER))
        """When a class was heard, since the store may not have it yet."""

    def take(self, heard: HeardEvent) -> list[ChosenRule]:
        """Take the next start or end; return which rules it meets, and who is to notify."""
        event = heard.event
        choices = []
        for number, rule in enumerate(self._config.rules):
            if self._reaches(number, rule, event) and self._is_wanted(number, rule, heard):
                self._last_s[number, event.source, event.label] = heard.came_s
                served = self._served[event.source, event.id]
                if services := [one for one in rule.services or self._config.services if one not in served]:
                    served.update(services)
                    choices.append(ChosenRule(rule, services))
        if isinstance(event, EventEnd):
            self._served.pop((event.source, event.id), None)
        else:
            self._recent[event.label].append(heard.at)
        return choices

    def _reaches(self, number: int, rule: NotificationRuleConfig, event: Event) -> bool:
        """Return whether an event reaches a rule's score, with its start or, if not yet then, with its end."""
        key = (number, event.source, event.id)
        if isinstance(event, EventEnd):
            if key not in self._waiting:
                return False
            self._waiting.discard(key)
        elif not fits(rule, event):
            return False
        if event.score >= self._needed_score(rule, event.source, event.label):
            return True
        if not isinstance(event, EventEnd):
            self._waiting.add(key)
        return False

    def _is_wanted(self, number: int, rule: NotificationRuleConfig, heard: HeardEvent) -> bool:
        """Return whether an event that reaches the score meets the conditions on what was before it."""
        event = heard.event
        key = (number, event.source, event.label)
        if rule.first_of_day and not self._is_first(key, rule, heard):
            return False
        if (last_s := self._last_s.get(key)) is not None and heard.came_s - last_s < rule.cooldown_s:
            return False
        return rule.unusual is None or self._is_unusual(rule.unusual, heard)

    def _is_first(self, key: tuple[int, str, str], rule: NotificationRuleConfig, heard: HeardEvent) -> bool:
        """Return whether nothing before it on its day has met the rule; what was before a restart is stored."""
        event, day = heard.event, datetime.fromtimestamp(heard.at).date()
        known, self._days[key] = self._days.get(key) == day, day
        if known:
            return False
        midnight = datetime.combine(day, time.min).timestamp()
        earlier = EventFilter(
            from_at=max(0.0, midnight),
            to_at=max(0.0, heard.at),
            sources=[event.source],
            labels=[event.label],
            min_score=min(1.0, self._needed_score(rule, event.source, event.label)),
        )
        return not any(fits(rule, one) for one in self._history.find(earlier, MOST_EARLIER))

    def _is_unusual(self, unusual: UnusualConfig, heard: HeardEvent) -> bool:
        begin = max(0.0, heard.at - DAY_S * unusual.within_days)
        earlier = EventFilter(from_at=begin, to_at=max(0.0, heard.at), labels=[heard.event.label])
        recent = sum(begin <= at < heard.at for at in self._recent[heard.event.label])
        return max(recent, len(self._history.find(earlier, unusual.fewer_than))) < unusual.fewer_than


def fits(rule: NotificationRuleConfig, event: Event | StoredEvent) -> bool:
    """Return whether an event is of the classes, of the sources and of the time of day of a rule.

    A time of day that is not known holds nothing back.
    """
    names = names_of(event.source)
    if rule.labels is not None and event.label not in rule.labels:
        return False
    if rule.sources is not None and not names & {*rule.sources}:
        return False
    if event.time is None or datetime.fromisoformat(event.time).timestamp() < CLOCK_SET:
        return True
    quiet = (
        hours
        for hours in rule.quiet_hours
        if (hours.labels is None or event.label in hours.labels) and (hours.sources is None or names & {*hours.sources})
    )
    if any(is_quiet(event.time, hours) for hours in quiet):
        return False
    return rule.between is None or is_quiet(event.time, rule.between)
