"""All messages into the store, which survives power cuts; and scores, clips, and what rules left out."""

from __future__ import annotations

import logging
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.folders import try_file
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.clock import CLOCK_SET, STEP_S, clock_offset
from htsat_edge.runtime.daemon.config import ScoresConfig, StoreConfig
from htsat_edge.runtime.daemon.messages import GapMessage, Status
from htsat_edge.runtime.daemon.outputs import store_lock
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.database_file import DatabaseFile, refuse_unfit
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.schema import ForeignDatabaseError, has_mark
from htsat_edge.runtime.store.writes import ScoreRow, SourceSetup, StoreWrite

QUEUED = 20_000
MOST_ROWS = 100
"""Of scores that wait; of more the oldest are left out: those of a minute may be half a megabyte."""
PRUNE_S = 3600.0
DAY_S = 86_400.0
KEY = "outputs.store.path"
logger = logging.getLogger(__name__)


class Received(NamedTuple):
    """What is to be stored, and when it came."""

    content: Message | StoreWrite | int
    """An int: the row of scores that has this number, if it still waits."""
    number: int
    """Of a message in the session, so that a batch that is sent again changes nothing; else 0."""
    at: float
    """Seconds since 1970."""
    offset: float
    """`clock_offset` at the time."""


class StoreOutput(Output[Received]):
    """Writes messages and more to the store; what is counted as sent is on the disk.

    The dates of all that this session has stored are of the clock as it was last seen: when it is set, they are moved
    along. So a device without a battery, which starts in 1970, knows how old its events are.
    """

    def __init__(self, settings: StoreConfig, session: str | None = None) -> None:
        """Prepare to write the database that the settings name; `session` is the id of this one, by default new."""
        super().__init__(f"store {settings.path}", QUEUED)
        self._settings = settings
        self._uid, self._offset = session or uuid.uuid4().hex, clock_offset()
        self._begun = time.time() - self._offset
        self._count = 0
        self._setups: dict[tuple[str, float], SourceSetup] = {}
        """By source and onset, those that what waits may need; a database that is opened gets them."""
        self._lacks_setups = True
        """Whether the database may not have them."""
        self._rows: dict[int, ScoreRow] = {}
        """Scores that wait, by number."""
        self._row_count = 0
        self._database: Database | None = None
        self._file = DatabaseFile(settings.path, KEY, self.name)
        self._prune_s: float | None = None
        """When to look for what is too old next, in monotonic time; None where the clock's time is to be checked."""
        self._adopted: set[int] = set()
        """Sessions whose dates were not known, and are of this session's clock."""

    def start(self) -> None:
        """Open the database; raise an HtsatEdgeError where that can never work."""
        path = self._settings.path
        refuse_foreign(KEY, path, has_mark)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            store_lock.hold(KEY, path, self._uid)
            self._open().close()
        except OSError as error:
            raise HtsatEdgeError(f"{KEY}: {path}: cannot be written: {error.strerror}") from None
        except ForeignDatabaseError as error:
            raise HtsatEdgeError(f"{KEY}: {path}: {error}; give another path") from None
        except sqlite3.OperationalError as error:
            if "unable to open" in str(error) or "readonly" in str(error):
                raise HtsatEdgeError(f"{KEY}: {path}: {error}") from None
            logger.warning("%s: %s; it is tried again", self.name, error)  # it is locked, or the disk is full
        super().start()

    def check(self) -> str:
        """Look at the database, if there is one; return the room for it."""
        path = self._settings.path
        refuse_unfit(KEY, path)
        store_lock.refuse_written(KEY, path)
        return try_file(path)

    def close(self) -> None:
        """End, and let others write the database, unless what writes it hangs."""
        super().close()
        if not self._thread.is_alive():
            store_lock.release(self._settings.path, self._uid)

    def offer(self, message: Message) -> None:
        """Take a message, without waiting."""
        self._count += 1
        self.put(Received(message, self._count, time.time(), clock_offset()))

    def record(self, write: StoreWrite) -> None:
        """Take what is to be stored beside the messages, without waiting; from any thread."""
        if isinstance(write, SourceSetup):
            self._setups[write.source, write.onset] = write
        self.put(Received(write, 0, time.time(), clock_offset()))

    def record_scores(self, row: ScoreRow) -> None:
        """Take scores, without waiting; from the thread that detects."""
        self._row_count += 1
        self._rows[self._row_count] = row
        if not self.put(Received(self._row_count, 0, time.time(), clock_offset())):
            self._rows.pop(self._row_count)
        elif len(self._rows) > MOST_ROWS:
            self._rows.pop(min(self._rows.copy()), None)
            self._warnings.warn("scores", f"{self.name}: so many scores wait to be written that the oldest are lost")

    def locked_clips(self) -> set[str]:
        """Return the names of clips that are never to be deleted; raise an HtsatEdgeError where they cannot be read."""
        with StoreReader(self._settings.path) as reader:
            return reader.locked_clips()

    def send(self, batch: Sequence[Received]) -> None:
        """Write a batch, all of it or nothing; what is there already is not changed."""
        numbers = [received.content for received in batch if isinstance(received.content, int)]
        self._forget_rows(min(numbers, default=0))  # before these, others may have been given up
        try:
            with self._opened_database() as database:
                session, offset = self._session(database), self._offset
                for setup in self._setups.copy().values() if self._lacks_setups else ():
                    database.put(session, setup, time.time())
                for received in batch:
                    offset = self._follow_clock(database, session, offset, received.offset)
                    self._write(database, session, received)
        except sqlite3.Error as error:
            self.closed()
            if type(error) is sqlite3.DatabaseError:  # damaged; its subclasses are other faults
                self._file.put_aside(error)
            raise
        if abs(offset - self._offset) >= STEP_S:
            self._prune_s = None
        self._offset, self._lacks_setups = offset, False
        self._forget_rows(max(numbers, default=0) + 1)
        for received in batch:
            if isinstance(received.content, SourceSetup):
                self._forget_setups(received.content)

    def idle(self) -> None:
        """Delete what is too old, once an hour; not while the system's clock was never set, or may be wrong.

        Where the file was deleted or replaced, go on in the one at the path.
        """
        if self._left_lost():
            self.send(())
        if time.time() < CLOCK_SET or (self._prune_s is not None and time.monotonic() < self._prune_s):
            return
        unchecked, self._prune_s = self._prune_s is None, time.monotonic() + PRUNE_S
        adopted: set[int] = set()
        with self._opened_database() as database:
            session, now = self._session(database), time.time()
            offset = self._follow_clock(database, session, self._offset, clock_offset())
            unchecked = unchecked or abs(offset - self._offset) >= STEP_S
            newest = database.newest(but=session)
            # A clock that disagrees with the past may be set soon: it is believed when it has stood for an hour.
            if not unchecked or newest is None or abs(now - newest) < DAY_S:
                adopted = database.adopt(CLOCK_SET, now + DAY_S, now)
                if database.prune(now - DAY_S * self._settings.keep_days):
                    self._prune_s = time.monotonic()  # go on as soon as there is nothing else to do
                scores = self._settings.scores or ScoresConfig()  # of those from before they were turned off
                database.prune_scores(now - DAY_S * scores.keep_days, 1e6 * scores.quota_mb)
        self._offset = offset
        self._adopted |= adopted

    def count(self, batch: Sequence[Received]) -> int:
        """Return how many of these are messages."""
        return sum(isinstance(received.content, Message) for received in batch)

    def is_outage(self, error: Exception) -> bool:
        """Return whether an error is the database's: it is locked, full, damaged, or not ours."""
        ours = type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError)
        return ours or isinstance(error, ForeignDatabaseError) or super().is_outage(error)

    def closed(self) -> None:
        """Close the database."""
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _session(self, database: Database) -> int:
        self._file.note_begun()
        return database.session(self._uid, self._offset + self._begun)

    def _follow_clock(self, database: Database, session: int, before: float, offset: float) -> float:
        """Move the dates of what was stored where the clock was set; return its new offset."""
        if abs(offset - before) >= STEP_S:
            for one in {session} | self._adopted:
                database.redate(one, offset - before, CLOCK_SET)
        return offset

    def _write(self, database: Database, session: int, received: Received) -> None:
        content, number, at, _ = received
        match content:
            case Event() as message:
                database.put_event(session, message, at)
            case GapMessage() as message:
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
            case Status() as message:
                database.add_status(
                    session,
                    number,
                    at,
                    source=message.source,
                    state=message.state,
                    time=message.time,
                    message=message.encoded,
                )
            case int():
                if row := self._rows.get(content):
                    database.put(session, row, at)
            case Message():
                pass
            case _:
                database.put(session, content, at)

    def _forget_rows(self, before: int) -> None:
        """Forget the scores of lower numbers: they came earlier, and were sent or lost."""
        for number in [number for number in self._rows.copy() if number < before]:
            self._rows.pop(number, None)

    def _forget_setups(self, new: SourceSetup) -> None:
        """Forget the setups before one that was written: scores that wait came after it."""
        for source, onset in self._setups.copy():
            if source == new.source and onset < new.onset:
                self._setups.pop((source, onset), None)

    def _opened_database(self) -> Database:
        self._left_lost()
        if self._database is None:
            self._database, self._lacks_setups = self._open(), True
        return self._database

    def _left_lost(self) -> bool:
        """Close the database if its file was deleted, replaced or emptied, and return whether it was."""
        if self._database is None or not self._file.leave_lost(self._database):
            return False
        self._database = None
        return True

    def _open(self) -> Database:
        self._file.refuse_foreign()
        try:
            database = Database(self._settings.path)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # locked, full …
                raise
            self._file.put_aside(error)
            database = Database(self._settings.path)
        if self._file.note_opened():
            self._adopted.clear()  # they have other numbers there
        return database
