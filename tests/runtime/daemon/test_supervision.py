import logging
import threading
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon import supervision
from htsat_edge.runtime.daemon.supervision import Backoff, SupervisedThread, describe, kind_of


def caught(error):
    try:
        raise error
    except Exception as raised:
        return raised


def test_an_error_is_one_line_with_its_place_where_nobody_expected_it():
    assert describe(caught(HtsatEdgeError("there is no\n such device"))) == "there is no such device"
    assert describe(caught(FileNotFoundError(2, "No such file", "x.wav"))) == "[Errno 2] No such file: 'x.wav'"
    assert describe(caught(ZeroDivisionError("by 0"))).startswith("ZeroDivisionError: by 0 (test_supervision.py:")
    assert describe(caught(MemoryError())).startswith("MemoryError (test_supervision.py:")
    assert describe(OSError()) == "OSError"


class Stop:
    """An event that is never set, and remembers how long it was waited for."""

    def __init__(self):
        self.waits = []

    def wait(self, seconds):
        self.waits.append(seconds)
        return False


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success():
    backoff, stop = Backoff(), Stop()
    for _ in range(7):
        backoff.wait(stop)
    assert stop.waits == [0.5, 1, 2, 4, 8, 8, 8]
    backoff.reset()
    backoff.wait(stop)
    backoff.wait(stop)
    assert stop.waits[7:] == [0.5, 1]


@pytest.fixture
def run(short_pauses):
    """Runs work in a thread to its end; returns what was reported, and "over" at the end of the thread."""

    def start(work, stop=None):
        reported = []
        thread = SupervisedThread(
            "yard", work, reported.append, stop or threading.Event(), lambda: reported.append("over")
        )
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
        return reported

    return start


def test_work_that_fails_is_begun_again_until_it_is_done(run, caplog, monkeypatch):
    monkeypatch.setattr(supervision, "warnings", supervision.RepeatedWarnings(logging.getLogger("x")))
    errors = [HtsatEdgeError("unplugged"), ValueError("odd"), ValueError("odd"), OSError(5, "Input/output error")]

    def work():
        if errors:
            raise errors.pop(0)

    unplugged, odd, again, system, over = run(work)
    assert (unplugged, system, over) == ("unplugged", "[Errno 5] Input/output error", "over")
    assert odd == again
    # What is expected of a device is not logged, only reported; what is not is logged once.
    assert [record.message for record in caplog.records] == [
        f"yard: {odd}; it is begun again",
        "yard: [Errno 5] Input/output error; it is begun again",
    ]


def test_an_error_that_says_something_else_each_time_is_one_kind(run, caplog, monkeypatch):
    """A thousand reasons were a thousand kinds, each logged, and none forgotten."""
    limited = supervision.RepeatedWarnings(logging.getLogger("x"))
    monkeypatch.setattr(supervision, "warnings", limited)
    numbers = iter(range(5))

    def work():
        for number in numbers:
            raise ValueError(f"odd: {number}")

    run(work)
    limited.close()
    first, rest = (record.message for record in caplog.records)
    assert "odd: 0" in first
    assert "odd: 4" in rest
    assert rest.endswith("(4 more since the last one)")


def test_a_kind_of_error_is_its_type_and_place():
    def one():
        raise ValueError

    def other():
        raise ValueError

    def kind(work):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            work()
        return kind_of(caught.value)

    assert kind(one) == kind(one) != kind(other)
    assert kind_of(ValueError()) != kind_of(KeyError())


def test_work_that_fails_without_end_ends_when_it_is_stopped(run):
    stop, tries = threading.Event(), []

    def work():
        tries.append(1)
        if len(tries) == 3:
            stop.set()
        raise ValueError("odd")

    reported = run(work, stop)
    assert len(tries) == 3
    assert reported[3:] == ["over"]


def test_work_is_done_once_though_it_is_stopped_before_it_begins(run):
    stop, done = threading.Event(), []
    stop.set()
    assert run(lambda: done.append(1), stop) == ["over"]
    assert done == [1]


def test_a_thread_that_was_never_started_has_ended():
    thread = SupervisedThread("yard", list, list, threading.Event())
    thread.join()
    assert not thread.is_alive()


def test_every_thread_of_the_daemon_is_supervised():
    unsupervised = [
        path.name for path in Path(supervision.__file__).parent.rglob("*.py") if "Thread(target" in path.read_text()
    ]
    assert unsupervised == ["supervision.py"]
