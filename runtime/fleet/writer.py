"""Write what devices report into the store, in batches, each report once however often it comes."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.outputs import store_lock
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.fleet.reports import (
    FleetGap,
    FleetStatus,
    ForgetReport,
    HealthReport,
    InfoReport,
    MessageReport,
    OnlineReport,
    Report,
    StoredContent,
)
from htsat_edge.runtime.fleet.store_check import KEY, KEY_URL, refuse_unfit
from htsat_edge.runtime.store.database_file import DatabaseFile
from htsat_edge.runtime.store.engine import StorePlace
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.problems import ContentError, StoreError, explained
from htsat_edge.runtime.store.schema import ForeignDatabaseError
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

MOST_HELD = 10_000
"""States of topics that may turn out to be devices."""
MOST_SESSIONS = 10_000
"""Numbers of sessions that are remembered."""
DAY_S = 86_400.0
logger = logging.getLogger(__name__)


class TimedReport(NamedTuple):
    """A report, and when it came, in seconds since 1970."""

    report: Report
    at: float


class FleetWriter:
    """Writes batches; each is on the disk, all of it, or nothing is.

    A batch that was written already changes nothing. What the database can never hold is given up and counted.
    """

    def __init__(self, place: StorePlace) -> None:
        """Prepare to write a store."""
        self._place = place
        self._database: FleetDatabase | None = None
        self._file = DatabaseFile(place, KEY, str(place)) if isinstance(place, Path) else None
        self._sessions: dict[tuple[str, str], int] = {}
        """Numbers of sessions, by device and uid."""
        self._known: set[str] = set()
        """What has shown that it is a device."""
        self._has_been_open = False
        self.has_reopened = False
        """Whether the store was opened again: it may have been deleted or restored meanwhile, and what devices say of
        themselves must be published again."""
        self._begun: dict[str, tuple[str, float]] = {}
        """The session of each device, and when that began, by the last it has said of itself."""
        self._held: dict[str, tuple[bool, float]] = {}
        """Whether topics are online, and when that came, that have shown nothing else of a device: a source of a device
        has that, too."""
        self._warnings = RepeatedWarnings(logger)
        self.counts: Counter[str] = Counter()
        """`stored`, `repeated`, `refused`."""

    def open(self) -> None:
        """Look whether the store can be written; raise an HtsatEdgeError where that can never work.

        A server that is away is tried again later.
        """
        place = self._place
        refuse_unfit(place)
        if isinstance(place, Path):
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HtsatEdgeError(f"{KEY}: {place}: cannot be written: {error.strerror}") from None
            store_lock.hold(KEY, place, "collect")
        try:
            with self._explained():
                self._opened()
        except ForeignDatabaseError as error:
            key = KEY if isinstance(place, Path) else KEY_URL
            raise HtsatEdgeError(f"{key}: {place}: {error}") from None
        except StoreError as error:
            self.close()
            logger.warning("%s; it is tried again", error)

    def close(self) -> None:
        """Close the database; it is opened again when something is written."""
        if self._database is not None:
            self._database.close()
        self._database = None
        self._sessions.clear()

    def release(self) -> None:
        """Close the database, and let others write it."""
        self.close()
        self._warnings.close()
        if isinstance(self._place, Path):
            store_lock.release(self._place, "collect")

    def write(self, batch: Sequence[TimedReport]) -> None:
        """Write a batch.

        Raises
        ------
        StoreError
            The database cannot be written at present; nothing that is missing of the batch may be forgotten.
        """
        try:
            self._attempt(batch)
        except ContentError as error:
            if len(batch) == 1:
                self._refuse(batch[0].report, error)
                return
            middle = len(batch) // 2
            self.write(batch[:middle])
            self.write(batch[middle:])

    def prune(self, now: float, keep_days: float) -> bool:
        """Delete what was stored more than so many days ago; return whether there is more than goes at once.

        Raise a StoreError where that cannot be.

        What came while the clock had never been set, or was ahead, counts as stored now, in seconds since 1970.
        """
        try:
            with self._writing() as database:
                database.adopt(CLOCK_SET, now + DAY_S, now)
                return database.prune(now - DAY_S * keep_days)
        finally:
            self._sessions.clear()

    def newest(self) -> float | None:
        """Return when the last message was stored, in seconds since 1970; None without one."""
        with self._writing() as database:
            return database.last_at()

    def devices(self) -> list[tuple[str, bool | None, int]]:
        """Return each device, whether it is online, and how many of its messages never came."""
        with self._writing() as database:
            return database.fleet()

    def count_silent(self, as_of: float) -> int:
        """Return how many devices say nothing, although they are online; `as_of` is when the broker was reached."""
        with self._writing() as database:
            return database.count_silent(as_of)

    def look(self) -> None:
        """Leave a file that is no longer the one at its path: another program might play its log into that."""
        if self._file is not None and self._database is not None and self._file.leave_lost(self._database):
            self.close()

    @contextmanager
    def _writing(self) -> Iterator[FleetDatabase]:
        """Yield the database, in a transaction; close it where that fails, for its connection may be gone."""
        try:
            with self._explained(), self._remembering(self._opened()) as database:
                if self._file is not None:
                    self._file.note_begun()
                yield database
        except ContentError:
            self._sessions.clear()  # nothing was written
            raise
        except ForeignDatabaseError as error:  # another one has taken its place
            self.close()
            raise StoreError(f"{self._place}: {error}") from None
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _remembering(self, database: FleetDatabase) -> Iterator[FleetDatabase]:
        """Yield the database, in a transaction; know of devices what was known before where nothing is written."""
        known, held = self._known.copy(), self._held.copy()
        try:
            with database:
                yield database
        except BaseException:
            self._known, self._held = known, held
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(self._place):
            try:
                yield
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:  # its subclasses are other faults
                    raise
                raise StoreError(
                    f"{self._place}: is damaged ({error}); end this program and move the file away, with what is "
                    "beside it (-wal, -shm): a new one is begun"
                ) from None

    def _opened(self) -> FleetDatabase:
        self.look()
        if self._database is None:
            self._sessions.clear()
            if self._file is not None:
                self._file.refuse_foreign()
            self._database = FleetDatabase(self._place)
            self._known = {device for device, _, _ in self._database.fleet()}
            self.has_reopened, self._has_been_open = self._has_been_open, True
            if self._file is not None:
                self._file.note_opened()
        return self._database

    def _attempt(self, batch: Sequence[TimedReport]) -> None:
        counts: Counter[str] = Counter()
        with self._writing() as database:
            keys = {(one.report.device, one.report.session) for one in batch if isinstance(one.report, MessageReport)}
            if known := keys & self._sessions.keys():
                database.expect({self._sessions[key] for key in known})
            for report, at in batch:
                self._put(database, report, at, counts)
        self.counts += counts

    def _put(self, database: FleetDatabase, report: Report, at: float, counts: Counter[str]) -> None:
        match report:
            case MessageReport(device):
                session = self._session(database, report, at)
                if not database.take(session, report.number, at):
                    counts["repeated"] += 1
                    return
                self._recognise(database, device)
                self._put_content(database, session, report.number, believable(report.content, at), at)
                counts["stored"] += 1
            case InfoReport(device):
                self._recognise(database, device)
                self._begun[device] = report.session, report.started_at
                database.put_info(device, report.text, report.place, at)
            case ForgetReport(device):
                database.forget(device)
                self._known.discard(device)
                self._begun.pop(device, None)
            case HealthReport(device) if device in self._known:
                database.put_health(device, report.text, at)
            case OnlineReport(device) if device in self._known:
                database.set_online(device, report.online, at)
            case OnlineReport(device) if device in self._held or len(self._held) < MOST_HELD:
                self._held[device] = report.online, at
            case _:
                pass  # the health of what is no device yet: it comes again soon

    def _recognise(self, database: FleetDatabase, device: str) -> None:
        """Note that a topic is one of a device, and store what it has said before."""
        self._known.add(device)
        if (held := self._held.pop(device, None)) is not None:
            database.set_online(device, *held)

    def _session(self, database: FleetDatabase, report: MessageReport, at: float) -> int:
        key = (report.device, report.session)
        if key not in self._sessions:
            session, begun = self._begun.get(report.device, ("", at))
            started_at = min(begun, at) if session == report.session else at
            if len(self._sessions) >= MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[key] = database.device_session(report.device, report.session, started_at)
        return self._sessions[key]

    def _put_content(
        self, database: FleetDatabase, session: int, number: int, content: StoredContent, at: float
    ) -> None:
        match content:
            case None:
                pass
            case Event():
                database.put_event(session, content, at)
            case FleetGap():
                fields = content.model_dump(include={"source", "onset", "offset", "time", "reason"})
                database.add_gap(session, number, at, **fields)
            case FleetStatus(source=source, state=state, time=when):
                database.add_status(session, number, at, source=source, state=state, time=when, message=content.encoded)
            case _:
                database.put(session, content, at)

    def _refuse(self, report: Report, error: ContentError) -> None:
        self.counts["refused"] += 1
        self._warnings.warn("refused", f"{report.device}: a message is given up: {error}")


def believable(content: StoredContent, at: float) -> StoredContent:
    """Return what came at a time without a time of day that is still to come: it counts as when it came."""
    if content is None or isinstance(content, RemovedClip) or not is_to_come(content.time, at):
        return content
    if isinstance(content, SavedClip):
        return replace(content, time=None)
    return content.model_copy(update={"time": None})


def is_to_come(when: str | None, at: float) -> bool:
    """Return whether a time of day is after tomorrow, wherever on earth, at a time that is itself of a set clock."""
    tomorrow = datetime.fromtimestamp(at + DAY_S, timezone.utc).date().isoformat()
    return when is not None and at >= CLOCK_SET and when[:10] > tomorrow
