"""Count events by class, hour and day, in the device's local time."""

from __future__ import annotations

import time
from collections import Counter

from htsat_edge.runtime.store.engine import Rows, StoreConnection
from htsat_edge.runtime.store.filters import condition_of
from htsat_edge.runtime.store.records import DayCount, EventFilter, Figures, LabelCount, LabelHour

SLOT_S = 900
"""Clocks of the world differ by multiples of it."""


def read_figures(database: StoreConnection, wanted: EventFilter) -> Figures:
    """Return figures of the events that a filter lets through."""
    where, values = condition_of(wanted)
    labels, hours, days = Counter[str](), Counter[tuple[str, int]](), Counter[int]()
    moments: dict[int, time.struct_time] = {}
    for label, slot, count in _count(database, wanted):
        local = moments.get(slot) or moments.setdefault(slot, time.localtime(slot * SLOT_S))
        labels[label] += count
        hours[label, local.tm_hour] += count
        days[slot] += count
    judged = Counter[tuple[str, str]]()
    decisions = "SELECT events.label, decision, count(*) FROM verdicts JOIN events ON events.id = event"
    for label, decision, count in database.execute(f"{decisions} WHERE {where} GROUP BY 1, 2", values).fetchall():
        judged[label, decision] += count
    return Figures(
        labels=[
            LabelCount(label=label, count=count, correct=judged[label, "correct"], wrong=judged[label, "wrong"])
            for label, count in sorted(labels.items(), key=lambda item: (-item[1], item[0]))
        ],
        hours=[LabelHour(label=label, hour=hour, count=count) for (label, hour), count in sorted(hours.items())],
        days=_days(days),
    )


def read_days(database: StoreConnection, wanted: EventFilter) -> list[DayCount]:
    """Return the days that have events which a filter lets through, the newest first."""
    days = Counter[int]()
    for _, slot, count in _count(database, wanted):
        days[slot] += count
    return _days(days)


def _count(database: StoreConnection, wanted: EventFilter) -> Rows:
    """Return the events of each class in each quarter of an hour: (label, slot, count).

    By class first, as an index has them: so SQLite reads `at` there, and does not compute it again.
    """
    where, values = condition_of(wanted)
    slot = database.floor(f"at / {SLOT_S}")
    return database.execute(
        f"SELECT label, {slot} AS slot, count(*) FROM events WHERE {where} GROUP BY label, slot", values
    )


def _days(slots: Counter[int]) -> list[DayCount]:
    """Return days with the events of quarters of an hour."""
    counts = Counter[tuple[int, int, int]]()
    for slot, count in slots.items():
        local = time.localtime(slot * SLOT_S)
        counts[local.tm_year, local.tm_mon, local.tm_mday] += count
    return [
        DayCount(
            day=f"{year:04}-{month:02}-{day:02}",
            from_at=midnight(year, month, day),
            to_at=midnight(year, month, day + 1),
            count=count,
        )
        for (year, month, day), count in sorted(counts.items(), reverse=True)
    ]


def midnight(year: int, month: int, day: int) -> float:
    """Return when a day begins here; it may be one after the last of its month."""
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))
