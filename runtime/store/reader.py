"""Read the store while the daemon writes it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.store.coded import CodedRow, read_coded, read_places
from htsat_edge.runtime.store.connect import limited, open_store
from htsat_edge.runtime.store.engine import StorePlace
from htsat_edge.runtime.store.figures import read_days, read_figures
from htsat_edge.runtime.store.filters import OF_EVENT, chosen_by, read_event, read_page, read_within
from htsat_edge.runtime.store.fleet import read_devices, read_place_counts
from htsat_edge.runtime.store.in_force import SetupsInForce, read_setup
from htsat_edge.runtime.store.judged import ClipContent, read_judged
from htsat_edge.runtime.store.problems import explained
from htsat_edge.runtime.store.records import (
    DayCount,
    EventFilter,
    EventPage,
    Figures,
    FleetDevice,
    PlaceCount,
    StoredClip,
    StoredEvent,
    StoredGap,
    StoredStatus,
    StoreInfo,
)
from htsat_edge.runtime.store.runs import Edge, ScoreRun, read_edges, read_runs
from htsat_edge.runtime.store.setup import Setup

if TYPE_CHECKING:
    from typing_extensions import Self

END_OF_TIME = 1e11
"""In seconds since 1970."""
ROWS = 100
"""Of scores that are read at once; with 527 classes they may be 10 MB."""
SOURCED = ("events", "gaps", "scores", "in_force")
"""Tables that name sources."""


@dataclass(frozen=True)
class StoredSource:
    """A source of which something is stored."""

    name: str
    first_at: float | None
    last_at: float | None
    """When the first and the last thing of it began; None where there is none yet."""
    setup: Setup | None
    """The newest."""


@dataclass(frozen=True)
class StoredLeftOut:
    """An event that a rule did not let through."""

    session: int
    source: str
    id: int
    label: str
    onset: float
    at: float
    score: float
    rule: str


class StoreReader:
    """A store, open for reading; a context.

    Every method raises a StoreError where the store is locked or damaged, or the answer takes too long: 5 s, on a
    server each statement of it. Between two statements somebody may write.
    """

    def __init__(self, place: StorePlace) -> None:
        """Open a store; raise a StoreError where it is missing, locked, damaged, or not of the present version."""
        self._place, self._database = place, open_store(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def events(self, wanted: EventFilter, limit: int, after: str | None = None) -> EventPage:
        """Return the newest events that a filter lets through, from where a page has ended."""
        with self._asking():
            return read_page(self._database, wanted, limit, after)

    def event(self, key: int) -> StoredEvent | None:
        """Return an event; None where there is none."""
        with self._asking():
            return read_event(self._database, key)

    def events_within(self, source: str, from_at: float, to_at: float) -> list[StoredEvent]:
        """Return the events of a source that overlap a span, the oldest first."""
        with self._asking():
            return read_within(self._database, source, from_at, to_at)

    def days(self, wanted: EventFilter) -> list[DayCount]:
        """Return the days that have events which a filter lets through, the newest first."""
        with self._asking():
            return read_days(self._database, wanted)

    def figures(self, wanted: EventFilter) -> Figures:
        """Return figures of the events that a filter lets through."""
        with self._asking():
            return read_figures(self._database, wanted)

    def sources(self) -> list[StoredSource]:
        """Return all sources, by name."""
        with self._asking():
            names = {name for table in SOURCED for name in self._names(table)}
            return [self._source(name) for name in sorted(names)]

    def setup(self, source: str, at: float) -> Setup | None:
        """Return what was in force for a source at a time, or else first after it; None where that is not known."""
        with self._asking():
            return read_setup(self._database, source, at)

    def thresholds_of(self, events: Sequence[StoredEvent]) -> list[float | None]:
        """Return the threshold of each event's class when it began; None where that is not known."""
        with self._asking():
            known = {source: SetupsInForce(self._database, source) for source in {event.source for event in events}}
            return [known[event.source].threshold(event.session, event.onset, event.label) for event in events]

    def score_runs(self, source: str, from_at: float, to_at: float) -> list[ScoreRun]:
        """Return the scores of a source in the minutes that overlap a span of a day at most, the oldest first."""
        with self._asking():
            return read_runs(self._database, source, from_at, to_at)

    def coded_rows(self, source: str, from_at: float, to_at: float) -> Iterator[CodedRow]:
        """Yield the rows of scores that overlap a span of any length, session by session, as they are stored."""
        with self._asking():
            setups = SetupsInForce(self._database, source)
            places = read_places(self._database, source, from_at, to_at)
        for first in range(0, len(places), ROWS):
            with self._asking():
                rows = list(read_coded(self._database, places[first : first + ROWS], setups))
            yield from rows

    def edges(self, source: str, at: float) -> tuple[Edge | None, Edge | None]:
        """Return where the last minute of scores that began by a time ends, and where the next one begins."""
        with self._asking():
            return read_edges(self._database, source, at)

    def gaps(
        self, from_at: float, to_at: float, source: str | None = None, limit: int = 1000, device: str | None = None
    ) -> list[StoredGap]:
        """Return the gaps that overlap a span, the newest first; of all sources and devices, or of one."""
        chosen = chosen_by(source=source, device=device)
        with self._asking():
            rows = self._database.execute(
                'SELECT source, onset, "offset", at, reason, device FROM gaps JOIN sessions ON sessions.id = session '
                f'WHERE at < ? AND at + ("offset" - onset) >= ?{"".join(chosen)} '
                "ORDER BY at DESC, gaps.id DESC LIMIT ?",
                [to_at, from_at, *chosen.values(), limit],
            ).fetchall()
            names = ("source", "onset", "offset", "at", "reason", "device")
            return [StoredGap.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    def statuses(
        self,
        from_at: float,
        to_at: float,
        states: Sequence[str] | None = None,
        source: str | None = None,
        limit: int = 1000,
        device: str | None = None,
    ) -> list[StoredStatus]:
        """Return the statuses of a span, the newest first; of all sources and devices, or of one."""
        chosen = chosen_by(source=source, device=device)
        if states is not None and not states:
            return []
        among = "" if states is None else f" AND state IN ({', '.join('?' * len(states))})"
        with self._asking():
            rows = self._database.execute(
                "SELECT source, state, at, message, device FROM statuses JOIN sessions ON sessions.id = session "
                f"WHERE at >= ? AND at < ?{among}{''.join(chosen)} ORDER BY at DESC, statuses.id DESC LIMIT ?",
                [from_at, to_at, *(states or ()), *chosen.values(), limit],
            ).fetchall()
            return [
                StoredStatus(source=name, state=state, at=at, message=json.loads(message), device=device)
                for name, state, at, message, device in rows
            ]

    def left_out(self, source: str, from_at: float, to_at: float) -> list[StoredLeftOut]:
        """Return the events that began in a span, and that a rule did not let through, the oldest first."""
        with self._asking():
            rows = self._database.execute(
                "SELECT session, source, number, label, onset, at, score, rule FROM left_out "
                "WHERE source = ? AND at >= ? AND at < ? ORDER BY at, number",
                (source, from_at, to_at),
            ).fetchall()
            return [StoredLeftOut(*row) for row in rows]

    def clip(self, name: str, device: str | None = None) -> StoredClip | None:
        """Return the clip of this name, in a fleet that of a device; None where there is none."""
        chosen = chosen_by(device=device)
        with self._asking():
            row = self._database.execute(
                'SELECT onset, "offset", at FROM clips JOIN sessions ON sessions.id = session '
                f"WHERE name = ?{''.join(chosen)} ORDER BY at DESC",
                [name, *chosen.values()],
            ).fetchone()
            return None if row is None else StoredClip(name=name, onset=row[0], offset=row[1], at=row[2])

    def locked_clips(self) -> set[str]:
        """Return the names of the clips that verdicts have locked."""
        with self._asking():
            rows = self._database.execute(
                f"SELECT name FROM verdicts JOIN events ON events.id = event JOIN clips ON {OF_EVENT} WHERE locked = 1"
            )
            return {name for (name,) in rows.fetchall()}

    def devices(self, now: float | None = None) -> list[FleetDevice]:
        """Return the devices of a fleet, by their topics."""
        with self._asking():
            return read_devices(self._database, time.time() if now is None else now)

    def device(self, device: str, now: float | None = None) -> FleetDevice | None:
        """Return the device with this topic; None where it is not known."""
        with self._asking():
            return next(iter(read_devices(self._database, time.time() if now is None else now, device)), None)

    def places(self, from_at: float, to_at: float) -> list[PlaceCount]:
        """Return how many events of each class began in a span at each place of a fleet, the most frequent first."""
        with self._asking():
            return read_place_counts(self._database, from_at, to_at)

    def judged(self) -> tuple[list[ClipContent], int]:
        """Return the clips in which there is an event with a decision, and how many such events are in no clip."""
        with self._asking():
            return read_judged(self._database)

    def info(self) -> StoreInfo:
        """Return how much there is in the store."""
        with self._asking():
            events, oldest_at = self._one("SELECT (SELECT count(*) FROM events), (SELECT min(at) FROM events)")
            score_rows, score_bytes = self._one("SELECT count(*), coalesce(sum(size), 0) FROM scores")
        size_bytes, free_bytes = self._room()
        return StoreInfo(
            path=str(self._place),
            size_mb=size_bytes / 1e6,
            free_mb=None if free_bytes is None else free_bytes / 1e6,
            events=events,
            score_rows=score_rows,
            score_mb=score_bytes / 1e6,
            oldest_at=oldest_at,
        )

    def _room(self) -> tuple[int, int | None]:
        """Return the size of the store and the room for more, in bytes; None where a server does not tell."""
        if not isinstance(self._place, Path):
            with self._asking():
                return self._one("SELECT pg_database_size(current_database())")[0], None
        files = (self._place.with_name(self._place.name + suffix) for suffix in ("", "-wal"))
        size = sum(file.stat().st_size for file in files if file.exists())
        return size, shutil.disk_usage(self._place.parent).free

    def _names(self, table: str) -> list[str]:
        """Return the sources of a table, each found by a step in its index."""
        rows = self._database.execute(
            f"WITH RECURSIVE names (name) AS (SELECT min(source) FROM {table} UNION ALL SELECT "
            f"(SELECT min(source) FROM {table} WHERE source > name) FROM names WHERE name IS NOT NULL) "
            "SELECT name FROM names WHERE name IS NOT NULL"
        )
        return [name for (name,) in rows.fetchall()]

    def _source(self, name: str) -> StoredSource:
        first, last = (
            [
                at
                for table in ("events", "gaps", "scores")
                if (at := self._one(f"SELECT {end}(at) FROM {table} WHERE source = ?", name)[0]) is not None
            ]
            for end in ("min", "max")
        )
        setup = read_setup(self._database, name, END_OF_TIME)
        return StoredSource(name, min(first, default=None), max(last, default=None), setup)

    def _one(self, statement: str, *values: object) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(statement, values).fetchone()
        return row

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with explained(self._place), limited(self._database):
            yield
