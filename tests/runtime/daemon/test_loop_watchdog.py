"""What the watchdog hears: systemd starts the program again where it hears nothing."""

import time

import pytest

from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier


@pytest.fixture
def hopeless(make_parts, monkeypatch):
    """Three sources, and whether detection has long failed where it is so with them as it is now."""
    daemon, reports = Daemon(make_parts(3), Notifier()), []
    monkeypatch.setattr(daemon._notifier, "alive", lambda: reports.append(1))

    def ask(worked_s=float("-inf")):
        reports.clear()
        daemon._worked_s = worked_s
        daemon._report_alive()
        return not reports

    ask.sessions = daemon.parts.sessions
    return ask


def test_detection_that_has_failed_for_a_short_time_is_no_reason(hopeless):
    for session in hopeless.sessions:
        session.progress.failure = "the GPU has failed"
    assert not hopeless(worked_s=time.monotonic())


def test_only_a_new_process_mends_a_gpu_that_has_failed(hopeless):
    for session in hopeless.sessions:
        assert not hopeless()  # one that works is reason enough to go on
        session.progress.failure = "the GPU has failed"
    assert hopeless()


def test_a_source_that_gives_nothing_does_not_count(hopeless):
    """A recording whose last window had failed, or a microphone that was then unplugged, failed for ever."""
    ended, failed, unplugged = hopeless.sessions
    for session in (ended, failed, unplugged):
        session.progress.failure = "out of memory"
    ended.feed.end()
    failed.feed.report_failed("it breaks off")
    assert hopeless()
    unplugged.feed.report_lost("unplugged")
    assert not hopeless()
    ended.feed._ended, ended.progress.failure = False, None
    assert not hopeless()
