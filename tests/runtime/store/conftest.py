"""Databases of earlier versions, eyes for databases, and a hand that fills one."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.connect import open_store
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.writes import LeftOut, SavedClip, ScoreRow, SourceSetup

ON_BOTH = ("test_filters", "test_figures", "test_fleet", "test_fleet_database", "test_reader", "test_verdicts")
"""Files of tests that run on SQLite and on PostgreSQL: what the pages ask, and what a collector writes."""
STORES = Path(__file__).parents[2] / "data" / "store"
AT = 1_777_663_800.0
"""2026-05-01 21:30 in Berlin."""
SETUP = Setup(
    model="three",
    step_s=0.32,
    labels=["Animal", "Bird", "Dog"],
    thresholds=[0.5, 0.25, None],
    releases=[0.3, 0.125, None],
    min_length=1,
    confirm=[0, 4, 0],
    merge_gap=1,
    below=[(1, 0)],
)


class StoreFiller:
    """Writes a store whose sources begin at AT; `at` is in seconds after that."""

    def __init__(self, path):
        self.path, self.database = path, Database(path)
        self.count = 0

    def session(self, uid="one"):
        return self.database.session(uid, AT)

    def event(self, label, onset, offset=None, *, source="yard", score=0.5, timed=True, uid="one"):
        """Add an event; return its key."""
        self.count += 1
        common = {"source": source, "id": self.count, "label": label, "onset": onset, "score": score}
        common["time"] = time_of(onset) if timed else None
        event = EventStart(**common) if offset is None else EventEnd(**common, offset=offset)
        with self.database:
            self.database.put_event(self.session(uid), event, AT + onset + 2)
        return self.count

    def put(self, *writes, at=0.0, uid="one"):
        with self.database:
            for write in writes:
                self.database.put(self.session(uid), write, AT + at)

    def setup(self, setup=SETUP, source="yard", uid="one", onset=0.0):
        self.put(SourceSetup(source, setup, onset), uid=uid)

    def scores(self, onset, scores, source="yard", timed=True, uid="one"):
        scores = np.asarray(scores, np.float32)
        row = ScoreRow(source, onset, 0.32, time_of(onset) if timed else None, scores)
        self.put(row, at=onset + 0.32 * len(scores), uid=uid)

    def clip(self, number, name, onset, offset, source="yard", uid="one"):
        self.put(SavedClip(source, number, name, onset, offset, time_of(onset)), at=offset, uid=uid)

    def left_out(self, label, onset, offset=None, rule="suppress", source="yard"):
        self.count += 1
        common = {"source": source, "id": self.count, "label": label, "onset": onset, "time": time_of(onset)}
        self.put(LeftOut(EventStart(**common, score=0.7), rule), at=onset)
        if offset is not None:
            self.put(LeftOut(EventEnd(**common, score=0.9, offset=offset), rule), at=offset)

    def gap(self, onset, offset, source="yard", reason="overrun", **session):
        self.count += 1
        with self.database:
            self.database.add_gap(
                self.session(**session),
                self.count,
                AT + offset,
                source=source,
                onset=onset,
                offset=offset,
                time=time_of(onset),
                reason=reason,
            )

    def status(self, state, onset, source="yard", more=None, **session):
        self.count += 1
        message = json.dumps({"state": state, **(more or {})})
        row = {"source": source, "state": state, "time": time_of(onset), "message": message}
        with self.database:
            self.database.add_status(self.session(**session), self.count, AT + onset, **row)


def time_of(onset):
    return format_time(datetime.fromtimestamp(AT + onset, timezone.utc))


def pytest_generate_tests(metafunc):
    """Run the tests of some files on both engines."""
    if "place" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in ON_BOTH:
        metafunc.parametrize("place", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def place(request, tmp_path):
    """Where a new store is."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return tmp_path / "store.db"
    return PostgresUrl(request.getfixturevalue("postgres").url())


@pytest.fixture
def filler(place):
    """Writes a new store."""
    filler = StoreFiller(place)
    with closing(filler.database):
        yield filler


class FleetFiller(StoreFiller):
    """Writes a store of a fleet; each session is of the device that is before its `/`."""

    def __init__(self, path):
        self.path, self.database = path, FleetDatabase(path)
        self.count = 0

    def session(self, uid="barn/one"):
        return self.database.device_session(uid.partition("/")[0], uid, AT)

    def take(self, *numbers, uid="barn/one", at=AT):
        """Take numbered messages in one transaction; return which of them are to be stored."""
        with self.database:
            return [number for number in numbers if self.database.take(self.session(uid), number, at)]


@pytest.fixture
def fleet(place):
    """Writes a new store of a fleet."""
    filler = FleetFiller(place)
    with closing(filler.database):
        yield filler


@pytest.fixture
def fleet_reader(fleet):
    """Reads what the fleet writes."""
    with StoreReader(fleet.path) as opened:
        yield opened


@pytest.fixture
def reader(filler):
    """Reads what the filler writes."""
    with StoreReader(filler.path) as opened:
        yield opened


@pytest.fixture
def v0(tmp_path):
    """A copy of tests/data/store/v0.db, which its README describes."""
    return Path(shutil.copy(STORES / "v0.db", tmp_path / "v0.db"))


@pytest.fixture
def v1(tmp_path):
    """A copy of tests/data/store/v1.db."""
    return Path(shutil.copy(STORES / "v1.db", tmp_path / "v1.db"))


@pytest.fixture
def query():
    """The rows of a query on a database that others may have open."""

    def rows(path, statement, *values):
        opened = open_store(path) if isinstance(path, PostgresUrl) else sqlite3.connect(path)
        with closing(opened) as database:
            return database.execute(statement, values).fetchall()

    return rows


@pytest.fixture
def dump():
    """All of a database, as SQL, with its version."""

    def text(path):
        with closing(sqlite3.connect(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            return [f"version {version}", *database.iterdump()]

    return text
