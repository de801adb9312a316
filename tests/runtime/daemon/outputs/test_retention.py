"""How long the store keeps what it has, while the clock of the system is set, wrong, or never set."""

import sqlite3
import time
from contextlib import closing

import pytest

from htsat_edge.runtime.daemon.config import StoreConfig
from htsat_edge.runtime.daemon.messages import ClockSet, GapMessage
from htsat_edge.runtime.daemon.outputs.store import DAY_S, PRUNE_S, StoreOutput

NOW = 1_800_000_000.0
KEEP_DAYS = 10
YEARS_S = 20 * 365 * DAY_S


@pytest.fixture
def clock(monkeypatch):
    """The clocks of a device: `pass_s` lets time go by, `set_to` sets the time of day."""

    class Clock:
        wall_s, monotonic_s = NOW, 100.0

        def pass_s(self, seconds):
            self.wall_s, self.monotonic_s = self.wall_s + seconds, self.monotonic_s + seconds

        def set_to(self, wall_s):
            self.wall_s = wall_s

    made = Clock()
    monkeypatch.setattr(time, "time", lambda: made.wall_s)
    monkeypatch.setattr(time, "monotonic", lambda: made.monotonic_s)
    monkeypatch.setattr(time, "clock_gettime", lambda _: made.monotonic_s + 7)
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db"


@pytest.fixture
def begin(path):
    """Begins a session, whose thread is the test itself."""
    opened = []

    def session():
        output = StoreOutput(StoreConfig(path=path, keep_days=KEEP_DAYS))
        opened.append(output)
        return output

    yield session
    for output in opened:
        output.closed()


def store(output, *messages, at=()):
    """Store messages in one batch, with what `at` does before some of them."""
    for number, message in enumerate(messages):
        if number in at:
            at[number]()
        output.offer(message)
    output.send([output._queue.get_nowait() for _ in messages])


def rows(path, table="events"):
    """Ages in seconds, from NOW on, by number."""
    with closing(sqlite3.connect(path)) as database:
        found = database.execute(f"SELECT number, stored_at FROM {table} ORDER BY id").fetchall()
    return {number: round(at - NOW, 3) for number, at in found}


def test_what_is_too_old_is_deleted_once_an_hour(begin, clock, path, make_events):
    first, second = begin(), begin()
    store(first, *make_events(1))
    clock.pass_s(3600)
    store(first, *make_events(1, first=1))
    clock.pass_s(KEEP_DAYS * DAY_S - 3600 - 1)
    store(first, *make_events(1, first=2))
    second.idle()
    assert list(rows(path)) == [1, 2, 3]
    clock.pass_s(PRUNE_S - 1)
    second.idle()
    assert list(rows(path)) == [1, 2, 3]  # it is not yet an hour
    clock.pass_s(1)
    second.idle()
    assert list(rows(path)) == [2, 3]
    clock.pass_s(PRUNE_S)
    second.idle()
    assert list(rows(path)) == [3]


def test_a_clock_that_is_set_while_it_runs_moves_the_dates_of_what_was_stored(begin, clock, path, make_events):
    """A start without a battery: at 1970, and 25 s later NTP sets the clock."""
    clock.set_to(5.0)
    output = begin()
    at_1970 = "1970-01-01T00:00:{:02}.500+00:00".format
    gap = GapMessage(source="yard", onset=1.0, offset=2.0, time=at_1970(7), reason="unplugged")
    (early,) = (event.model_copy(update={"time": at_1970(6)}) for event in make_events(1))
    store(output, early, gap)
    output.idle()
    clock.pass_s(25)
    (late,) = (event.model_copy(update={"time": at_1970(30)}) for event in make_events(1, first=1))
    now_set = {2: lambda: clock.set_to(NOW)}
    store(output, late, *make_events(1, first=2), *make_events(1, first=3), at=now_set)
    output.idle()
    assert rows(path) == {1: -25, 2: 0, 3: 0, 4: 0}
    assert rows(path, "gaps") == {2: -25}
    with closing(sqlite3.connect(path)) as database:
        times = [time for (time,) in database.execute("SELECT time FROM events UNION ALL SELECT time FROM gaps")]
        (started,) = database.execute("SELECT started_at FROM sessions").fetchone()
    assert times == [  # 1 800 000 000 s are 2027-01-15T08:00:00, and the clock showed 30 s
        "2027-01-15T07:59:36.500+00:00",
        "2027-01-15T08:00:00.500+00:00",
        None,
        None,
        "2027-01-15T07:59:37.500+00:00",
    ]
    assert started == pytest.approx(NOW - 25)
    clock.pass_s(KEEP_DAYS * DAY_S - 24)
    output.idle()
    assert list(rows(path)) == [2, 3, 4]


@pytest.mark.parametrize("by_s", [YEARS_S, -YEARS_S, 30 * DAY_S, -30 * DAY_S])
def test_a_clock_that_jumps_and_comes_back_deletes_nothing(by_s, begin, clock, path, make_events):
    """What was stored in this session, and before it."""
    store(begin(), *make_events(1))
    output = begin()
    store(output, *make_events(1, first=1))
    for number, change_s in enumerate((by_s, -by_s)):
        clock.set_to(clock.wall_s + change_s)
        output.idle()
        store(output, *make_events(1, first=2 + number))
        for _ in range(3):
            clock.pass_s(PRUNE_S / 4)
            output.idle()
    assert rows(path) == {1: 0, 2: 0, 3: 0, 4: 2700}


def test_a_clock_that_is_believed_after_an_hour_deletes_what_is_too_old(begin, clock, path, make_events):
    store(begin(), *make_events(1))
    clock.pass_s(KEEP_DAYS * DAY_S + 10)  # the device was off for so long
    output = begin()
    output.idle()
    assert list(rows(path)) == [1]
    clock.pass_s(PRUNE_S)
    output.idle()
    assert rows(path) == {}


@pytest.mark.parametrize("wrong", [3.0, NOW + YEARS_S])
def test_what_an_earlier_run_stored_with_a_wrong_clock_counts_as_just_stored(wrong, begin, clock, path, make_events):
    clock.set_to(wrong)
    earlier = begin()
    store(earlier, *make_events(1))
    clock.pass_s(60)
    store(earlier, *make_events(1, first=1))
    clock.set_to(NOW)
    output = begin()
    for _ in range(2):
        output.idle()
        clock.pass_s(PRUNE_S)
    assert rows(path) == {1: PRUNE_S - 60, 2: PRUNE_S}
    clock.pass_s(KEEP_DAYS * DAY_S - PRUNE_S - 59)
    output.idle()
    assert list(rows(path)) == [2]
    clock.pass_s(PRUNE_S)
    output.idle()
    assert rows(path) == {}


def test_a_clock_that_was_never_set_deletes_nothing(begin, clock, path, make_events):
    clock.set_to(1000.0)
    output = begin()
    store(output, *make_events(1))
    clock.pass_s(300 * DAY_S)
    output.idle()
    assert list(rows(path)) == [1]


def test_a_clock_that_slews_moves_no_date(begin, clock, path, make_events):
    output = begin()
    for number in range(10):
        store(output, *make_events(1, first=number))
        clock.set_to(clock.wall_s + 0.4)
    assert list(rows(path).values()) == pytest.approx([0.4 * number for number in range(10)])


def test_a_batch_that_is_sent_again_moves_dates_once(begin, clock, path, make_events):
    output = begin()
    store(output, *make_events(1))
    clock.set_to(NOW + DAY_S)
    output.offer(ClockSet(time=None, by_s=DAY_S))
    batch = [output._queue.get_nowait()]
    for _ in range(3):
        output.send(batch)
    assert rows(path) == {1: DAY_S}
