"""A source that somebody has paused: nothing of it is heard or kept, and that is no fault."""

import itertools
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, LevelConfig
from htsat_edge.runtime.daemon.control import SetListening
from htsat_edge.runtime.daemon.live.status import source_status
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.messages import CoverageStatus, GapMessage, SourcePaused, SourceResumed
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info
RATE = 8000
BY = "paused by MQTT"
DOG = Settings(hop_s=1.28, labels=("Dog",))


class Spans(SessionObserver):
    """An observer that keeps from where to where it has heard."""

    def __init__(self):
        self.audio_spans, self.ends = [], []

    def audio(self, block):
        self.audio_spans.append((block.start_s, block.end_s))

    def interrupted(self, at_s):
        self.ends.append(at_s)


def make_session(observers=(), health=HealthConfig(enabled=False), level=LevelConfig()):
    feed = Feed("yard", threading.Event(), live=False)
    system = SystemClock(1_800_000_000.0, time.monotonic())
    return SourceSession(feed, INFO, Settings(hop_s=2.56), health, system, observers, level_settings=level)


def block(start_s, seconds):
    return AudioBlock(start_s, RATE, np.full(round(seconds * RATE), 0.1, np.float32))


def end(session):
    """End what was heard, as the daemon does, with scores in which nothing sounds; return the messages."""
    silence = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    found = [message for window in session.flush() for message in session.settle(window, silence)]
    return found + session.finish()


def gap(onset, offset):
    return GapMessage(source="yard", onset=onset, offset=offset, time=None, reason="paused")


def test_a_pause_is_one_gap_that_is_published_when_it_is_over():
    spans = Spans()
    session = make_session([spans])
    session.take(block(0, 3))
    end(session)
    assert session.pause(BY) == [SourcePaused(source="yard", time=None, text=BY)]
    assert session.paused
    assert session.skip(block(3, 2)) == session.skip(Gap(5, 6, "unplugged")) == session.skip(block(6, 1)) == []
    assert session.resume("resumed") == [gap(3, 7), SourceResumed(source="yard", time=None, text="resumed")]
    assert not session.paused
    session.take(block(7, 2))
    assert spans.audio_spans == [(0, 3), (7, 9)]  # and so no clip and no picture has what was said between
    assert spans.ends == [3]
    assert (session.all_time.heard_s, session.all_time.lost_s, session.all_time.gaps) == (5, 4, 1)


def test_one_that_ends_while_it_is_paused_has_its_gap_once():
    session = make_session()
    session.pause(BY)
    session.skip(block(0, 2))
    assert session.end_skipping() == [gap(0, 2)]
    assert session.end_skipping() == []


def test_a_failure_before_a_pause_has_a_gap_of_its_own():
    session = make_session()
    session.take(block(0, 3))
    session.abandon(ValueError("bug"))
    session.take(block(3, 0.5))
    failed, paused = session.pause(BY)
    assert (failed.onset, failed.offset, failed.reason[:17]) == (0, 3.5, "detection failed:")
    assert isinstance(paused, SourcePaused)
    session.skip(block(3.5, 1))
    assert session.resume("resumed")[0] == gap(3.5, 4.5)


def test_hours_in_a_pause_were_not_heard():
    session = make_session()
    session.pause(BY)
    messages = [message for at in range(0, 7300, 100) for message in session.skip(Gap(at, at + 100, "unplugged"))]
    assert [(type(one), one.offset, one.share, one.gaps) for one in messages] == [
        (CoverageStatus, 3600, 0, 1),
        (CoverageStatus, 7200, 0, 0),
    ]


def test_how_it_gets_on_says_so_and_has_no_level():
    session = make_session(health=HealthConfig())
    session.take(block(0, 3))
    before = source_status(session)
    end(session)
    session.pause(BY)
    after = source_status(session)
    assert not before.paused
    assert before.level_dbfs is not None
    assert (after.paused, after.level_dbfs, after.heard) == (True, None, True)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(500, 3 * RATE), min_size=1, max_size=12))
def test_any_chunking_gives_the_same_messages(make_parts, lengths):
    """Of a source that is paused from its 4th second to its 9th and loses audio in the pause and after it."""
    messages = listen(make_parts(), lengths)
    assert messages == listen(make_parts(), [14 * RATE])
    gaps = [(one.onset, one.offset, one.reason) for one in messages if isinstance(one, GapMessage)]
    assert gaps == [(4, 9, "paused"), (11, 12, "unplugged")]
    assert [one.onset for one in messages if isinstance(one, EventEnd)] == [0, 9, 12]


def listen(parts, lengths):
    """Return what the daemon publishes of audio that it gets in chunks of these lengths, with a turn after each."""
    loud = np.full((8, len(INFO.labels)), 0.9, np.float32)
    parts.model.infer = lambda log_mel: Scores(np.stack([loud] * len(log_mel)), None, None)
    sessions = [replace(one, settings=DOG, level_settings=LevelConfig(every_s=5)) for one in parts.sessions]
    parts.sessions = sessions
    daemon, feed, chunks = Daemon(parts, Notifier()), parts.sources[0].feed, itertools.cycle(lengths)
    steps = [
        (4, lambda: parts.commands.put(SetListening(feed.name, False, "MQTT"))),
        (2, lambda: feed.skip(1, "unplugged")),
        (2, lambda: parts.commands.put(SetListening(feed.name, True, "MQTT"))),
        (2, lambda: feed.skip(1, "unplugged")),
        (2, feed.end),
    ]
    feed.open(RATE)
    for seconds, then in steps:
        left = seconds * RATE
        while left:
            count = min(left, next(chunks))
            feed.write(np.full(count, 0.1, np.float32))
            left -= count
            daemon._turn(sessions)
        while daemon._turn(sessions):
            pass
        then()
        daemon._commander.update()
        daemon._commander.close()  # it waits for no end of a pause
    daemon._turn(sessions)
    return parts.kept


def test_an_input_fault_is_none_while_nobody_listens(make_parts):
    (session,) = make_parts().sessions
    session.progress.monitor = SimpleNamespace(active={"digital zero"})
    assert session.faults == {"digital zero"}
    session.progress.begin_pause()
    assert session.faults == set()
