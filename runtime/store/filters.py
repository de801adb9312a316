"""Questions about events, as SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.records import EventFilter, EventPage, StoredClip, StoredEvent, Verdict

OF_EVENT = "(clips.session, clips.source, clips.number) = (events.session, events.source, events.number)"
SELECT = (
    "SELECT events.id, events.session, events.source, events.number, events.label, events.onset, events.offset, "
    "events.time, events.score, events.at, clips.name, clips.onset, clips.offset, clips.at, "
    "verdicts.event, verdicts.decision, verdicts.label, verdicts.note, verdicts.locked, sessions.device FROM events "
    f"JOIN sessions ON sessions.id = events.session LEFT JOIN clips ON {OF_EVENT} "
    "LEFT JOIN verdicts ON verdicts.event = events.id"
)
CURSOR = re.compile(r"(-?\d+(?:\.\d+)?)_(\d{1,18})", re.ASCII)
MOST_COUNTED = 1_000_000
"""Of a page's `total`: to count all that a fleet hears in weeks takes longer than an answer may."""
LONGEST_EVENT_S = 86_400.0
"""What began before is not looked at, so that few events are."""

LOCKED = "SELECT event FROM verdicts WHERE locked = 1"
AT_PLACE = "SELECT device FROM devices WHERE place"

Condition = tuple[str, list[Any]]
"""What stands behind WHERE, with the values for its question marks."""


def condition_of(wanted: EventFilter) -> Condition:
    """Return what is true of the events that a filter lets through."""
    parts: list[tuple[str, Sequence[Any]]] = [("1 = 1", ())]
    for operator, at in ((">=", wanted.from_at), ("<", wanted.to_at)):
        if at is not None:
            parts.append((f"events.at {operator} ?", (at,)))
    for column, values in (("source", wanted.sources), ("label", wanted.labels)):
        if values:
            parts.append((f"events.{column} IN ({_marks(values)})", values))
    if wanted.decision == "none":
        parts.append(("events.id NOT IN (SELECT event FROM verdicts WHERE decision IS NOT NULL)", ()))
    elif wanted.decision is not None:
        parts.append(("events.id IN (SELECT event FROM verdicts WHERE decision = ?)", (wanted.decision,)))
    if wanted.min_score is not None:
        parts.append(("events.score >= ?", (wanted.min_score,)))
    if wanted.locked is not None:
        parts.append((f"events.id {'' if wanted.locked else 'NOT '}IN ({LOCKED})", ()))
    if wanted.has_clip is not None:
        parts.append((f"{'' if wanted.has_clip else 'NOT '}EXISTS (SELECT 1 FROM clips WHERE {OF_EVENT})", ()))
    if wanted.devices:
        parts.append((_of_devices(f"IN ({_marks(wanted.devices)})"), wanted.devices))
    if wanted.places:
        parts.append((_of_devices(f"IN ({AT_PLACE} IN ({_marks(wanted.places)}))"), wanted.places))
    return " AND ".join(text for text, _ in parts), [value for _, values in parts for value in values]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _of_devices(which: str) -> str:
    return f"events.session IN (SELECT id FROM sessions WHERE device {which})"


def chosen_by(**columns: str | None) -> dict[str, str]:
    """Return conditions for the columns that are to have a value, with it."""
    return {f" AND {name} = ?": value for name, value in columns.items() if value is not None}


def read_page(database: StoreConnection, wanted: EventFilter, limit: int, after: str | None) -> EventPage:
    """Return at most so many events, the newest first, from where a page has ended.

    Raises
    ------
    HtsatEdgeError
        `after` is no `next` of a page.
    """
    where, values = condition_of(wanted)
    counted = f"SELECT 1 FROM events WHERE {where} LIMIT ?"
    (total,) = database.execute(f"SELECT count(*) FROM ({counted}) AS counted", [*values, MOST_COUNTED + 1]).fetchone()
    if after is not None:
        if not (place := CURSOR.fullmatch(after)):
            raise HtsatEdgeError(f"after: {after[:40]!r} is no place in a list of events; take `next` of a page")
        where, values = f"{where} AND (events.at, events.id) < (?, ?)", [*values, float(place[1]), int(place[2])]
    order = "ORDER BY events.at DESC, events.id DESC"
    chosen = (
        f"SELECT events.id FROM events WHERE {where} {order} LIMIT ?"  # so that no more than a page is put together
    )
    rows = database.execute(f"{SELECT} WHERE events.id IN ({chosen}) {order}", [*values, limit + 1]).fetchall()
    events = [as_event(row) for row in rows[:limit]]
    return EventPage(
        events=events, total=total, next=f"{events[-1].at!r}_{events[-1].key}" if len(rows) > limit else None
    )


def read_event(database: StoreConnection, key: int) -> StoredEvent | None:
    """Return an event; None where there is none."""
    row = database.execute(f"{SELECT} WHERE events.id = ?", (key,)).fetchone()
    return None if row is None else as_event(row)


def read_within(database: StoreConnection, source: str, from_at: float, to_at: float) -> list[StoredEvent]:
    """Return the events of a source that overlap a span, the oldest first.

    One whose end is not known goes on if its session is the newest, else it counts as a moment.
    """
    where = (
        "events.source = ? AND events.at < ? AND events.at > ? AND (events.at >= ? "
        "OR events.at + (events.offset - events.onset) > ? "
        "OR (events.offset IS NULL AND events.session = (SELECT max(id) FROM sessions)))"
    )
    values = (source, to_at, from_at - LONGEST_EVENT_S, from_at, from_at)
    rows = database.execute(f"{SELECT} WHERE {where} ORDER BY events.at, events.id", values)
    return [as_event(row) for row in rows.fetchall()]


def as_event(row: Sequence[Any]) -> StoredEvent:
    """Return the event of a row of SELECT."""
    key, session, source, number, label, onset, offset, time, score, at, *more = row
    name, clip_onset, clip_offset, clip_at, judged, decision, real, note, locked, device = more
    return StoredEvent(
        key=key,
        session=session,
        source=source,
        id=number,
        label=label,
        onset=onset,
        offset=offset,
        time=time,
        score=score,
        at=at,
        clip=None if name is None else StoredClip(name=name, onset=clip_onset, offset=clip_offset, at=clip_at),
        verdict=None
        if judged is None
        else Verdict(event=key, decision=decision, label=real, note=note, locked=bool(locked)),
        device=device,
    )
