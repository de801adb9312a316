"""When a server is used and when this device, with stubs of both and a clock that a test sets."""

import math
import threading

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.changing import BackendChange
from htsat_edge.runtime.models.backends.remote_fallback import RemoteFallback, _Request

FALLBACK = "htsat_edge.runtime.models.backends.remote_fallback"


class Stub:
    """A model that a test has answer, fail or wait; on a server or on this device."""

    def __init__(self, name):
        self.name, self.timeout_s, self.problem = name, 30.0, None
        self.inferred, self.closes, self.before = [], 0, lambda: None
        """What it was given; how often it was closed; what it does first."""

    def infer(self, log_mel):
        self.before()
        self.inferred.append((log_mel.shape, float(log_mel.flat[0])))
        if self.problem is not None:
            raise self.problem
        return Scores(log_mel, log_mel, log_mel)

    def close(self):
        self.closes += 1


class ChangingStub(Stub):
    """One that has others behind it."""

    present, fallbacks = Stub("first"), 2

    def notices(self):
        yield BackendChange("second", "the first failed")


WINDOW = np.zeros((1, 2, 3), np.float32)


@pytest.fixture
def stubs():
    """A server and this device, both stubs, with a clock that a test sets."""
    made = []

    class Made:
        def __init__(self, timeout_s=30.0, local=None):
            self.server, self.local, self.now = Stub("server"), local or Stub("local"), 1000.0
            self.connections = 0
            self.backend = RemoteFallback(self.connect, self.local, WINDOW, timeout_s, lambda: self.now)
            made.append(self.backend)

        def connect(self):
            self.connections += 1
            return self.server

        @property
        def is_all_closed(self):
            """Whether no connection was left open but the one that is used."""
            return self.server.closes == self.connections - self.backend.ready

        def fall(self):
            self.server.problem = NotReadyError("gone")
            self.backend.infer(WINDOW)
            assert not self.backend.ready
            self.server.problem = None

    yield Made
    for backend in made:
        backend.close()


def test_one_that_comes_and_goes_is_soon_not_believed(stubs, wait_for, short_looks, monkeypatch):
    """Each change is published, so there must be few."""
    for name, seconds in {"FIRST_STEADY_S": 10.0, "LONGEST_STEADY_S": 40.0, "FORGIVEN_S": 100.0}.items():
        monkeypatch.setattr(f"{FALLBACK}.{name}", seconds)
    made = stubs()
    made.fall()
    wait_for(lambda: made.backend.ready)  # the first time, one answer is enough
    for steady_s in (10, 20, 40, 40):
        made.now += 1
        made.fall()
        probes = len(made.server.inferred)
        wait_for(lambda known=probes: len(made.server.inferred) > known + 3)
        made.now += steady_s - 0.5
        probes = len(made.server.inferred)
        wait_for(lambda known=probes: len(made.server.inferred) > known + 3)
        assert not made.backend.ready
        made.now += 0.5
        wait_for(lambda: made.backend.ready)
    made.now += 101  # it has done for long
    made.fall()
    wait_for(lambda: made.backend.ready)
    assert made.backend.fallbacks == 6
    assert made.is_all_closed
    changes = list(made.backend.notices())
    assert [change.backend for change in changes] == ["local", "server"] * 6


def test_one_failure_begins_the_steady_time_again(stubs, wait_for, short_looks, monkeypatch):
    monkeypatch.setattr(f"{FALLBACK}.FIRST_STEADY_S", 10.0)
    made = stubs()
    made.fall()
    wait_for(lambda: made.backend.ready)
    made.fall()
    known = len(made.server.inferred)
    wait_for(lambda: len(made.server.inferred) > known + 3)
    made.now += 9
    made.server.problem = NotReadyError("gone again")
    connections = made.connections
    wait_for(lambda: made.connections > connections + 1)
    connections = made.connections
    assert made.server.closes >= connections - 1
    made.server.problem = None
    known = len(made.server.inferred)
    wait_for(lambda: len(made.server.inferred) > known + 3)
    made.now += 9
    known = len(made.server.inferred)
    wait_for(lambda: len(made.server.inferred) > known + 3)
    assert not made.backend.ready
    made.now += 1
    wait_for(lambda: made.backend.ready)


@pytest.mark.parametrize("error", [HtsatEdgeError("wrong"), ValueError("not ours"), MemoryError()])
def test_whatever_fails_at_the_server_is_scored_here(error, stubs, wait_for, short_looks):
    made = stubs()
    made.server.problem = error
    assert made.backend.infer(WINDOW + 7).framewise[0, 0, 0] == 7
    made.server.problem = None
    wait_for(lambda: made.backend.ready)
    assert made.backend.infer(WINDOW + 8).framewise[0, 0, 0] == 8


def test_an_answer_that_comes_late_is_of_no_other_window(stubs, wait_for, short_looks):
    made = stubs(timeout_s=0.05)
    go, begun = threading.Event(), threading.Event()

    def wait():
        begun.set()
        go.wait()

    made.server.before = wait
    assert made.backend.infer(WINDOW + 1).framewise[0, 0, 0] == 1
    assert begun.is_set()
    assert made.backend.infer(WINDOW + 2).framewise[0, 0, 0] == 2
    made.server.before = lambda: None
    go.set()
    wait_for(lambda: made.backend.ready)
    assert made.backend.infer(WINDOW + 3).framewise[0, 0, 0] == 3


def test_the_server_is_tried_with_what_there_is_to_do(stubs, wait_for, short_looks):
    made = stubs()
    made.server.problem = NotReadyError("gone")
    windows = np.ones((5, 2, 3), np.float32)
    made.backend.infer(windows)
    windows[:] = 2  # whoever gave them may use the memory again
    made.server.inferred.clear()
    wait_for(lambda: len(made.server.inferred) > 2)
    assert made.server.inferred[-1] == ((5, 2, 3), 1.0)
    made.server.problem = None
    wait_for(lambda: made.backend.ready)


def test_what_was_asked_before_a_fall_is_not_asked_after_it(stubs, wait_for, short_looks):
    made = stubs()
    made.fall()
    made.backend._requests.put(_Request(WINDOW + 9, 1.0))
    wait_for(lambda: made.backend.ready)
    made.backend.hop_s = lambda: 20.0
    made.backend.infer(WINDOW + 1)
    assert made.server.inferred[-1] == (WINDOW.shape, 1.0)
    assert made.server.timeout_s == 20, "nobody waits for it for longer"
    assert (WINDOW.shape, 9.0) not in made.server.inferred


@pytest.mark.parametrize(("timeout_s", "hop_s"), [(0.5, math.inf), (30, 0.5)])
def test_a_server_that_takes_too_long_is_not_used_again(stubs, wait_for, short_looks, timeout_s, hop_s):
    made = stubs(timeout_s)
    made.backend.hop_s = lambda: hop_s
    made.server.before = lambda: setattr(made, "now", made.now + 0.6)
    made.fall()
    count = made.connections
    wait_for(lambda: made.backend.ready or made.connections > count + 3)
    assert not made.backend.ready
    made.server.before = lambda: setattr(made, "now", made.now + 0.4)
    wait_for(lambda: made.backend.ready)


def test_one_that_is_away_is_looked_for_less_and_less_often(stubs, wait_for, short_looks, monkeypatch):
    made = stubs()
    made.fall()
    wait_for(lambda: made.backend.ready)
    pauses, wait = [], made.backend._closing.wait
    monkeypatch.setattr(made.backend._closing, "wait", lambda pause_s: pauses.append(pause_s) or wait(0.001))
    made.server.problem = NotReadyError("gone")
    made.backend.infer(WINDOW)
    wait_for(lambda: len(pauses) > 5)
    assert pauses[:5] == [0.01, 0.02, 0.04, 0.05, 0.05]
    made.server.problem = None
    count = len(pauses) + 2
    wait_for(lambda: len(pauses) > count)
    assert not made.backend.ready, "it has not answered for long enough"
    assert pauses[-1] == 0.01


def test_what_this_device_reports_is_reported_too(stubs, short_looks):
    made = stubs(local=ChangingStub("local"))
    assert made.backend.fallbacks == 2
    made.server.problem = NotReadyError("gone")
    made.backend.infer(WINDOW)
    assert made.backend.fallbacks == 3
    assert [change.backend for change in made.backend.notices()] == ["first", "second"]


def test_a_failure_on_this_device_is_not_hidden(stubs, short_looks):
    made = stubs()
    made.server.problem = NotReadyError("gone")
    made.local.problem = HtsatEdgeError("it failed")
    with pytest.raises(HtsatEdgeError, match="it failed"):
        made.backend.infer(WINDOW)


def test_closing_ends_all_of_it(stubs, short_looks, monkeypatch):
    made, released = stubs(), []
    monkeypatch.setattr(f"{FALLBACK}.release_thread", lambda: released.append(threading.current_thread()))
    thread = made.backend._thread
    made.backend.close()
    assert not thread.is_alive()
    assert released == [thread]
    assert (made.server.closes, made.local.closes) == (1, 1)


def test_a_first_look_that_ends_late_is_reported(stubs, wait_for, short_looks, monkeypatch):
    monkeypatch.setattr(f"{FALLBACK}.BEGIN_S", 0.01)
    go = threading.Event()

    class Late(stubs):
        def connect(self):
            go.wait()
            return super().connect()

    made = Late()
    go.set()
    wait_for(lambda: made.backend.ready)
    assert [change.backend for change in made.backend.notices()] == ["local", "server"]


def test_a_fall_is_reported_before_the_server_is_looked_for(stubs, short_looks, monkeypatch):
    """Its return could be reported first."""
    made = stubs()
    used, report = [], made.backend._report
    monkeypatch.setattr(made.backend, "_report", lambda *what: (used.append(made.backend.ready), report(*what)))
    made.server.problem = NotReadyError("gone")
    made.backend.infer(WINDOW)
    assert used[0]
