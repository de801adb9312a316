"""The hop that the device can afford: chosen, raised and lowered again, on a clock that the test moves."""

import threading
import time

import numpy as np
import pytest

from htsat_edge.runtime.daemon import hop
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.hop import HopControl, HopRule, choose_hop, load_of, time_window
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.scorer import MOST_WINDOWS, Scorer
from htsat_edge.runtime.models.settings import Settings

RATE = 2000


@pytest.mark.parametrize(
    ("needed_s", "hop_s"),
    [(0.008, 0.32), (0.16, 0.32), (0.161, 0.64), (0.32, 0.64), (0.64, 1.28), (0.65, 2.56), (5.0, 10.0), (99.0, 10.0)],
)
def test_the_shortest_hop_at_which_half_of_the_time_is_enough(needed_s, hop_s):
    assert choose_hop(needed_s, 0.32, 10.0) == hop_s


@pytest.mark.parametrize(("sources", "batch"), [(1, 1), (3, 3), (50, MOST_WINDOWS)])
def test_a_window_is_timed_among_as_many_as_are_scored_at_once(sources, batch, make_parts, monkeypatch):
    parts = make_parts()
    ticks = iter([0, 0.9, 1, 1.01, 0, 9.0, 0, 1.0, 1, 1.5, 2, 2.4, 3, 3.2, 4, 4.3])  # two of one; a first, and five
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    found = time_window(parts.model, parts.sessions[0].info, sources)
    monkeypatch.undo()
    assert found == pytest.approx(0.4 / batch)
    assert parts.model.batches == [1, 1] + [batch] * 6


@pytest.mark.parametrize(("seconds", "sources", "runs"), [([5.0], 1, 1), ([0.9, 0.43], 8, 2), ([4.9, 3.4], 1, 2)])
def test_a_slow_device_is_timed_by_one_window_or_two(seconds, sources, runs, make_parts, monkeypatch):
    parts = make_parts()
    ticks = iter([tick for one in seconds for tick in (0, one)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    assert time_window(parts.model, parts.sessions[0].info, sources) == seconds[-1]
    assert parts.model.batches == [1] * runs


class Device:
    """A rule that looks at a device ten times a second."""

    def __init__(self, hop_s):
        self.rule, self.ticks = HopRule(hop_s, 0.32, 10.24), 0

    def run(self, seconds, needed_s, behind_s=0.0):
        """Return the changes in these seconds: when, the new hop, and why."""
        found = []
        for _ in range(round(10 * seconds)):
            if why := self.rule.update(self.ticks / 10, needed_s, behind_s):
                found.append((self.ticks / 10, self.rule.hop_s, why))
            self.ticks += 1
        return found


def test_a_hop_that_the_device_can_afford_stays():
    assert Device(0.32).run(1300, 0.8 * 0.32) == []
    assert Device(0.64).run(1300, 0.41 * 0.32) == []  # as at 0.32 s it would need more than 40 %


def test_a_hop_rises_where_the_model_is_too_busy_for_some_time():
    device = Device(0.32)
    assert device.run(5, 0.3) == device.run(1, 0.1) == device.run(5, 0.3) == []
    assert device.run(1, 0.3) == [(11.0, 0.64, "the model needs 94% of the time")]
    assert device.run(100, 0.3) == []
    assert device.run(6, 0.6) == [(117.0, 1.28, "the model needs 94% of the time")]


def test_a_hop_rises_at_once_as_far_as_is_needed():
    assert Device(0.32).run(6, 0.62) == [(5.0, 1.28, "the model needs 194% of the time")]


def test_a_hop_rises_where_detection_is_behind_and_again_only_where_that_does_not_help():
    device = Device(0.32)
    assert device.run(1, 0.1, behind_s=3.9) == []
    assert device.run(2, 0.1, behind_s=4.0) == [(2.0, 0.64, "detection is 4.0 s behind")]
    assert device.run(3, 0.1, behind_s=4.9) == []
    assert device.run(2, 0.1, behind_s=5.0) == [(7.0, 1.28, "detection is 5.0 s behind")]
    assert device.run(1, 0.1, behind_s=0.1) == []
    assert device.run(2, 0.1, behind_s=4.0) == [(10.0, 2.56, "detection is 4.0 s behind")]


def test_a_stream_that_begins_with_much_at_once_leaves_the_hop_as_it_is():
    device = Device(0.32)
    assert device.run(0.9, 0.1, behind_s=6.0) == device.run(1, 0.1) == device.run(0.9, 0.1, behind_s=9.0) == []


def test_a_hop_rises_to_a_window_at_most():
    device = Device(0.32)
    assert device.run(6, 99.0) == [(5.0, 10.24, "the model needs 30938% of the time")]
    assert device.run(60, 99.0, behind_s=9.0) == []


def test_a_hop_falls_after_ten_minutes_of_a_device_that_can_afford_it():
    back = "the device is fast enough again"
    device = Device(2.56)
    assert device.run(600, 0.1) == []
    assert device.run(1, 0.1) == [(600.0, 0.32, back)]
    device = Device(2.56)
    assert device.run(300, 0.1) == device.run(1, 0.2) == device.run(299, 0.1) == []
    assert device.run(1, 0.1) == [(600.0, 0.64, back)]
    assert device.run(599, 0.1) == []
    assert [hop_s for _, hop_s, _ in device.run(2, 0.1)] == [0.32]


def test_a_device_that_is_throttled_now_and_then_keeps_the_longer_hop():
    device = Device(0.64)
    assert [change for minute in range(60) for change in device.run(60, 0.3 if minute % 9 == 0 else 0.1)] == []


class World(threading.Event):
    """Live sources, a model and a clock that belong together: while the model runs or the daemon waits, time passes."""

    def __init__(self, parts, until_s, window_s):
        super().__init__()
        self.now_s, self._until_s, self._window_s = 0.0, until_s, window_s
        self._sources, self._written, self._infer = parts.sources, 0, parts.model.infer
        for source in self._sources:
            source.feed.open(RATE)
        parts.news, parts.model.infer = self, self.infer
        parts.scorer = Scorer(parts.model, parts.sessions[0].info, None, clock=lambda: self.now_s)

    def pass_time(self, seconds):
        self.now_s = min(self.now_s + seconds, self._until_s)
        count = round(self.now_s * RATE) - self._written
        self._written += count
        for source in self._sources:
            source.feed.write(np.full(count, 0.01, np.float32))
            if self.now_s == self._until_s:
                source.feed.end()

    def infer(self, log_mel):
        self.pass_time(len(log_mel) * self._window_s(self.now_s))
        return self._infer(log_mel)

    def wait(self, _):
        if not self.is_set():
            self.pass_time(0.1)


class Steps(SessionObserver):
    """Counts the final steps of a source."""

    def __init__(self):
        self.until_s = 0.0

    def scores(self, start_s, step_s, scores):
        assert start_s == pytest.approx(self.until_s)
        self.until_s = start_s + len(scores) * step_s


def window_s(now_s):
    """Half of the time with two sources at a hop of one step; four times as slow for a while."""
    return 0.3 if 30 <= now_s < 60 else 0.08


@pytest.fixture
def slow(make_parts, monkeypatch):
    """Two sources for two minutes on a device that is slow meanwhile; the hop may fall after 30 s."""
    monkeypatch.setattr(hop, "IDLE_S", 30.0)
    monkeypatch.setattr(hop, "IDLE", 0.55)
    parts = make_parts(2, live=True)
    parts.system = SystemClock(0.0, 0.0)
    parts.world = World(parts, 120.0, window_s)
    for session in parts.sessions:
        session.set_hop(0.32, "")
        session.steps = Steps()
        session.observers = [session.steps]
    return parts


def test_a_device_that_is_too_slow_for_a_while_loses_nothing(slow):
    slow.hop = HopControl(slow.sessions, slow.scorer, 0.08, lambda: slow.world.now_s)
    behind_s = []
    update = slow.hop.update
    slow.hop.update = lambda: behind_s.append(max(s.feed.behind_s for s in slow.sessions)) or update()
    Daemon(slow, Notifier()).run()
    changes = [m for m in slow.kept if getattr(m, "state", "") == "hop_changed"]
    assert [(m.source, m.hop_s) for m in changes] == [
        ("yard 0", 1.28),
        ("yard 1", 1.28),
        ("yard 0", 0.32),
        ("yard 1", 0.32),
    ]
    up, _, down, _ = changes
    assert up.text.endswith("s behind") or up.text.startswith("the model needs 1")
    assert 30 < up.onset < 40
    assert down.text == "the device is fast enough again"
    assert up.latency_s - down.latency_s == pytest.approx(0.96)
    assert max(behind_s) < 8
    assert [m for m in slow.kept if m.type == "gap"] == []
    for session in slow.sessions:
        assert (session.all_time.heard_s, session.all_time.lost_s) == (120, 0)
        assert session.steps.until_s == pytest.approx(120, abs=0.33)
        assert session.hop_s == 0.32


def test_a_fixed_hop_stays_and_the_same_device_loses_audio(slow):
    Daemon(slow, Notifier()).run()
    assert [session.hop_s for session in slow.sessions] == [0.32, 0.32]
    assert "hop_changed" not in {getattr(m, "state", "") for m in slow.kept}
    assert all(session.all_time.lost_s > 0 for session in slow.sessions)


def test_a_recording_keeps_its_hop_and_is_counted(make_parts):
    parts = make_parts(3, live=True)
    parts.sources[0].feed.live = False
    for session in parts.sessions:
        session.set_hop(0.32, "")
    HopControl(parts.sessions, parts.scorer, 0.1)
    assert [session.hop_s for session in parts.sessions] == [0.32, 0.64, 0.64]


@pytest.mark.parametrize(("steps", "mirror_s", "longest_s"), [(32, None, 5.12), (32, 7.04, 2.88), (1, None, 0.32)])
def test_at_the_longest_hop_every_step_is_heard(steps, mirror_s, longest_s, make_parts):
    parts = make_parts(live=True)
    (session,) = parts.sessions
    session.info = session.info.model_copy(update={"steps": steps, "step_s": 0.32})
    session.settings = Settings(mirror_s=mirror_s)
    HopControl(parts.sessions, parts.scorer, 99.0)
    assert session.hop_s == pytest.approx(longest_s)


def test_a_source_that_waits_for_detection_is_never_behind(make_parts):
    """What is piped into stdin faster than it sounds always fills half of the buffer."""
    parts = make_parts(live=True)
    (feed,) = (source.feed for source in parts.sources)
    parts.sessions[0].set_hop(0.32, "")
    now_s = [0.0]
    control = HopControl(parts.sessions, parts.scorer, 0.01, lambda: now_s[-1])
    feed.open(RATE)
    feed.wait_for_room(threading.Event())
    feed.write(np.zeros(9 * RATE, np.float32))
    now_s.append(9.0)
    assert control.update() == control.update() == []
    feed.waits = False
    assert control.update() == []
    now_s.append(10.0)
    assert [message.text for message in control.update()] == ["detection is 9.0 s behind"]


def test_a_source_that_has_ended_needs_nothing(make_parts):
    parts = make_parts(2, live=True)
    parts.scorer._recent.append(0.16)
    for session, hop_s in zip(parts.sessions, (0.32, 0.64), strict=True):
        session.set_hop(hop_s, "")
    assert load_of(parts.scorer, parts.sessions) == pytest.approx(0.75)
    parts.sources[0].feed.end()
    assert load_of(parts.scorer, parts.sessions) == pytest.approx(0.25)
