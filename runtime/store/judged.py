"""Clips with what people say of the events in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.in_force import SetupsInForce

Place = tuple[int, str]
"""A session and a source of it: positions in seconds are of one count."""


class JudgedEvent(NamedTuple):
    """An event, and what somebody says of it."""

    label: str
    onset: float
    offset: float | None
    decision: str | None
    real_label: str | None


@dataclass(frozen=True)
class ClipContent:
    """A clip with all that was found in it."""

    name: str
    place: Place
    onset: float
    offset: float
    events: list[JudgedEvent] = field(default_factory=list)
    """Those of classes of the model that overlap it."""
    rules_left_out: bool = False
    """Whether an event overlaps it that a rule did not let through.

    One whose end was not heard may go on until its session ends.
    """


def read_judged(database: StoreConnection) -> tuple[list[ClipContent], int]:
    """Return the clips in which there is an event with a decision, and how many such events are in no clip."""
    places = database.execute(
        "SELECT DISTINCT session, source FROM verdicts JOIN events ON events.id = event "
        "WHERE decision IS NOT NULL ORDER BY session, source"
    ).fetchall()
    found, without = list[ClipContent](), 0
    for place in places:
        clips, events = _clips_of(database, place), _events_of(database, place)
        onsets = np.array([event.onset for event in events])
        offsets = np.array([np.inf if event.offset is None else event.offset for event in events])
        heard = np.zeros(len(events), bool)
        for clip in clips:
            inside = (onsets < clip.offset) & (offsets > clip.onset)
            heard |= inside
            clip.events.extend(events[i] for i in np.flatnonzero(inside))
        found += [clip for clip in clips if any(event.decision for event in clip.events)]
        without += sum(event.decision is not None and not there for event, there in zip(events, heard, strict=True))
    return found, without


def _clips_of(database: StoreConnection, place: Place) -> list[ClipContent]:
    left_out = (
        "EXISTS (SELECT 1 FROM left_out WHERE (left_out.session, left_out.source) = (clips.session, clips.source) "
        "AND left_out.onset < clips.offset AND (left_out.offset IS NULL OR left_out.offset > clips.onset))"
    )
    rows = database.execute(
        f'SELECT name, onset, "offset", {left_out} FROM clips WHERE (session, source) = (?, ?) ORDER BY onset, name',
        place,
    )
    return [ClipContent(name, place, onset, offset, rules_left_out=bool(rules)) for name, onset, offset, rules in rows]


def _events_of(database: StoreConnection, place: Place) -> list[JudgedEvent]:
    """Return the events of a place, without those of no class of its model, such as that of a high sound level."""
    session, source = place
    first = SetupsInForce(database, source).first(session)
    labels = None if first is None else set(first.labels)
    rows = database.execute(
        'SELECT events.label, onset, "offset", decision, verdicts.label FROM events '
        "LEFT JOIN verdicts ON event = events.id WHERE (session, source) = (?, ?) ORDER BY onset",
        place,
    )
    return [event for event in map(JudgedEvent._make, rows) if labels is None or event.label in labels]
