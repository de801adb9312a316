"""Write what devices report into the store, in batches, each report once however often it comes."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import identity
from htsat_edge.runtime.common.folders import try_file
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
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
from htsat_edge.runtime.store.engine import StorePlace
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.postgres import PostgresConnection
from htsat_edge.runtime.store.problems import LONGEST_S, ContentError, StoreError, explained
from htsat_edge.runtime.store.schema import ForeignDatabaseError, check_version, has_mark
from htsat_edge.runtime.store.schema_postgres import is_new

KEY, KEY_URL = "store.path", "store.url"
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
        self._file: tuple[int, int] | None = None
        """Which file is open."""
        self._sessions: dict[tuple[str, str], int] = {}
        """Numbers of sessions, by device and uid."""
        self._known: set[str] = set()
        """What has shown that it is a device."""
        self._begun: dict[str, tuple[str, float]] = {}
        """The session of each device, and when that began, by the last it has said of itself."""
        self._held: dict[str, TimedReport] = {}
        """Whether topics are online that have shown nothing else of a device: a source of a device has that, too."""
        self._warnings = RepeatedWarnings(logger)
        self.counts: Counter[str] = Counter()
        """`stored`, `repeated`, `refused`."""

    def open(self) -> None:
        """Look whether the store can be written; raise an HtsatEdgeError where that can never work.

        A server that is away is tried again later.
        """
        place = self._place
        if isinstance(place, Path):
            refuse_unfit(place)
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise HtsatEdgeError(f"{KEY}: {place}: cannot be written: {error.strerror}") from None
            store_lock.hold(KEY, place, "collect")
        try:
            with explained(place):
                self._opened()
        except ForeignDatabaseError as error:
            key = KEY if isinstance(place, Path) else KEY_URL
            raise HtsatEdgeError(f"{key}: {place}: {error}") from None
        except StoreError as error:
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
        known = set(self._known)
        try:
            with self._explained():
                self._attempt(batch)
        except ContentError as error:
            self._sessions.clear()
            self._known = known  # nothing of the batch was written
            if len(batch) == 1:
                self._refuse(batch[0].report, error)
                return
            middle = len(batch) // 2
            self.write(batch[:middle])
            self.write(batch[middle:])
        except BaseException:
            self.close()
            raise

    def prune(self, before: float) -> None:
        """Delete what was stored before a time, in seconds since 1970; raise a StoreError where that cannot be."""
        try:
            with self._explained(), self._opened() as database:
                database.prune(before)
        finally:
            self._sessions.clear()

    def newest(self) -> float | None:
        """Return when the last message was stored, in seconds since 1970; None without one."""
        with self._explained(), self._opened() as database:
            return database.last_at()

    def devices(self) -> list[tuple[str, bool | None, int]]:
        """Return each device, whether it is online, and how many of its messages never came."""
        with self._explained(), self._opened() as database:
            return database.fleet()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with explained(self._place), self._explained_damage():
                yield
        except ForeignDatabaseError as error:  # another one has taken its place
            raise StoreError(f"{self._place}: {error}") from None

    @contextmanager
    def _explained_damage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # its subclasses are other faults
                raise
            raise StoreError(
                f"{self._place}: is damaged ({error}); end this program and move the file away, with what is beside "
                "it (-wal, -shm): a new one is begun"
            ) from None

    def _opened(self) -> FleetDatabase:
        if self._database is not None and isinstance(self._place, Path) and _identity(self._place) != self._file:
            logger.warning("%s: was deleted or replaced; what is at the path now is written to", self._place)
            self.close()
        if self._database is None:
            self._sessions.clear()
            self._database = FleetDatabase(self._place)
            self._known = {device for device, _, _ in self._database.fleet()}
            self._file = _identity(self._place) if isinstance(self._place, Path) else None
        return self._database

    def _attempt(self, batch: Sequence[TimedReport]) -> None:
        counts: Counter[str] = Counter()
        with self._opened() as database:
            keys = {(one.report.device, one.report.session) for one in batch if isinstance(one.report, MessageReport)}
            if known := keys & self._sessions.keys():
                database.expect({self._sessions[key] for key in known})
            for report, at in batch:
                self._put(database, report, at, counts)
            settled = self._known & self._held.keys()
            for device in settled:
                self._put(database, *self._held[device], counts)
        self.counts += counts
        for device in settled:
            del self._held[device]

    def _put(self, database: FleetDatabase, report: Report, at: float, counts: Counter[str]) -> None:
        match report:
            case MessageReport(device):
                session = self._session(database, report, at)
                if not database.take(session, report.number, at):
                    counts["repeated"] += 1
                    return
                self._known.add(device)
                self._put_content(database, session, report.number, report.content, at)
                counts["stored"] += 1
            case InfoReport(device):
                self._known.add(device)
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
            case OnlineReport(device) if len(self._held) < MOST_HELD:
                self._held[device] = TimedReport(report, at)
            case _:
                pass  # the health of what is no device yet: it comes again soon

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


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        return identity(path)
    return None


def refuse_unfit(place: Path) -> None:
    """Raise an HtsatEdgeError where a file is none of a store, or one of a newer version."""
    refuse_foreign(KEY, place, has_mark)
    try:
        check_version(place)
    except ForeignDatabaseError as error:
        raise HtsatEdgeError(f"{KEY}: {place}: {error}; give another path") from None


def check_store(place: StorePlace) -> str:
    """Return the room for a store, or that its server answers; raise an HtsatEdgeError where it could not be written.

    Nothing is changed.
    """
    if not isinstance(place, Path):
        with closing(PostgresConnection(place, to_write=False, longest_s=LONGEST_S)) as connection:
            try:
                is_new(connection)
            except ForeignDatabaseError as error:
                raise HtsatEdgeError(f"{KEY_URL}: {place}: {error}") from None
        return f"{place} answers"
    refuse_unfit(place)
    store_lock.refuse_written(KEY, place)
    return try_file(place)
