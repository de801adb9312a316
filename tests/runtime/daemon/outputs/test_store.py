"""The store as an output: nothing is lost through locks, failures and damage."""

import sqlite3
import time
from contextlib import closing

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.clock import clock_offset
from htsat_edge.runtime.daemon.config import StoreConfig
from htsat_edge.runtime.daemon.messages import ClockSet, GapMessage, InputFault
from htsat_edge.runtime.daemon.outputs.store import Received, StoreOutput
from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.store.database import Database

pytestmark = pytest.mark.usefixtures("short_pauses")


def ask(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def stored(path):
    """Return the events of a database as starts, as a test sends them."""
    rows = ask(path, "SELECT source, number, label, onset, time, score FROM events ORDER BY id")
    return [
        EventStart(source=source, id=number, label=label, onset=onset, time=at, score=score)
        for source, number, label, onset, at, score in rows
    ]


def start(path, **settings):
    output = StoreOutput(StoreConfig(path=path, **settings))
    output.start()
    return output


def offer(output, messages):
    for message in messages:
        output.offer(message)


def test_runs_are_sessions_and_an_event_is_one_row(tmp_path, make_events):
    path = tmp_path / "var" / "state" / "events.db"
    for _ in range(2):
        output = start(path)
        offer(output, make_events(120))
        offer(output, make_events(60, kind="end"))
        output.close()
        assert (output.sent, output.dropped) == (180, 0)
    assert stored(path) == make_events(120) * 2
    assert ask(path, "SELECT count(*) FROM events WHERE offset = 0.5") == [(120,)]
    assert ask(path, "SELECT count(*) FROM events WHERE offset IS NULL") == [(120,)]
    assert ask(path, "SELECT count(DISTINCT session) FROM events") == [(2,)]
    ((earliest, latest),) = ask(path, "SELECT min(stored_at), max(stored_at) FROM events")
    assert time.time() - 60 < earliest <= latest <= time.time()


def test_gaps_and_statuses_have_tables_of_their_own(tmp_path):
    path = tmp_path / "events.db"
    output = start(path)
    fault = InputFault(source="yard", time=None, problem="clipping", advice="turn the gain down")
    clock = ClockSet(time="2026-11-26T18:00:00.000+00:00", by_s=3600)
    offer(output, [GapMessage(source="yard", onset=1.5, offset=2.5, time=None, reason="unplugged"), fault, clock])
    output.close()
    assert ask(path, "SELECT number, source, onset, offset, time, reason FROM gaps") == [
        (1, "yard", 1.5, 2.5, None, "unplugged")
    ]
    assert ask(path, "SELECT number, source, state, time, message FROM statuses ORDER BY id") == [
        (2, "yard", "input_fault", None, fault.encoded),
        (3, None, "clock_set", clock.time, clock.encoded),
    ]


def test_a_locked_database_loses_nothing(tmp_path, make_events, monkeypatch, wait_for):
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)
    path = tmp_path / "events.db"
    output = start(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        offer(output, make_events(300))
        wait_for(lambda: output.failures > 1)
        assert output.sent == 0
        other.rollback()
    output.close()
    assert stored(path) == make_events(300)
    assert list(output.notices()) == ["database is locked; it is tried again", None]


def test_a_database_that_is_locked_at_the_start_is_tried_again(tmp_path, make_events, monkeypatch, wait_for, caplog):
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        output = start(path)
        assert "database is locked; it is tried again" in caplog.text
        other.rollback()
    offer(output, make_events(3))
    output.close()
    assert stored(path) == make_events(3)


def test_what_was_stored_before_the_failure_was_noticed_is_not_stored_twice(tmp_path, make_events):
    failed = []

    class FailsAfterwards(StoreOutput):
        def send(self, batch):
            super().send(batch)
            if not failed:
                failed.append(True)
                raise sqlite3.OperationalError("disk I/O error")

    path = tmp_path / "events.db"
    output = FailsAfterwards(StoreConfig(path=path))
    output.start()
    gap = GapMessage(source="yard", onset=1.5, offset=2.5, time=None, reason="unplugged")
    clock = ClockSet(time=None, by_s=3600)
    offer(output, [*make_events(10), gap, clock, gap])
    output.close()
    assert failed
    assert stored(path) == make_events(10)
    assert ask(path, "SELECT count(*) FROM gaps") == [(2,)]
    assert ask(path, "SELECT count(*) FROM statuses") == [(1,)]


def test_a_damaged_database_is_kept_aside_and_a_new_one_begun(tmp_path, make_events, caplog):
    """Twice in a second, too; a file that is no database is left alone, see test_wrong_paths.py."""
    path = tmp_path / "events.db"
    for number in range(2):
        Database(path).close()
        with path.open("r+b") as file:
            file.seek(100)
            file.write(b"no page of a tree" * 200)
        output = start(path)
        offer(output, make_events(1, first=number))
        output.close()
        assert stored(path) == make_events(1, first=number)
    asides = sorted(tmp_path.glob("events.db.damaged-*[0-9]"))
    assert len(asides) == 2
    assert all(b"no page of a tree" in aside.read_bytes() for aside in asides)
    assert "database disk image is malformed; it is kept as events.db.damaged-" in caplog.text


def test_a_database_that_is_damaged_while_it_is_used(tmp_path, make_events, wait_for):
    path = tmp_path / "events.db"
    output = start(path)
    offer(output, make_events(200))
    wait_for(lambda: output.sent == 200)
    output.closed()
    path.write_bytes(b"no database at all" * 1000)
    offer(output, make_events(10, first=200))
    output.close()
    assert stored(path) == make_events(10, first=200)
    assert len(list(tmp_path.glob("events.db.damaged-*"))) >= 1


def test_a_database_that_is_damaged_while_it_is_open(tmp_path, make_events):
    """What is to be sent is sent again, into a new one."""
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    first, second = ([Received(event, event.id, time.time(), clock_offset())] for event in make_events(2))
    output.send(first)
    assert ask(path, "PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]  # all of it is in one file
    with path.open("r+b") as file:
        file.write(b"no database at all" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        output.send(second)
    output.send(second)
    output.closed()
    assert stored(path) == [second[0].content]
    (aside,) = tmp_path.glob("events.db.damaged-*[0-9]")
    assert aside.read_bytes().startswith(b"no database at all")


def remove(path):
    for file in path.parent.glob("events.db*"):
        file.unlink()


def remove_without_the_log(path):
    path.unlink()


def replace(path):
    other = path.with_name("other.db")
    Database(other).close()
    other.rename(path)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("lose", [remove, remove_without_the_log, replace, empty])
@pytest.mark.parametrize("noticed", ["idle", "at a batch"])
def test_a_database_that_is_lost_while_it_is_open_is_begun_anew(lose, noticed, tmp_path, make_events, caplog):
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    starts, ends = make_events(3), make_events(1, kind="end")
    output.send([Received(event, event.id, time.time(), clock_offset()) for event in starts[:2]])
    lose(path)
    if noticed == "idle":
        output.idle()
        assert ask(path, "SELECT count(*) FROM sessions") == [(1,)]
    output.send([Received(event, 3 + event.id, time.time(), clock_offset()) for event in [*ends, starts[2]]])
    assert sorted(ask(path, "SELECT number, offset FROM events")) == [(ends[0].id, 0.5), (starts[2].id, None)]
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
    output.send([Received(event, 5, time.time(), clock_offset()) for event in starts[1:2]])
    output.closed()
    assert len(stored(path)) == 3
    assert [record.levelname for record in caplog.records] in (["WARNING"], ["ERROR"])


@pytest.mark.parametrize("foreign", ["text", "database"])
def test_what_takes_the_place_of_the_database_and_is_not_ours_is_left_alone(foreign, tmp_path, make_events, wait_for):
    path, other = tmp_path / "events.db", tmp_path / "other.db"
    output = start(path)
    offer(output, make_events(2))
    wait_for(lambda: output.sent == 2)
    if foreign == "text":
        other.write_text("Dear Sir or Madam,\nyour dog\n")
    else:
        with closing(sqlite3.connect(other)) as database:
            database.execute("CREATE TABLE theirs (a)")
    content = other.read_bytes()
    other.rename(path)
    offer(output, make_events(3, first=2))
    wait_for(lambda: output.failing)
    assert path.read_bytes() == content
    assert "events.db: was not written by htsat-edge, and is left as it is" in next(output.notices())
    path.unlink()
    wait_for(lambda: output.sent == 5)
    output.close()
    assert stored(path) == make_events(3, first=2)


def test_a_path_that_cannot_be_is_an_error_before_anything_begins(tmp_path):
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(HtsatEdgeError, match=r"outputs.store.path: .*folder.db: is no regular file"):
        start(tmp_path / "folder.db")
    (tmp_path / "file").write_text("")
    with pytest.raises(HtsatEdgeError, match=r"outputs.store.path: .*events.db: cannot be written: "):
        start(tmp_path / "file" / "events.db")


@pytest.mark.parametrize("batch", [1, 100])
def test_a_message_that_cannot_be_stored_is_set_aside_and_the_others_are_stored(batch, tmp_path, make_events):
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    output.batch = batch
    faulty = make_events(1, first=3, source="K\udcfcche")
    offer(output, [*make_events(3), *faulty, *make_events(3, first=4)])
    output.start()
    output.close()
    assert stored(path) == [*make_events(3), *make_events(3, first=4)]
    assert (output.sent, output.dropped, output.undelivered) == (6, 1, 0)
    assert [notice and notice.partition("; ")[2] for notice in output.notices()] == [
        "it is tried again",
        "what cannot be sent is set aside after 8 tries",
        None,
    ]
