"""All messages into the store, which survives power cuts."""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import StoreConfig
from htsat_edge.runtime.daemon.messages import GapMessage, Status
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.schema import ForeignDatabaseError

QUEUED = 20_000
PRUNE_S = 3600.0
DAY_S = 86_400.0
logger = logging.getLogger(__name__)


class Received(NamedTuple):
    """A message, and when it came."""

    message: Message
    number: int
    """In the session, so that a batch that is sent again changes nothing."""
    at: float
    """Seconds since 1970."""


class StoreOutput(Output[Received]):
    """Writes messages to the store; what is counted as sent is on the disk."""

    def __init__(self, settings: StoreConfig) -> None:
        """Prepare to write the database that the settings name."""
        super().__init__(f"store {settings.path}", QUEUED)
        self._settings = settings
        self._uid, self._started = uuid.uuid4().hex, time.time()
        self._count = 0
        self._database: Database | None = None
        self._pruned: float | None = None

    def start(self) -> None:
        """Open the database; raise an HtsatEdgeError where that can never work."""
        path = self._settings.path
        if path.exists() and not path.is_file():
            raise HtsatEdgeError(f"outputs.store.path: {path}: is no regular file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open().close()
        except OSError as error:
            raise HtsatEdgeError(f"outputs.store.path: {path}: cannot be written: {error.strerror}") from None
        except ForeignDatabaseError as error:
            raise HtsatEdgeError(f"outputs.store.path: {path}: {error}; give another path") from None
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error) or "readonly" in str(error):
                raise HtsatEdgeError(f"outputs.store.path: {path}: {error}") from None
            logger.warning("%s: %s; it is tried again", self.name, error)  # it is locked, or the disk is full
        super().start()

    def offer(self, message: Message) -> None:
        """Take a message, without waiting."""
        self._count += 1
        self.put(Received(message, self._count, time.time()))

    def send(self, batch: Sequence[Received]) -> None:
        """Write messages, all or none; those that are there already change nothing."""
        try:
            if self._database is None:
                self._database = self._open()
            with self._database as database:
                session = database.session(self._uid, self._started)
                for received in batch:
                    self._write(database, session, received)
        except sqlite3.Error as error:
            self.closed()
            if type(error) is sqlite3.DatabaseError:  # damaged; its subclasses are other faults
                self._put_aside(error)
            raise

    def idle(self) -> None:
        """Delete what is too old, once an hour; not while the system's clock was never set."""
        if time.time() < CLOCK_SET or (self._pruned is not None and time.monotonic() - self._pruned < PRUNE_S):
            return
        self._pruned = time.monotonic()
        if self._database is None:
            self._database = self._open()
        with self._database as database:
            database.prune(time.time() - DAY_S * self._settings.keep_days)

    def closed(self) -> None:
        """Close the database."""
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    @staticmethod
    def _write(database: Database, session: int, received: Received) -> None:
        message, number, at = received
        match message:
            case Event():
                database.put_event(session, message, at)
            case GapMessage():
                database.add_gap(
                    session,
                    number,
                    at,
                    source=message.source,
                    onset=message.onset,
                    offset=message.offset,
                    time=message.time,
                    reason=message.reason,
                )
            case Status():
                database.add_status(
                    session,
                    number,
                    at,
                    source=message.source,
                    state=message.state,
                    time=message.time,
                    message=message.encoded,
                )

    def _open(self) -> Database:
        try:
            return Database(self._settings.path)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # locked, full …
                raise
            self._put_aside(error)
            return Database(self._settings.path)

    def _put_aside(self, error: Exception) -> None:
        """Keep a damaged database under another name, so that a new one is begun."""
        path = self._settings.path
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        logger.error("%s: %s; it is kept as %s, and a new one is begun", self.name, error, aside.name)
