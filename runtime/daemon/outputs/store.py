"""All lines in an SQLite database, which survives power cuts."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import Store as Settings
from htsat_edge.runtime.daemon.outputs import Line, Output

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,      -- one run of the program
    number INTEGER NOT NULL,    -- of the line in it
    told_at REAL NOT NULL,      -- seconds since 1970
    type TEXT NOT NULL,
    source TEXT,
    label TEXT,
    onset REAL,
    offset REAL,
    time TEXT,
    score REAL,
    line TEXT NOT NULL,         -- all of it, as JSON
    UNIQUE (session, number)
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (told_at);
"""
QUEUED = 20_000
SWEEP_S = 3600.0
DAY_S = 86_400.0
logger = logging.getLogger(__name__)
BUSY_S = 2.0


class Store(Output):
    """What is counted as sent is on the disk."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(f"store {settings.path}", QUEUED)
        self._settings = settings
        self._session = uuid.uuid4().hex
        self._number = 0
        self._database: sqlite3.Connection | None = None
        self._swept = 0.0

    def start(self) -> None:
        """Open the database; an HtsatEdgeError where that cannot be."""
        path = self._settings.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open().close()
        except OSError as error:
            raise HtsatEdgeError(f"outputs.store.path: {path}: cannot be written: {error.strerror}") from None
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error) or "readonly" in str(error):
                raise HtsatEdgeError(f"outputs.store.path: {path}: {error}") from None
            logger.warning("%s: %s; it is tried again", self.name, error)  # it is locked, or the disk is full
        super().start()

    def offer(self, line: Line) -> None:
        """Take a line, and give it its number."""
        self._number += 1
        super().offer({**line, "_number": self._number, "_at": time.time()})

    def send(self, lines: Sequence[Line]) -> None:
        """Add lines, all or none; those that are there already stay as they are."""
        rows = [self._row(line) for line in lines]
        try:
            if self._database is None:
                self._database = self._open()
            with self._database:
                self._database.executemany(
                    "INSERT OR IGNORE INTO events (session, number, told_at, type, source, label, onset, offset, time, "
                    "score, line) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
        except sqlite3.Error as error:
            self.closed()
            if not isinstance(error, sqlite3.OperationalError):
                self._put_aside(error)
            raise

    def idle(self) -> None:
        """Forget what is too old, once an hour; not while the system's clock was never set."""
        if time.time() < CLOCK_SET:
            return
        if time.monotonic() - self._swept < SWEEP_S and self._swept:
            return
        self._swept = time.monotonic()
        if self._database is None:
            self._database = self._open()
        with self._database:
            before = time.time() - DAY_S * self._settings.keep_days
            self._database.execute("DELETE FROM events WHERE told_at < ?", (before,))

    def closed(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._settings.path, timeout=BUSY_S, check_same_thread=False)
        try:
            # Write-ahead logging: readers do not lock; FULL: what is committed is on the disk.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            database.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._put_aside(error)
            return self._open()
        return database

    def _put_aside(self, error: Exception) -> None:
        """A database that is damaged is kept, and a new one is begun."""
        path = self._settings.path
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        logger.error("%s: %s; it is kept as %s, and a new one is begun", self.name, error, aside.name)

    def _row(self, line: Line) -> tuple[object, ...]:
        told = {key: value for key, value in line.items() if not key.startswith("_")}
        keys = ("type", "source", "label", "onset", "offset", "time", "score")
        return (
            self._session,
            line["_number"],
            line["_at"],
            *(told.get(key) for key in keys),
            json.dumps(told),
        )
