"""What other thresholds would have changed in a period: stored events that would go, and new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import StoredEvent
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.curves import read_curves
from htsat_edge.runtime.tuning.early import events_of, match
from htsat_edge.runtime.tuning.period import PeriodEvents, replay_period


class Changed(NamedTuple):
    """What other thresholds would have changed in a period."""

    gone: list[StoredEvent]
    """Events that were stored, and would not be; the newest first. Early starts that no replay gives are none of them.
    """
    new: int
    """Events that were not stored, and would be."""
    before: float
    """Events a day of the changed classes, at the thresholds in force now."""
    after: float


def preview(
    reader: StoreReader,
    source: str,
    setup: Setup,
    wanted: Mapping[str, float],
    from_at: float,
    to_at: float,
    rules: RulesConfig,
) -> Changed:
    """Return what other thresholds, by label, would have changed for a source, also of classes that depend on these."""
    known = dict(zip(setup.labels, setup.thresholds, strict=True))
    labels = [label for label in _concerned(setup, wanted, rules) if known[label] is not None]
    present = {label: _one(known[label]) for label in labels}
    tried = {label: _one(wanted.get(label, known[label])) for label in labels}
    keep = {label: [0] for label in labels}
    was = replay_period(reader, source, from_at, to_at, setup, present, keep=keep, rules=rules)
    would = replay_period(reader, source, from_at, to_at, setup, tried, now=wanted, keep=keep, rules=rules)
    stored = [event for event in reader.events_within(source, from_at, to_at) if event.at >= from_at]
    gone, new = list[StoredEvent](), 0
    for label in labels:
        own = [event for event in stored if event.label == label]
        lost, added = _compare(setup, own, label, was, would)
        gone += lost
        new += added
    curves = read_curves(reader, source, from_at, to_at, list(wanted), rules, also=wanted).curves.values()
    before = sum(curve.rate(curve.threshold).per_day for curve in curves)
    after = sum(curve.rate(wanted[curve.label]).per_day for curve in curves)
    return Changed(gone, new, before, after)


def _compare(
    setup: Setup, stored: Iterable[StoredEvent], label: str, was: PeriodEvents, would: PeriodEvents
) -> tuple[list[StoredEvent], int]:
    """Return the stored events of a class that there would not be, and how many there would be that are not."""
    gone, new, stored = list[StoredEvent](), 0, list(stored)
    columns = zip(would.runs, would.within, was.kept[label][0], would.kept[label][0], strict=True)
    for run, within, before, after in columns:
        own = events_of(run, stored, within)
        kept, known = match(run, own, after), match(run, own, before)
        is_known = [one is not None or run.setup != setup for one in known]  # else it was an early start
        gone += [event for event, one, sure in zip(own, kept, is_known, strict=True) if one is None and sure]
        new += len(after.onset) - sum(one is not None for one in kept)
    return gone, new


def _concerned(setup: Setup, labels: Iterable[str], rules: RulesConfig) -> list[str]:
    """Return classes with those whose events depend on theirs: more general ones, and those that they suppress."""
    general = [(setup.labels[a], setup.labels[b]) for a, b in setup.below]
    suppressed = [(other, label) for label, rule in rules.suppress.items() for other in rule.while_]
    found, new = set[str](), {*labels}
    while new:
        found |= new
        new = {b for a, b in [*general, *suppressed] if a in new} - found
    return [label for label in setup.labels if label in found]


def _one(threshold: float | None) -> FloatArray:
    return np.array([threshold], np.float32)
