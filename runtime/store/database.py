"""A database of the store, open for writing."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.store.connect import BUSY_S
from htsat_edge.runtime.store.engine import PostgresUrl, StoreConnection, StorePlace
from htsat_edge.runtime.store.filters import LOCKED, OF_EVENT
from htsat_edge.runtime.store.postgres import WRITE_S, PostgresConnection
from htsat_edge.runtime.store.schema import migrate
from htsat_edge.runtime.store.schema_postgres import make_tables
from htsat_edge.runtime.store.score_codes import encode
from htsat_edge.runtime.store.sqlite import SqliteConnection, connect_file
from htsat_edge.runtime.store.writes import LeftOut, RemovedClip, SavedClip, ScoreRow, SourceSetup, StoreWrite

if TYPE_CHECKING:
    from typing_extensions import Self

MESSAGES = ("events", "gaps", "statuses")
"""Tables of what outputs get."""
DATED = (*MESSAGES, "left_out", "clips", "scores")
"""Tables whose rows have `session`, `time` and `stored_at`."""
KEPT = {
    "events": f"id IN ({LOCKED})",
    "clips": f"EXISTS (SELECT 1 FROM events JOIN verdicts ON event = events.id WHERE locked = 1 AND {OF_EVENT})",
}
"""Which rows of a table a verdict has locked."""
OF_SAME_DEVICE = (
    "session IN (SELECT id FROM sessions WHERE coalesce(device, '') = "
    "(SELECT coalesce(device, '') FROM sessions WHERE id = ?))"
)
MOST_PRUNED = 50_000
"""Rows of a table that are deleted at once: meanwhile nobody can write, and a server gives up what takes too long."""
ROW_BYTES = 200
"""Of a row of scores beside its codes, on pages that are not quite full (measured with tests/page_load.py)."""
MINUTE_S = 60.0


class Database:
    """A database, open for writing; a context, at whose end all changes within it are on the disk, or none is."""

    def __init__(self, place: StorePlace) -> None:
        """Open a database, and make or migrate its tables.

        Raises
        ------
        sqlite3.OperationalError
            It cannot be opened at present: it is locked, the disk is full, there is no folder.
        sqlite3.DatabaseError
            It is damaged, or no database.
        StoreError
            The PostgreSQL server does not answer, or refuses.
        ForeignDatabaseError
            It belongs to another program or to a newer version.
        """
        self._connection: StoreConnection = _open_file(place) if isinstance(place, Path) else _open_url(place)

    def __enter__(self) -> Self:
        self._connection.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.commit()
        finally:
            self._connection.roll_back()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def checkpoint(self) -> None:
        """Write what is in the log of a file into the file, as far as those who read it let that be done."""
        self._connection.execute("PRAGMA wal_checkpoint")

    def session(self, uid: str, started_at: float) -> int:
        """Return the number of a session, which is added where it is not there."""
        return self._find_session(uid, started_at, None)[0]

    def _find_session(self, uid: str, started_at: float, device: str | None) -> tuple[int, str | None]:
        """Return the number of a session and its device; it is added where it is not there."""
        ask = "SELECT id, device FROM sessions WHERE uid = ?"
        if (row := self._connection.execute(ask, (uid,)).fetchone()) is None:
            self._connection.execute(
                "INSERT INTO sessions (uid, started_at, device) VALUES (?, ?, ?)", (uid, started_at, device)
            )
            row = self._connection.execute(ask, (uid,)).fetchone()
        return int(row[0]), row[1]

    def put_event(self, session: int, event: Event, stored_at: float) -> None:
        """Add an event, or what its end says of it; the same message again changes nothing."""
        self._connection.execute(
            'INSERT INTO events (session, source, number, label, onset, "offset", time, score, stored_at) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session, source, number) DO UPDATE SET "
            'onset = excluded.onset, "offset" = excluded.offset, time = excluded.time, score = excluded.score '
            "WHERE excluded.offset IS NOT NULL",
            (
                session,
                event.source,
                event.id,
                event.label,
                event.onset,
                event.offset,
                event.time,
                event.score,
                stored_at,
            ),
        )

    def add_gap(
        self,
        session: int,
        number: int,
        stored_at: float,
        *,
        source: str,
        onset: float,
        offset: float,
        time: str | None,
        reason: str,
    ) -> None:
        """Add a gap, unless it is there."""
        self._connection.execute(
            'INSERT INTO gaps (session, number, source, onset, "offset", time, reason, stored_at) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (session, number, source, onset, offset, time, reason, stored_at),
        )

    def add_status(
        self,
        session: int,
        number: int,
        stored_at: float,
        *,
        source: str | None,
        state: str,
        time: str | None,
        message: str,
    ) -> None:
        """Add a status, unless it is there; `message` is all of it, as JSON."""
        self._connection.execute(
            "INSERT INTO statuses (session, number, source, state, time, message, stored_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (session, number, source, state, time, message, stored_at),
        )

    def put(self, session: int, write: StoreWrite, stored_at: float) -> None:
        """Add what is no message, unless it is there."""
        match write:
            case SourceSetup():
                self._put_setup(session, write)
            case ScoreRow():
                self._put_scores(session, write, stored_at)
            case LeftOut():
                self._put_left_out(session, write, stored_at)
            case SavedClip():
                self._put_clip(session, write, stored_at)
            case RemovedClip():
                self._connection.execute(
                    f"DELETE FROM clips WHERE name = ? AND {OF_SAME_DEVICE}", (write.name, session)
                )

    def _put_setup(self, session: int, write: SourceSetup) -> None:
        setup = write.setup.model_dump_json()
        self._connection.execute("INSERT INTO setups (setup) VALUES (?) ON CONFLICT DO NOTHING", (setup,))
        self._connection.execute(
            "INSERT INTO in_force (session, source, onset, setup) SELECT ?, ?, ?, id FROM setups WHERE setup = ? "
            "ON CONFLICT (session, source, onset) DO UPDATE SET setup = excluded.setup",
            (session, write.source, write.onset, setup),
        )

    def _put_scores(self, session: int, row: ScoreRow, stored_at: float) -> None:
        steps, codes = len(row.scores), encode(row.scores, row.limits)
        onset, offset = round(row.onset, DECIMALS), round(row.onset + steps * row.step_s, DECIMALS)
        self._connection.execute(
            'INSERT INTO scores (session, source, onset, "offset", time, steps, size, codes, stored_at) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (session, row.source, onset, offset, row.time, steps, len(codes) + ROW_BYTES, codes, stored_at),
        )

    def _put_left_out(self, session: int, write: LeftOut, stored_at: float) -> None:
        event = write.event
        self._connection.execute(
            'INSERT INTO left_out (session, source, number, label, onset, "offset", time, score, rule, stored_at) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session, source, number) DO UPDATE SET "
            '"offset" = excluded.offset WHERE excluded.offset IS NOT NULL',
            (
                session,
                event.source,
                event.id,
                event.label,
                event.onset,
                event.offset,
                event.time,
                event.score,
                write.rule,
                stored_at,
            ),
        )

    def _put_clip(self, session: int, clip: SavedClip, stored_at: float) -> None:
        self._connection.execute(
            f"DELETE FROM clips WHERE (session, source, number) = (?, ?, ?) OR (name = ? AND {OF_SAME_DEVICE})",
            (session, clip.source, clip.number, clip.name, session),
        )
        self._connection.execute(
            'INSERT INTO clips (session, source, number, name, onset, "offset", time, stored_at) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (session, clip.source, clip.number, clip.name, clip.onset, clip.offset, clip.time, stored_at),
        )

    def redate(self, session: int, by_s: float, unset_before: float) -> None:
        """Move the dates of what a session has stored, since the clock was set while it ran.

        Only in a file, as a device has it. `by_s` is by how many seconds it was set forward. Times of day are moved,
        too, where they are before `unset_before`, seconds since 1970: those of a clock that was never set.
        """
        unset = datetime.fromtimestamp(unset_before, timezone.utc).isoformat()
        for table in DATED:
            if table == "scores" and abs(by_s) < MINUTE_S:
                continue  # there are many of them, and they need no better date
            self._connection.execute(
                f"UPDATE {table} SET time = moved_time(time, ?) WHERE session = ? AND time < ?", (by_s, session, unset)
            )
            self._connection.execute(f"UPDATE {table} SET stored_at = stored_at + ? WHERE session = ?", (by_s, session))
        self._connection.execute("UPDATE sessions SET started_at = started_at + ? WHERE id = ?", (by_s, session))

    def newest(self, but: int) -> float | None:
        """Return when the last message was stored, in seconds since 1970, in any session but one; None without one."""
        rows = " UNION ALL ".join(f"SELECT session, stored_at FROM {table}" for table in MESSAGES)
        (row,) = self._connection.execute(f"SELECT max(stored_at) FROM ({rows}) AS found WHERE session != ?", (but,))
        return None if row[0] is None else float(row[0])

    def adopt(self, earliest: float, latest: float, now: float) -> set[int]:
        """Date what was stored with a clock that was wrong; return the sessions that this concerns.

        When a row from before `earliest` or after `latest` was stored is not known; it counts as just stored, those
        of one session as far apart as they are. All are seconds since 1970.
        """
        adopted = set()
        for wrong, limit in (("stored_at < ?", earliest), ("stored_at > ?", latest)):
            rows = " UNION ALL ".join(f"SELECT session, stored_at FROM {table} WHERE {wrong}" for table in DATED)
            found = self._connection.execute(
                f"SELECT session, max(stored_at) FROM ({rows}) AS found GROUP BY session", (limit,) * len(DATED)
            )
            for session, newest in found.fetchall():
                adopted.add(int(session))
                for table in DATED:
                    self._connection.execute(
                        f"UPDATE {table} SET stored_at = stored_at + ? WHERE session = ? AND {wrong}",
                        (now - newest, session, limit),
                    )
        return adopted

    def prune(self, before: float) -> bool:
        """Delete what was stored before a time, in seconds since 1970, and sessions of which nothing is left.

        Setups go that are in force in none of the others. Scores have their own age, and what a verdict has locked has
        none. Return whether there is more than could be deleted at once.
        """
        is_more = False
        for table in (*MESSAGES, "left_out", "clips"):
            old = f"FROM {table} WHERE stored_at < ? AND NOT ({KEPT.get(table, '1 = 0')})"
            ask = f"SELECT stored_at {old} ORDER BY stored_at LIMIT 1 OFFSET ?"
            row = self._connection.execute(ask, (before, MOST_PRUNED)).fetchone()
            is_more = is_more or row is not None
            self._connection.execute(f"DELETE {old} AND stored_at <= ?", (before, before if row is None else row[0]))
            self._connection.settle()
        unused = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {table} WHERE {table}.session = sessions.id)" for table in DATED
        )
        self._connection.execute(f"DELETE FROM sessions WHERE started_at < ? AND {unused}", (before,))
        self._connection.settle()
        self._connection.execute("DELETE FROM setups WHERE id NOT IN (SELECT setup FROM in_force)")
        return is_more

    def prune_scores(self, before: float, most_bytes: float) -> None:
        """Delete scores that were stored before a time, in seconds since 1970, then the oldest beyond a quota.

        The room that they leave in the file is used again.
        """
        self._connection.execute("DELETE FROM scores WHERE stored_at < ?", (before,))
        (used,) = self._connection.execute("SELECT coalesce(sum(size), 0) FROM scores").fetchone()
        if used <= most_bytes:
            return
        with closing(self._connection.execute("SELECT stored_at, size FROM scores ORDER BY stored_at")) as rows:
            oldest = next(stored_at for stored_at, size in rows if (used := used - size) <= most_bytes)
        self._connection.execute("DELETE FROM scores WHERE stored_at <= ?", (oldest,))


def _open_file(path: Path) -> SqliteConnection:
    connection = connect_file(path, BUSY_S, "mode=rwc")
    try:
        # FULL: what is committed is on the disk. Write-ahead logging: readers do not lock; it comes after the
        # check whose database this is, since the file keeps that mode.
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA foreign_keys = ON")  # a verdict goes with its event
        connection.create_function("moved_time", 2, moved_time, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_url(url: PostgresUrl) -> PostgresConnection:
    connection = PostgresConnection(url, to_write=True, longest_s=WRITE_S)
    try:
        make_tables(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def moved_time(time: str, by_s: float) -> str:
    """Return a time of day in ISO 8601 moved by seconds; one that cannot be read or moved stays as it is."""
    try:
        return (datetime.fromisoformat(time) + timedelta(seconds=by_s)).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return time
