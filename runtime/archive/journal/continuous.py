"""Recordings that follow each other without a break: what sounds across their border is one event.

Continuous recorders begin a new file every so often. An event that reaches the end of one file, and one of its class
that begins with the next, are one then: it belongs to the file in which it begins, its offset counts on past the end of
that file by the clock, and its score is the highest.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from htsat_edge.runtime.archive.journal.rows import DONE, KeptEvent, event_of_row
from htsat_edge.runtime.archive.records import FoundEvent

REACHES_S = 0.64
"""An event reaches a border that is at most so far from it: two steps of the model."""
NUMBERED = "*[0-9][0-9][0-9]*"
"""What names one recorder, and not all of its make."""
SHARE = 0.5
"""Recordings must not be further apart than this share of the shorter one, so that the next but one is not the next."""


class _Timed(NamedTuple):
    """A recording of which it is known when it was made."""

    file: int
    maker: tuple[object, ...]
    """Whatever is different here was not made by one recorder."""
    start_s: float
    duration_s: float


class _Next(NamedTuple):
    file: int
    path: Path
    shift_s: float
    """From the beginning of the one before to that of this one."""


class Continuations:
    """Which recordings follow which, and the events that go on in them.

    Two follow each other if one begins where the other ends, in one folder and by one recorder; or, at the border of
    two folders, by one recorder whose number is known. Where several could be the next one, or the one before, none is.
    """

    def __init__(self, database: sqlite3.Connection, within_s: float) -> None:
        self._database, self._within_s = database, within_s
        database.create_function("folder", 1, os.path.dirname, deterministic=True)
        database.execute("DROP TABLE IF EXISTS temp.follows")
        database.execute("CREATE TEMP TABLE follows (file INTEGER PRIMARY KEY, next INTEGER NOT NULL UNIQUE)")
        self._link("folder(path), recorder, zoned", "1")
        self._link("recorder, zoned", f"recorder GLOB '{NUMBERED}'")

    def join(self, file: int, events: Sequence[FoundEvent]) -> tuple[KeptEvent, ...]:
        """Return the events that begin in a recording, those that go on in the next ones with their real ends."""
        before = self._all("SELECT file FROM temp.follows WHERE next = ?", file)
        at_end = self._at_end(before[0][0]) if before else {}
        gone_on = {event for sound, event in _at_begin(events).items() if sound in at_end}
        reaching = set(self._at_end(file).values()) if self._next(file) else set()
        return tuple(
            self._followed(file, event) if event in reaching else KeptEvent(*event)
            for event in events
            if event not in gone_on
        )

    def _followed(self, file: int, event: FoundEvent) -> KeptEvent:
        kept, last, shift_s = KeptEvent(*event), event, 0.0
        while self._at_end(file).get(_sound(event)) == last and (following := self._next(file)):
            begun = _at_begin(self._events(following.file, f"onset <= {REACHES_S}")).get(_sound(event))
            if begun is None:
                break
            file, last, shift_s = following.file, begun, shift_s + following.shift_s
            score = max(kept.score, last.score)
            kept = kept._replace(offset=shift_s + last.offset, score=score, end=following.path)
        return kept

    def _next(self, file: int) -> _Next | None:
        rows = self._all(
            "SELECT next, after.path, after.start_s - before.start_s FROM temp.follows "
            "JOIN files AS before ON before.id = file JOIN files AS after ON after.id = next WHERE file = ?",
            file,
        )
        return _Next(rows[0][0], Path(os.fsdecode(rows[0][1])), rows[0][2]) if rows else None

    def _at_end(self, file: int) -> dict[tuple[int, str], FoundEvent]:
        """Return the event of each sound that reaches the end of a recording."""
        reaching = f"offset >= (SELECT duration_s FROM files WHERE id = file) - {REACHES_S}"
        return {_sound(event): event for event in sorted(self._events(file, reaching), key=lambda one: one.offset)}

    def _events(self, file: int, condition: str) -> list[FoundEvent]:
        query = (
            f"SELECT channel, label, onset, offset, score FROM events WHERE file = ? AND {condition} ORDER BY number"
        )
        return [event_of_row(row) for row in self._all(query, file)]

    def _link(self, maker: str, condition: str) -> None:
        """Find which recordings of one maker, an SQL expression, follow each other; links that are known stay."""
        columns = f"id, {maker}, start_s, duration_s"
        query = (
            f"SELECT {columns} FROM files WHERE state = {DONE} AND start_s IS NOT NULL AND {condition} "
            f"ORDER BY {maker}, start_s, path"
        )
        rows = self._database.execute(query)
        timed = (_Timed(file, tuple(maker), start_s, length_s) for file, *maker, start_s, length_s in rows)
        self._database.executemany("INSERT OR IGNORE INTO temp.follows VALUES (?, ?)", self._pairs(timed))

    def _pairs(self, recordings: Iterable[_Timed]) -> Iterator[tuple[int, int]]:
        """Yield each recording and the next, of recordings in the order of time, where there is no doubt."""
        for before, one, following, after in _fours(recordings):
            if self._follows(one, following) and not (self._follows(before, following) or self._follows(one, after)):
                assert one is not None
                assert following is not None
                yield one.file, following.file

    def _follows(self, one: _Timed | None, other: _Timed | None) -> bool:
        if one is None or other is None or one.maker != other.maker:
            return False
        apart_s = abs(other.start_s - (one.start_s + one.duration_s))
        return apart_s <= min(self._within_s, SHARE * one.duration_s, SHARE * other.duration_s)

    def _all(self, query: str, file: int) -> list[tuple[Any, ...]]:
        return self._database.execute(query, (file,)).fetchall()


def _fours(recordings: Iterable[_Timed]) -> Iterator[tuple[_Timed | None, ...]]:
    """Yield each four that lie side by side; outside there is nothing."""
    four: tuple[_Timed | None, ...] = (None,) * 4
    for one in chain(recordings, [None]):
        four = (*four[1:], one)
        yield four


def _sound(event: FoundEvent) -> tuple[int, str]:
    return event.channel, event.label


def _at_begin(events: Iterable[FoundEvent]) -> dict[tuple[int, str], FoundEvent]:
    """Return the event of each sound that begins with a recording."""
    reaching = [event for event in events if event.onset <= REACHES_S]
    return {_sound(event): event for event in sorted(reaching, key=lambda one: one.onset, reverse=True)}
