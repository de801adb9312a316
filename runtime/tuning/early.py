"""Events that were reported early, by scores that were not final, and that the final ones did not bear out.

They are in no replay of what is stored, which is final. With them, a class is reported as if its threshold were lower:
by how much is measured where both are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from htsat_edge.runtime.common.arrays import FloatArray, IntArray
from htsat_edge.runtime.store.records import StoredEvent
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.heard import HeardRun
from htsat_edge.runtime.tuning.period import PeriodEvents
from htsat_edge.runtime.tuning.sweep import Spans

SHIFTS = np.arange(0, 16) / 5
"""Logits that are looked at."""
ENOUGH = 30
"""Stored events from which on a class has a shift of its own."""


class EarlyStarts(NamedTuple):
    """Early starts of a class."""

    unborne: int
    """So many events were stored that no replay at the thresholds of their time gives."""
    shift: float
    """By so many logits the threshold would have to be lower for a replay to give as many as were stored."""


NO_EARLY = EarlyStarts(0, 0.0)


def step_of(run: HeardRun, event: StoredEvent) -> int:
    """Return the step of a run at which an event begins."""
    return round((event.onset - run.onset) / run.setup.step_s)


def match(run: HeardRun, stored: Sequence[StoredEvent], spans: Spans) -> list[int | None]:
    """Return for each stored event of a class which event of a replay it is, each at most once; None: it is none."""
    found, used = list[int | None](), set[int]()
    for event in stored:
        begin = step_of(run, event)
        end = begin + 1 if event.offset is None else begin + round((event.offset - event.onset) / run.setup.step_s)
        first = int(np.searchsorted(spans.offset, begin, side="right"))
        last = int(np.searchsorted(spans.onset, max(end, begin + 1)))
        free = [i for i in range(first, last) if i not in used]
        found.append(free[0] if free else None)
        used |= {*free[:1]}
    return found


def events_of(run: HeardRun, stored: Sequence[StoredEvent], within: tuple[int, int]) -> list[StoredEvent]:
    """Return the stored events that begin in a run, between two steps."""
    own = (event for event in stored if event.session == run.session)
    return [event for event in own if within[0] <= step_of(run, event) < within[1]]


def shifted(threshold: float) -> FloatArray:
    """Return a threshold as if it were lower by each of SHIFTS, ascending."""
    limits: FloatArray = expit(logit(np.float64(threshold)) - SHIFTS[::-1]).astype(np.float32)
    return np.append(limits[:-1], np.float32(threshold))


def find_early(
    period: PeriodEvents, setup: Setup, tried: Mapping[str, FloatArray], stored: Sequence[StoredEvent]
) -> dict[str, EarlyStarts]:
    """Return the early starts of each class that was replayed, in the runs in which it was reported as it would be now.

    Classes with few stored events have the shift of all together.

    Parameters
    ----------
    period
        What was replayed; with the events at the thresholds in force.
    setup
        In force now.
    tried
        The thresholds of the replay, by label.
    stored
        The events of the period.
    """
    waiting = {setup.labels[general] for _, general in setup.below}  # for what is more specific: never early
    by_label = {label: [event for event in stored if event.label == label] for label in tried.keys() - waiting}
    found = {label: _Compared(0, 0, np.zeros(len(SHIFTS), np.int64)) for label in tried}
    for label, own in by_label.items():
        found[label] = _compare(period, setup, label, tried[label], own)
    together = _shift(*(sum(column) for column in zip(*found.values(), strict=True)))
    shifts = {label: together if one.stored < ENOUGH else _shift(*one) for label, one in found.items()}
    return {label: EarlyStarts(one.unborne, 0.0 if label in waiting else shifts[label]) for label, one in found.items()}


class _Compared(NamedTuple):
    stored: int
    unborne: int
    counts: IntArray
    """Events of the replay by shift."""


def _compare(
    period: PeriodEvents, setup: Setup, label: str, thresholds: FloatArray, stored: Sequence[StoredEvent]
) -> _Compared:
    total = unborne = 0
    (kept,) = period.kept[label].values()
    for run, within, spans in zip(period.runs, period.within, kept, strict=True):
        if _is_alike(run.setup, setup, label):
            own = events_of(run, stored, within)
            total += len(own)
            unborne += match(run, own, spans).count(None)
    limits = shifted(setup.thresholds[setup.labels.index(label)] or 1.0)[::-1]
    places = np.maximum(np.searchsorted(thresholds, limits, side="right") - 1, 0)
    return _Compared(total, unborne, period.settled[label][places])


def _is_alike(one: Setup, other: Setup, label: str) -> bool:
    """Return whether a class was reported as it would be now; thresholds of others may have changed."""
    if one.model_copy(update={"thresholds": other.thresholds, "releases": other.releases}) != other:
        return False
    k = one.labels.index(label)
    return (one.thresholds[k], one.releases[k]) == (other.thresholds[k], other.releases[k])


def _shift(stored: int, unborne: int, counts: IntArray) -> float:
    """Return the least shift with which a replay gives as many events as were stored; 0 where it gives all of them."""
    enough = np.flatnonzero(counts >= stored)
    return float(SHIFTS[enough[0] if len(enough) else -1]) if unborne else 0.0
