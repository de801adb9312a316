"""Scores on their way into the store: every step once, in rows of a minute at most."""

import sqlite3
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, StoreConfig
from htsat_edge.runtime.daemon.outputs import store as outputs
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.daemon.score_recorder import ScoreRecorder
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.setup import Setup

pytestmark = pytest.mark.usefixtures("short_pauses")
INFO = load_bundle(BUNDLED).info
STEP_S = INFO.step_s
RNG = np.random.default_rng(0)


def ask(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


class Kept:
    """In place of the store: keeps what it is given."""

    def __init__(self):
        self.writes, self.rows = [], []

    def record(self, write):
        self.writes.append(write)

    def record_scores(self, row):
        self.rows.append(row)


@pytest.fixture
def session():
    feed, system = Feed("yard", threading.Event(), live=False), SystemClock(time.time(), time.monotonic())
    return SourceSession(feed, INFO, Settings(threshold=0.5), HealthConfig(), system)


def drawn(steps):
    return RNG.uniform(0.02, 0.99, (steps, len(INFO.labels))).astype(np.float32)


def end(onset=0.0):
    return EventEnd(source="yard", id=1, label="Dog", onset=onset, offset=onset + 1, time=None, score=0.5)


def test_rows_join_without_a_step_lost_or_twice(session):
    store = Kept()
    recorder = ScoreRecorder(store, session)
    (setup,) = store.writes
    assert (setup.source, setup.setup) == ("yard", Setup.of(INFO, session.settings))
    wanted, begun = [], {}
    for begin_s in (0.0, 1000.0):
        at_s, begun[begin_s] = begin_s, len(wanted)
        for steps in (1, 3, 500, 2, 2, 187, 40):
            scores = drawn(steps)
            recorder.scores(at_s, STEP_S, scores)
            wanted.append(scores)
            at_s += steps * STEP_S
            recorder.event(end()) if steps == 2 else None
        recorder.interrupted(at_s)
    np.testing.assert_array_equal(np.concatenate([row.scores for row in store.rows]), np.concatenate(wanted))
    lengths = [len(row.scores) for row in store.rows]
    assert max(lengths) * STEP_S <= 60
    half = len(lengths) // 2
    assert lengths[:half] == lengths[half:]
    for rows, begin_s in ((store.rows[:half], 0.0), (store.rows[half:], 1000.0)):
        onsets = begin_s + STEP_S * np.cumsum([0, *(len(row.scores) for row in rows[:-1])])
        assert [row.onset for row in rows] == pytest.approx(onsets, abs=1e-4)


def test_after_the_end_of_an_event_its_scores_are_soon_there_but_rows_stay_long(session):
    store = Kept()
    recorder = ScoreRecorder(store, session)
    for step in range(200):
        recorder.scores(step * STEP_S, STEP_S, drawn(1))
        if step % 3 == 0:
            recorder.event(EventStart(source="yard", id=1, label="Dog", onset=0.0, time=None, score=0.5))
            recorder.event(end())
    lengths = {len(row.scores) for row in store.rows}
    assert min(lengths) * STEP_S > 5 - STEP_S
    assert max(lengths) * STEP_S < 6


def test_a_row_that_is_short_when_an_event_ends_waits_for_a_few_seconds(session):
    store = Kept()
    recorder = ScoreRecorder(store, session)
    for step in range(200):
        recorder.scores(step * STEP_S, STEP_S, drawn(1))
        if step == 3:
            recorder.event(end())
    assert [len(row.scores) for row in store.rows] == [int(5 / STEP_S)]


def test_only_the_setup_and_what_rules_left_out_where_no_scores_are_wanted(session):
    store = Kept()
    recorder = ScoreRecorder(store, session, with_scores=False)
    recorder.scores(0.0, STEP_S, drawn(1000))
    start = EventStart(source="yard", id=7, label="Dog", onset=3.0, time=None, score=0.5)
    recorder.left_out(start, "cooldown")
    recorder.interrupted(320.0)
    assert store.rows == []
    assert [(write.event, write.rule) for write in store.writes[1:]] == [(start, "cooldown")]


def test_a_row_that_cannot_be_made_disturbs_nothing_that_follows(session, caplog):
    store = Kept()
    recorder = ScoreRecorder(store, session)
    recorder.scores(0.0, STEP_S, drawn(10))
    recorder.failed("MemoryError")
    recorder.scores(10 * STEP_S, STEP_S, drawn(200))
    assert store.rows[0].onset == pytest.approx(10 * STEP_S)
    assert "yard: MemoryError; scores are lost" in caplog.text


def test_what_is_stored_is_read_again(tmp_path, session):
    path, scores, began = tmp_path / "events.db", drawn(400), time.time()
    output = StoreOutput(StoreConfig(path=path))
    recorder = ScoreRecorder(output, session)
    output.start()
    recorder.scores(0.0, STEP_S, scores)
    recorder.left_out(EventStart(source="yard", id=7, label="Dog", onset=3.0, time=None, score=0.5), "cooldown")
    recorder.interrupted(400 * STEP_S)
    output.close()
    assert (output.dropped, output.undelivered) == (0, 0)
    with StoreReader(path) as reader:
        (run,) = reader.score_runs("yard", began - 1000, began + 1000)
        assert (run.setup, run.onset) == (Setup.of(INFO, session.settings), 0.0)
        np.testing.assert_allclose(run.scores, scores, atol=0.015)
        (left_out,) = reader.left_out("yard", began - 1000, began + 1000)
        assert (left_out.id, left_out.rule, left_out.label) == (7, "cooldown", "Dog")


def test_a_new_database_in_place_of_a_damaged_one_has_the_setups_too(tmp_path, session, wait_for):
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    recorder = ScoreRecorder(output, session)
    output.start()
    wait_for(lambda: ask(path, "SELECT count(*) FROM setups") == [(1,)])
    output.closed()
    path.write_bytes(b"no database at all" * 1000)
    recorder.scores(0.0, STEP_S, drawn(10))
    recorder.interrupted(10 * STEP_S)
    output.close()
    assert ask(path, "SELECT count(*) FROM setups") == ask(path, "SELECT count(*) FROM scores") == [(1,)]


def test_scores_that_cannot_be_written_are_bounded_and_every_message_is_kept(
    tmp_path, session, make_events, monkeypatch, wait_for
):
    """The database is locked by another program for long."""
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)
    monkeypatch.setattr(outputs, "MOST_ROWS", 5)
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    recorder = ScoreRecorder(output, session)
    output.start()
    wait_for(lambda: ask(path, "SELECT count(*) FROM setups") == [(1,)])
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number, event in enumerate(make_events(300)):
            output.offer(event)
            recorder.scores(number * STEP_S, STEP_S, drawn(1))
            recorder.interrupted((number + 1) * STEP_S)
        assert len(output._rows) == 5
        wait_for(lambda: output.failing)
        other.rollback()
    output.close()
    assert (output.undelivered, output.dropped, output._rows) == (0, 0, {})
    assert ask(path, "SELECT count(*) FROM events") == [(300,)]
    assert ask(path, "SELECT onset FROM scores") == [(pytest.approx(k * STEP_S, abs=1e-4),) for k in range(295, 300)]


def put_row(output, recorder, number):
    """Give a row; return what the output then has to send."""
    recorder.scores(number * STEP_S, STEP_S, drawn(1))
    recorder.interrupted((number + 1) * STEP_S)
    return [output._queue.get_nowait() for _ in range(output.waiting)]


def test_scores_that_are_lost_are_not_kept(tmp_path, session, caplog, monkeypatch):
    """Given up by the sender, or not taken: they are none of those that wait."""
    monkeypatch.setattr(outputs, "MOST_ROWS", 3)
    output = StoreOutput(StoreConfig(path=tmp_path / "events.db"))
    recorder = ScoreRecorder(output, session)
    for number in range(9):
        batch = put_row(output, recorder, number)
        if number != 5:
            monkeypatch.setattr(output, "_write", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                output.send(batch)
            monkeypatch.undo()
            monkeypatch.setattr(outputs, "MOST_ROWS", 3)
            assert len(output._rows) == 1
    output._queue.maxsize = 1
    for number in range(9, 15):
        recorder.scores(number * STEP_S, STEP_S, drawn(1))
        recorder.interrupted((number + 1) * STEP_S)
    assert len(output._rows) == 2
    assert "so many scores wait" not in caplog.text
    output.send([output._queue.get_nowait()])
    output.closed()
    assert output._rows == {}


def test_a_new_database_that_is_opened_between_two_batches_has_the_setups_too(tmp_path, session):
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    recorder = ScoreRecorder(output, session)
    output.send([output._queue.get_nowait()])
    output.closed()
    path.unlink()
    output.idle()
    output.send(put_row(output, recorder, 0))
    output.closed()
    assert ask(path, "SELECT count(*) FROM in_force") == ask(path, "SELECT count(*) FROM scores") == [(1,)]


def test_where_thresholds_change_a_row_ends_and_the_next_has_another_setup(session):
    store = Kept()
    recorder = ScoreRecorder(store, session)
    recorder.scores(0.0, STEP_S, drawn(10))
    session.settings = Settings(threshold=0.25)
    recorder.retuned(10 * STEP_S)
    recorder.retuned(10 * STEP_S)
    recorder.scores(10 * STEP_S, STEP_S, drawn(5))
    recorder.interrupted(15 * STEP_S)
    assert [(write.onset, write.setup.thresholds[0]) for write in store.writes] == [(0.0, 0.5), *[(3.2, 0.25)] * 2]
    assert [(row.onset, len(row.scores), row.limits[1, 0]) for row in store.rows] == [(0.0, 10, 0.5), (3.2, 5, 0.25)]


def test_a_row_that_cannot_be_made_where_thresholds_change_costs_no_setup(session, monkeypatch):
    store = Kept()
    recorder = ScoreRecorder(store, session)
    recorder.scores(0.0, STEP_S, drawn(10))
    monkeypatch.setattr(recorder, "_end_row", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recorder.retuned(3.2)
    assert [write.onset for write in store.writes] == [0.0, 3.2]


def test_a_new_database_gets_the_setups_that_scores_which_wait_need(tmp_path, session):
    """And no other: they would be kept for as long as the daemon runs."""
    path = tmp_path / "events.db"
    output = StoreOutput(StoreConfig(path=path))
    recorder = ScoreRecorder(output, session)
    for number in range(1, 4):
        recorder.scores((number - 1) * STEP_S, STEP_S, drawn(1))
        recorder.retuned(number * STEP_S)
    waiting = [output._queue.get_nowait() for _ in range(output.waiting)]
    output.send(waiting[:3])  # two setups, and the row between them
    path.unlink()
    output.send(waiting[3:])
    output.closed()
    assert ask(path, "SELECT onset FROM in_force") == [(pytest.approx(k * STEP_S),) for k in (1, 2, 3)]
    assert [*output._setups] == [("yard", pytest.approx(3 * STEP_S))]
    assert ask(path, "SELECT count(*) FROM scores") == [(2,)]
