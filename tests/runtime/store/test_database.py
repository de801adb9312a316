import sqlite3
from contextlib import closing

import numpy as np
import pytest

from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.database import Database

COLUMNS = "source, number, label, onset, offset, time, score, stored_at"


def start(id=1, source="yard", label="Dog", onset=1.28, score=0.5, time="then"):
    return EventStart(source=source, id=id, label=label, onset=onset, time=time, score=score)


def end(id=1, source="yard", label="Dog", onset=0.96, offset=3.2, score=0.9, time="then"):
    return EventEnd(source=source, id=id, label=label, onset=onset, offset=offset, time=time, score=score)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def database(path):
    with closing(Database(path)) as opened:
        yield opened


@pytest.fixture
def put(database):
    """Write events of one session, each in a transaction of its own."""

    def events(*events, uid="one", at=100.0):
        for event in events:
            with database:
                database.put_event(database.session(uid, 1.0), event, at)

    return events


def test_a_start_is_an_open_event(put, path, query):
    put(start())
    assert query(path, f"SELECT {COLUMNS} FROM events") == [("yard", 1, "Dog", 1.28, None, "then", 0.5, 100.0)]


def test_an_end_completes_it(put, path, query):
    """With an onset that may be more exact, and the peak; it stays stored when it was."""
    put(start())
    put(end(time="exactly then"), at=200.0)
    found = [("yard", 1, "Dog", 0.96, 3.2, "exactly then", 0.9, 100.0)]
    assert query(path, f"SELECT {COLUMNS} FROM events") == found


def test_an_end_without_a_start_is_an_event(put, path, query):
    put(end())
    assert query(path, f"SELECT {COLUMNS} FROM events") == [("yard", 1, "Dog", 0.96, 3.2, "then", 0.9, 100.0)]


def test_the_same_again_changes_nothing(put, path, dump):
    put(start())
    before = dump(path)
    put(start(score=0.6, onset=2.0), at=200.0)
    assert dump(path) == before
    put(end())
    before = dump(path)
    put(start(score=0.6), end(), start(), at=200.0)
    assert dump(path) == before


def test_numbers_count_in_their_source_and_session(put, path, query):
    put(start(), start(source="pond"), start(id=2))
    put(end(), uid="two")
    found = query(path, "SELECT session, source, number, offset FROM events ORDER BY id")
    assert found == [(1, "yard", 1, None), (1, "pond", 1, None), (1, "yard", 2, None), (2, "yard", 1, 3.2)]


def test_a_session_is_added_once(database, path, query):
    with database:
        assert database.session("one", 10.0) == 1
        assert database.session("two", 20.0) == 2
        assert database.session("one", 30.0) == 1
    assert query(path, "SELECT id, uid, started_at FROM sessions") == [(1, "one", 10.0), (2, "two", 20.0)]


GAP = {"source": "yard", "onset": 1.0, "offset": 2.0, "time": None, "reason": "overrun"}
STATUS = {"source": None, "state": "clock_set", "time": "now", "message": '{"by_s": 3600.0}'}


def test_gaps_and_statuses_are_added_once(database, path, query):
    for at in (100.0, 200.0):
        with database:
            session = database.session("one", 1.0)
            database.add_gap(session, 3, at, **GAP)
            database.add_status(session, 4, at, **STATUS)
    gaps = query(path, "SELECT session, number, source, onset, offset, time, reason, stored_at FROM gaps")
    assert gaps == [(1, 3, "yard", 1.0, 2.0, None, "overrun", 100.0)]
    statuses = query(path, "SELECT session, number, source, state, time, message, stored_at FROM statuses")
    assert statuses == [(1, 4, None, "clock_set", "now", '{"by_s": 3600.0}', 100.0)]


def write_and_break_off(database):
    with database:
        session = database.session("two", 1.0)
        database.put_event(session, start(), 100.0)
        database.add_gap(session, 1, 100.0, **GAP)
        raise KeyboardInterrupt


def test_all_or_none_of_a_transaction(put, database, path, dump):
    put(start())
    before = dump(path)
    with pytest.raises(KeyboardInterrupt):
        write_and_break_off(database)
    assert dump(path) == before
    put(end())  # the next transaction is as good as any
    assert dump(path) != before


def test_prune_deletes_what_was_stored_before(database, path, query):
    for uid, at in (("old", 10.0), ("both", 10.0), ("both", 30.0), ("new", 30.0)):
        with database:
            session, number = database.session(uid, at), int(at)
            database.put_event(session, start(id=number), at)
            database.add_gap(session, number, at, **GAP)
            database.add_status(session, number, at, **STATUS)
    with database:
        database.prune(30.0)
    for table in ("events", "gaps", "statuses"):
        found = query(path, f"SELECT uid, stored_at FROM {table} JOIN sessions ON session = sessions.id ORDER BY uid")
        assert found == [("both", 30.0), ("new", 30.0)]
    assert query(path, "SELECT uid FROM sessions ORDER BY id") == [("both",), ("new",)]


UNSET = 1_735_689_600.0


def fill(database, uid, number, at, time):
    """Store one row of each kind."""
    with database:
        session = database.session(uid, at)
        database.put_event(session, start(id=number, time=time), at)
        database.add_gap(session, number, at, **{**GAP, "time": time})
        database.add_status(session, number, at, **{**STATUS, "time": time})
    return session


def test_redate_moves_one_session_and_times_of_a_clock_that_was_never_set(database, path, query):
    one = fill(database, "one", 1, 10.0, "1970-01-01T01:00:09.500+01:00")
    fill(database, "one", 2, 20.0, "2026-11-26T18:00:00.000+00:00")
    fill(database, "one", 3, 30.0, None)
    fill(database, "one", 4, 40.0, "1970, or so")
    fill(database, "two", 1, 10.0, "1970-01-01T00:00:09.500+00:00")
    with database:
        database.redate(one, 86_400.0, UNSET)
    for table in ("events", "gaps", "statuses"):
        assert query(path, f"SELECT stored_at, time FROM {table} ORDER BY id") == [
            (86_410.0, "1970-01-02T01:00:09.500+01:00"),
            (86_420.0, "2026-11-26T18:00:00.000+00:00"),
            (86_430.0, None),
            (86_440.0, "1970, or so"),
            (10.0, "1970-01-01T00:00:09.500+00:00"),
        ]
    assert query(path, "SELECT started_at FROM sessions ORDER BY id") == [(86_410.0,), (10.0,)]


def test_the_newest_of_the_other_sessions(database):
    assert database.newest(but=1) is None
    one = fill(database, "one", 1, 10.0, None)
    assert database.newest(but=one) is None
    two = fill(database, "two", 1, 30.0, None)
    fill(database, "two", 2, 20.0, None)
    assert (database.newest(but=one), database.newest(but=two)) == (30.0, 10.0)


def test_what_has_a_wrong_date_counts_as_just_stored(database, path, query):
    one, two, three = (fill(database, uid, 1, at, None) for uid, at in (("1", 10.0), ("2", 900.0), ("3", 500.0)))
    fill(database, "1", 2, 14.0, None)
    fill(database, "1", 3, 500.0, None)
    fill(database, "2", 2, 903.0, None)
    with database:
        assert database.adopt(100.0, 800.0, 600.0) == {one, two}
    for table in ("events", "gaps", "statuses"):
        found = query(path, f"SELECT session, stored_at FROM {table} ORDER BY session, number")
        assert found == [(one, 596.0), (one, 600.0), (one, 500.0), (two, 597.0), (two, 600.0), (three, 500.0)]
    with database:
        assert database.adopt(100.0, 800.0, 600.0) == set()


@pytest.mark.parametrize("table", ["events", "gaps", "statuses"])
def test_a_session_lives_as_long_as_anything_of_it(table, database, path, query):
    with database:
        session = database.session("one", 10.0)
        if table == "events":
            database.put_event(session, start(), 40.0)
        elif table == "gaps":
            database.add_gap(session, 1, 40.0, **GAP)
        else:
            database.add_status(session, 1, 40.0, **STATUS)
        database.prune(30.0)
    assert query(path, "SELECT uid FROM sessions") == [("one",)]
    with database:
        database.prune(50.0)
    assert query(path, "SELECT uid FROM sessions") == []


def test_a_session_that_has_just_begun_is_kept(database, path, query):
    with database:
        database.session("one", 30.0)
        database.prune(30.0)
    assert query(path, "SELECT uid FROM sessions") == [("one",)]


def scores_of(query, path):
    return [onset for (onset,) in query(path, "SELECT onset FROM scores ORDER BY onset")]


def test_scores_have_an_age_and_a_quota_of_their_own(filler, query):
    for minute in range(10):
        filler.scores(60.0 * minute, np.full((187, 3), 0.5))
    filler.event("Dog", 1.0, 2.0)
    (size,) = {size for (size,) in query(filler.path, "SELECT size FROM scores")}
    assert 200 < size < 300
    begun = 1_777_663_800.0
    for before, most, left in (
        (0, 10 * size, 10),
        (begun + (60.0 + 0.32 * 187), 1e9, 9),
        (0, 9 * size, 9),
        (0, 9 * size - 1, 8),
        (0, 2.5 * size, 2),
        (0, 0, 0),
        (0, 0, 0),
    ):
        with filler.database:
            filler.database.prune_scores(before, most)
        assert scores_of(query, filler.path) == [60.0 * minute for minute in range(10 - left, 10)]
    assert query(filler.path, "SELECT count(*) FROM events") == [(1,)]


def test_a_session_lives_as_long_as_its_scores_and_its_setup_no_longer(filler, query):
    filler.setup()
    filler.scores(0.0, np.full((10, 3), 0.5))
    for before, left in ((0, 1), (1e11, 0)):
        with filler.database:
            filler.database.prune(1e11)
            filler.database.prune_scores(before, 1e9)
            filler.database.prune(1e11)
        counts = "SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM setups)"
        assert query(filler.path, counts) == [(left, left)]


def test_a_setup_is_stored_once_while_any_session_uses_it(filler, query):
    """However often the daemon is started again."""
    rows = "SELECT (SELECT count(*) FROM in_force), (SELECT count(*) FROM setups)"
    other = filler.setup.__defaults__[0].model_copy(update={"model": "another"})
    for uid in ("one", "two", "three"):
        for source in ("yard", "gate"):
            filler.setup(source=source, uid=uid)
    assert query(filler.path, rows) == [(6, 1)]
    filler.setup(other)
    filler.event("Dog", 1.0, 2.0, uid="two")
    for before, left in ((0, (6, 2)), (1_777_663_801.0, (2, 1)), (1e11, (0, 0))):
        with filler.database:
            filler.database.prune(before)
        assert query(filler.path, rows) == [left]


def test_what_rules_left_out_and_clips_are_pruned(filler, query):
    filler.left_out("Dog", 10.0)
    filler.clip(1, "one.flac", 0.0, 10.0)
    for before, left in ((10.0, 1), (11.0, 0)):
        with filler.database:
            filler.database.prune(1_777_663_800.0 + before)
        counts = "SELECT (SELECT count(*) FROM left_out), (SELECT count(*) FROM clips)"
        assert query(filler.path, counts) == [(left, left)]


def test_a_setup_may_change(filler, reader):
    setup = filler.setup.__defaults__[0]
    filler.setup()
    filler.setup(setup.model_copy(update={"model": "another"}))
    assert [source.setup.model for source in reader.sources()] == ["another"]


def test_readers_do_not_wait_for_the_writer(put, database, path, query):
    put(start())
    with database:
        database.put_event(database.session("one", 1.0), end(), 100.0)
        assert query(path, "SELECT offset FROM events") == [(None,)]
    assert query(path, "SELECT offset FROM events") == [(3.2,)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]


def test_a_second_writer_waits_for_the_first(put, path):
    """And gives up: what it had to write is written later."""
    put(start())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            put(end())
        other.execute("ROLLBACK")
    put(end())


def test_what_is_committed_is_on_the_disk(database, path):
    """Without the -wal file of a clean end: a copy of both is what a power cut leaves."""
    with database:
        database.put_event(database.session("one", 1.0), start(), 100.0)
    copy = path.with_name("copy.db")
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    with closing(sqlite3.connect(copy)) as after:
        assert after.execute("SELECT label FROM events").fetchall() == [("Dog",)]


def test_a_database_that_is_closed_is_not_used(path):
    database = Database(path)
    database.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        database.session("one", 1.0)


def test_a_folder_that_is_not_there_is_no_damage(tmp_path):
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        Database(tmp_path / "absent" / "store.db")
