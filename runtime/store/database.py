"""A database of the store, open for writing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.store.schema import migrate

BUSY_S = 2.0
"""How long to wait for another program that has locked the database."""


class Database:
    """A database, open for writing; a context, at whose end all changes within it are on the disk, or none is."""

    def __init__(self, path: Path) -> None:
        """Open a database, and make or migrate its tables.

        Raises
        ------
        sqlite3.OperationalError
            It cannot be opened at present: it is locked, the disk is full, there is no folder.
        sqlite3.DatabaseError
            It is damaged, or no database.
        ForeignDatabaseError
            It belongs to another program or to a newer version.
        """
        self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            # FULL: what is committed is on the disk. Write-ahead logging: readers do not lock; it comes after the
            # check whose database this is, since the file keeps that mode.
            self._connection.execute("PRAGMA synchronous = FULL")
            migrate(self._connection)
            self._connection.execute("PRAGMA journal_mode = WAL")
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Database:
        self._connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:  # SQLite has rolled back by itself where the disk is full
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def session(self, uid: str, started_at: float) -> int:
        """Return the number of a session, which is added where it is not there."""
        self._connection.execute("INSERT OR IGNORE INTO sessions (uid, started_at) VALUES (?, ?)", (uid, started_at))
        (row,) = self._connection.execute("SELECT id FROM sessions WHERE uid = ?", (uid,))
        return int(row[0])

    def put_event(self, session: int, event: Event, stored_at: float) -> None:
        """Add an event, or what its end says of it; the same message again changes nothing."""
        self._connection.execute(
            "INSERT INTO events (session, source, number, label, onset, offset, time, score, stored_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (session, source, number) DO UPDATE SET "
            "onset = excluded.onset, offset = excluded.offset, time = excluded.time, score = excluded.score "
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
            "INSERT OR IGNORE INTO gaps (session, number, source, onset, offset, time, reason, stored_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
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
            "INSERT OR IGNORE INTO statuses (session, number, source, state, time, message, stored_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (session, number, source, state, time, message, stored_at),
        )

    def prune(self, before: float) -> None:
        """Delete what was stored before a time, in seconds since 1970, and sessions of which nothing is left."""
        for table in ("events", "gaps", "statuses"):
            self._connection.execute(f"DELETE FROM {table} WHERE stored_at < ?", (before,))
        used = " UNION ".join(f"SELECT session FROM {table}" for table in ("events", "gaps", "statuses"))
        self._connection.execute(f"DELETE FROM sessions WHERE started_at < ? AND id NOT IN ({used})", (before,))
