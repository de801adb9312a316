"""Rules between sounds: which events of a source are reported. Between hysteresis and outputs, and nowhere else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config.notify import NotifyConfig
from htsat_edge.runtime.daemon.config.rules import DAYS, HoursConfig, RulesConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart

RuleName = Literal["suppress", "cooldown", "quiet_hours"]


class Selection(NamedTuple):
    """What the rules make of events."""

    reported: list[Event]
    left_out: list[tuple[Event, RuleName]]
    """Starts and ends of events that were not let through, and by which rule."""


def check_labels(config: RulesConfig, labels: Collection[str]) -> None:
    """Raise an HtsatEdgeError where a rule names a class that is not among `labels`, those that are reported."""
    cooldown_s = config.cooldown_s if isinstance(config.cooldown_s, dict) else {}
    named: dict[str, Iterable[str]] = {"suppress": config.suppress, "cooldown_s": cooldown_s}
    named.update({f"suppress.{label}.while": rule.while_ for label, rule in config.suppress.items()})
    named.update({f"quiet_hours.{i}.labels": hours.labels or () for i, hours in enumerate(config.quiet_hours)})
    _check_named({f"rules.{where}": names for where, names in named.items()}, labels)


def check_notified(config: NotifyConfig, labels: Collection[str]) -> None:
    """Raise an HtsatEdgeError where a rule of notifications names a class that is not among `labels`."""
    named: dict[str, Iterable[str]] = {}
    for number, rule in enumerate(config.rules):
        where = f"outputs.notify.rules.{number}"
        named[f"{where}.labels"] = rule.labels or ()
        named |= {f"{where}.quiet_hours.{i}.labels": hours.labels or () for i, hours in enumerate(rule.quiet_hours)}
    _check_named(named, labels)


def _check_named(named: Mapping[str, Iterable[str]], labels: Collection[str]) -> None:
    for where, names in named.items():
        for name in sorted(set(names) - set(labels)):
            hint = suggest(name, labels, f"; those are {'; '.join(sorted(labels)[:30])}: see detection.labels")
            raise HtsatEdgeError(f"{where}: {name!r} is no class that is reported{hint}")


class ClassActivity:
    """Which classes of a source sound, and when each has ended."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}
        """The label by the event's number."""
        self._ends: dict[str, float] = {}
        """By label, the last one."""

    def take(self, event: Event) -> None:
        """Take the next start or end."""
        if isinstance(event, EventEnd):
            self._open.pop(event.id, None)
            self._end(event.label, event.offset)
        else:
            self._open[event.id] = event.label

    def interrupt(self, at_s: float) -> None:
        """End what sounds, also where its end is lost."""
        for label in self._open.values():
            self._end(label, at_s)
        self._open.clear()

    def near(self, label: str, onset: float, within_s: float) -> bool:
        """Return whether a class sounds, or has ended less than `within_s` before an onset, or after it."""
        return label in self._open.values() or onset - self._ends.get(label, -math.inf) < within_s

    def _end(self, label: str, offset: float) -> None:
        self._ends[label] = max(offset, self._ends.get(label, -math.inf))


class Rules:
    """Chooses the events of a source that are reported.

    A class that is not reported was heard all the same, and suppresses others.
    """

    def __init__(self, config: RulesConfig = RulesConfig(), source: str = "") -> None:
        """Begin with a source of which nothing was heard."""
        self._config, names = config, names_of(source)
        self._quiet = [hours for hours in config.quiet_hours if hours.sources is None or names & {*hours.sources}]
        self._heard, self._reported = ClassActivity(), ClassActivity()
        self._left_out: dict[int, RuleName] = {}
        """By which rule an event that goes on is not reported, by its number."""
        self.suppressed: Counter[tuple[RuleName, str]] = Counter()
        """Events that were not reported, by rule and label; by the first rule where several apply."""

    def select(self, events: list[Event]) -> Selection:
        """Take what was found at once, in any order of the classes; return those events that are reported, or not."""
        for event in events:  # first of all: of two that start at once, either may suppress the other
            self._heard.take(event)
        chosen = Selection([], [])
        for event in events:
            if isinstance(event, EventStart) and (rule := self._leave_out(event)) is not None:
                chosen.left_out.append((event, rule))
            elif event.id in self._left_out:
                chosen.left_out.append((event, self._left_out.pop(event.id)))
            else:
                self._reported.take(event)
                chosen.reported.append(event)
        return chosen

    def interrupt(self, at_s: float) -> None:
        """Take note that what sounds has ended by `at_s`, in seconds since the source began."""
        self._heard.interrupt(at_s)
        self._reported.interrupt(at_s)
        self._left_out.clear()

    def _leave_out(self, start: EventStart) -> RuleName | None:
        """Return the rule by which a start is not reported, which is then counted; None where there is none."""
        rule = self._find_rule(start)
        if rule is not None:
            self._left_out[start.id] = rule
            self.suppressed[rule, start.label] += 1
        return rule

    def _find_rule(self, start: EventStart) -> RuleName | None:
        """Return the first rule by which a start is not reported."""
        label, onset = start.label, start.onset
        suppress = self._config.suppress.get(label)
        if suppress and any(self._heard.near(other, onset, suppress.within_s) for other in suppress.while_):
            return "suppress"
        cooldown_s = self._config.cooldown_of(label)
        if cooldown_s and self._reported.near(label, onset, cooldown_s):
            return "cooldown"
        wanted = (hours for hours in self._quiet if hours.labels is None or label in hours.labels)
        return "quiet_hours" if start.time and any(is_quiet(start.time, hours) for hours in wanted) else None


def is_quiet(time: str, hours: HoursConfig) -> bool:
    """Return whether a time of day, ISO 8601 with an offset, is within these hours here; not while no clock was set."""
    moment = datetime.fromisoformat(time).astimezone()
    if moment.timestamp() < CLOCK_SET:
        return False
    now, begun = f"{moment:%H:%M}", moment
    if hours.from_ < hours.to:
        inside = hours.from_ <= now < hours.to
    else:  # over midnight
        inside = not hours.to <= now < hours.from_
        begun -= timedelta(days=now < hours.from_)
    return inside and (hours.days is None or DAYS[begun.weekday()] in hours.days)
