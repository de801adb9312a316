"""A session whose detection fails: what is not scored is a gap, and it is begun anew after a pause."""

import threading
import time

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig
from htsat_edge.runtime.daemon.messages import GapMessage, SourceBack, SourceLost
from htsat_edge.runtime.daemon.session import LONGEST_PAUSE_S, SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.daemon.supervision import warnings
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info
WINDOW_S = INFO.steps * INFO.step_s
RATE = 8000
REASON = "out of memory"
TEXT = f"detection failed: {REASON}"


@pytest.fixture
def session():
    return make()


def make(observers=()):
    system = SystemClock(1_800_000_000.0, time.monotonic())
    feed = Feed("yard", threading.Event(), live=False)
    return SourceSession(feed, INFO, Settings(hop_s=10.24), HealthConfig(enabled=False), system, observers)


def hear(session, begin_s, end_s, framewise=None):
    """Let a session hear silence by the second, and settle its windows; return the messages."""
    messages = []
    for at in range(begin_s, end_s):
        windows, found = session.take(AudioBlock(at, RATE, np.zeros(RATE, np.float32)))
        messages += found
        for window in windows:
            messages += session.settle(window, scores(0) if framewise is None else framewise)
    return messages


def scores(value):
    framewise = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    framewise[:, 0] = value
    return framewise


def spans(messages):
    return [(m.onset, m.offset, m.reason) for m in messages if isinstance(m, GapMessage)]


def fail(session):
    return session.abandon(HtsatEdgeError(REASON))


def test_a_failure_is_reported_once_and_what_is_not_scored_is_one_gap(session):
    hear(session, 0, 5)
    assert not session.lost
    (lost,) = fail(session)
    assert (type(lost), lost.text) == (SourceLost, f"{TEXT}; it is begun again")
    assert session.lost
    assert not session.active
    (gap,) = hear(session, 5, 7)  # after a pause of a second
    assert spans([gap]) == [(0.0, 6.0, TEXT)]
    assert session.active
    messages = hear(session, 7, 18)
    (back,) = messages
    assert (type(back), back.text) == (SourceBack, "detection works again")
    assert not session.lost


def test_failures_that_come_and_go_with_another_text_each_time_are_one_warning(session, caplog):
    warnings.close()  # of other tests
    caplog.clear()
    for number in range(20):
        session.abandon(HtsatEdgeError(f"{number} bytes are missing"))
        session.progress.failure = None
    assert len(caplog.records) == 1


def test_an_open_event_ends_where_its_scores_do(session):
    start, *_ = (m for m in hear(session, 0, 15, scores(1.0)) if isinstance(m, EventStart))
    end, lost = fail(session)
    assert (type(end), end.id) == (EventEnd, start.id)
    assert end.offset == pytest.approx(WINDOW_S, abs=0.35)
    assert isinstance(lost, SourceLost)
    assert spans(hear(session, 15, 18)) == [(pytest.approx(WINDOW_S, abs=0.35), 16.0, TEXT)]


def test_pauses_double_while_it_fails_and_are_gaps(session):
    found, at, heard = [], 1, []
    hear(session, 0, 1)
    for _ in range(9):
        found += fail(session)
        begun = at
        while not session.active:
            heard += hear(session, at, at + 1)
            at += 1
        found.append(at - 1 - begun)
    assert [pause for pause in found if isinstance(pause, int)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert sum(isinstance(m, SourceLost) for m in found) == 1
    gaps = spans(heard)
    assert [begin for begin, _, _ in gaps[1:]] == [end for _, end, _ in gaps[:-1]]  # all is lost, and nothing twice
    assert gaps[-1][1] - gaps[-1][0] <= LONGEST_PAUSE_S + 1
    hear(session, at, at + 12)
    fail(session)
    assert spans(hear(session, at + 12, at + 15))[0][1] == at + 13


def test_what_is_lost_is_no_longer_counted_as_heard(session):
    hear(session, 0, 20)
    assert (session.all_time.heard_s, session.all_time.lost_s) == (20, 0)
    fail(session)
    hear(session, 20, 25)
    lost_s = 21 - WINDOW_S
    for coverage in (session.all_time, session.coverage):
        assert (coverage.heard_s, coverage.lost_s) == (pytest.approx(25 - lost_s), pytest.approx(lost_s))
        assert coverage.gaps == 1


def test_a_gap_or_the_end_ends_the_pause(session):
    hear(session, 0, 5)
    fail(session)
    assert spans(session.lose(Gap(5.0, 8.0, "unplugged"))) == [(0.0, 5.0, TEXT), (5.0, 8.0, "unplugged")]
    hear(session, 8, 10)
    fail(session)
    assert spans(session.end_pause()) == [(8.0, 10.0, TEXT)]
    assert session.end_pause() == []


def test_scores_that_are_no_numbers_are_an_error_and_no_silence(session):
    with pytest.raises(HtsatEdgeError, match="scores that are no numbers"):
        hear(session, 0, 11, scores(np.nan))


def test_a_session_that_fails_while_it_gives_up_fails_no_further(session, monkeypatch):
    hear(session, 0, 15)
    monkeypatch.setattr(session, "_events", object())
    assert [type(message) for message in fail(session)] == [SourceLost]


class Poor:
    """An observer that has no memory; it remembers what it was asked for."""

    def __init__(self):
        self.asked, self.reasons = [], []

    def __getattr__(self, name):
        def fail(*_):
            self.asked.append(name)
            raise MemoryError

        return fail

    def failed(self, reason):
        self.reasons.append(reason)


def test_an_observer_that_fails_hears_of_it_and_disturbs_no_detection():
    """For lack of memory to cut a clip, detection ended."""
    poor = Poor()
    session, alone = make([poor]), make()
    assert hear(session, 0, 15, scores(1.0)) == hear(alone, 0, 15, scores(1.0))
    session.flush()
    alone.flush()
    assert session.finish() == alone.finish()
    assert set(poor.asked) == {"audio", "frames", "scores", "newest", "event", "interrupted"}
    assert len(poor.reasons) == len(poor.asked)
    assert poor.reasons[0].startswith("MemoryError")
