"""One source's way to messages, with scores that the test makes up: no model runs."""

import re
import threading
import time

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig
from htsat_edge.runtime.daemon.messages import (
    CoverageStatus,
    GapMessage,
    HopChanged,
    InputFault,
    InputOk,
    Listening,
    SourceBack,
    SourceLost,
)
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.session import Coverage, SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed, Notice
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info
WINDOW_S = INFO.steps * INFO.step_s
QUIET = HealthConfig(enabled=False)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


class Kept(SessionObserver):
    """An observer that keeps what it sees."""

    def __init__(self):
        self.blocks, self.spans, self.events, self.ends = [], [], [], []

    def audio(self, block):
        self.blocks.append(block)

    def scores(self, start_s, step_s, scores):
        self.spans.append((start_s, start_s + len(scores) * step_s))

    def event(self, event):
        self.events.append(event)

    def interrupted(self, at_s):
        self.ends.append(at_s)


def make_session(live=False, health=QUIET, observers=(), settings=Settings(hop_s=10.24)):
    feed = Feed("yard", threading.Event(), live=live)
    system = SystemClock(1_800_000_000.0 + time.monotonic(), time.monotonic())
    return SourceSession(feed, INFO, settings, health, system, observers)


def block(start_s, seconds, rate=8000, value=0.0):
    return AudioBlock(start_s, rate, np.full(round(seconds * rate), value, np.float32))


def scores_of(label, first, last):
    """Framewise scores (steps, C) in which one class sounds from a step up to another."""
    framewise = np.zeros((INFO.steps, len(INFO.labels)), np.float32)
    framewise[first:last, INFO.labels.index(label)] = 0.9
    return framewise


def settle(session, windows, framewise):
    return [event for window in windows for event in session.settle(window, framewise)]


def test_the_first_samples_are_reported_once():
    session = make_session()
    _, messages = session.take(block(0, 1))
    latency_s = round(session.settings.latency_s(INFO), 4)
    assert messages == [Listening(source="yard", time=None, sample_rate=8000, hop_s=10.24, latency_s=latency_s)]
    assert session.take(block(1, 1))[1] == []
    session.flush()
    session.finish()
    session.lose(Gap(2, 3, "unplugged"))
    assert session.take(block(3, 1, rate=16_000))[1] == []


def test_another_hop_counts_from_the_next_window_on_also_after_a_gap():
    session = make_session(settings=Settings(hop_s=2.56))
    assert len(session.take(block(0, 12))[0]) == 4
    latency_s = round(session.latency_s - 1.92, 4)
    message = session.set_hop(0.64, "detection is 5.0 s behind")
    assert len(session.take(block(12, 1))[0]) == 4  # from 10.24 s on
    assert message == HopChanged(
        source="yard", time=None, onset=12.0, hop_s=0.64, latency_s=latency_s, text="detection is 5.0 s behind"
    )
    session.flush()
    session.finish()
    session.lose(Gap(13, 20, "unplugged"))
    assert len(session.take(block(20, 2))[0]) == 3


def test_events_are_numbered_on_over_gaps_and_rates():
    session, found = make_session(), []
    for start_s, rate in ((0.0, 8000), (20.0, 8000), (40.0, 16_000)):
        windows, _ = session.take(block(start_s, WINDOW_S + 0.5, rate))
        found += settle(session, windows, scores_of("Dog", 4, 8))
        found += settle(session, session.flush(), scores_of("Dog", 4, 8))
        found += session.finish()
        session.lose(Gap(start_s + WINDOW_S + 0.5, start_s + 20, "unplugged"))
    starts = [event for event in found if isinstance(event, EventStart)]
    ends = [event for event in found if isinstance(event, EventEnd)]
    assert [event.id for event in starts] == [event.id for event in ends] == [1, 2, 3]
    assert [event.onset for event in starts] == pytest.approx([4 * INFO.step_s + at for at in (0, 20, 40)])
    assert all(event.offset > event.onset + 1 for event in ends)
    assert {event.source for event in found} == {"yard"}


def test_blocks_of_any_length_are_one_recording(samples):
    found = []
    for length in (27 * 32_000, 3200):
        session, windows = make_session(), []
        for at in range(0, len(samples), length):
            windows += session.take(AudioBlock(at / 32_000, 32_000, samples[at : at + length]))[0]
        found.append([*windows, *session.flush()])
    assert [window.step for window in found[0]] == [window.step for window in found[1]]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.log_mel, other.log_mel)


def test_an_event_that_goes_on_ends_where_the_samples_do():
    session = make_session()
    windows, _ = session.take(block(5.0, WINDOW_S + 0.1))
    (start,) = settle(session, windows, scores_of("Dog", 4, INFO.steps))
    (end,) = settle(session, session.flush(), scores_of("Dog", 0, INFO.steps)) + session.finish()
    assert (start.id, end.id, end.onset) == (1, 1, start.onset)
    assert end.offset == pytest.approx(5.0 + WINDOW_S + 0.1, abs=1e-4)
    assert not session.active


def test_a_recording_that_is_too_short_for_the_model_has_no_events():
    session = make_session()
    assert not session.active
    assert session.take(block(0, 0.001))[0] == []
    assert session.active
    assert session.flush() == []
    assert session.finish() == []
    assert not session.active


def test_a_gap_is_a_message():
    session = make_session()
    session.take(block(0, 2))
    session.flush()
    session.finish()
    assert session.lose(Gap(2.0, 5.123456, "unplugged")) == [
        GapMessage(source="yard", onset=2.0, offset=5.1235, time=None, reason="unplugged")
    ]


def test_coverage_is_reported_at_the_end_of_each_hour():
    session = make_session()
    session.take(block(0, 18))
    session.lose(Gap(18, 1800, "a bad cable"))
    assert session.take(block(1800, 18))[1] == []
    (_, first) = session.lose(Gap(1818, 3700, "a bad cable"))
    assert first == CoverageStatus(source="yard", time=None, onset=0, offset=3600, share=0.01, gaps=2)
    assert session.coverage == Coverage(heard_s=0, lost_s=100, gaps=0)  # of the new hour
    assert session.all_time == Coverage(heard_s=36, lost_s=3664, gaps=2)
    assert session.end_s == 3700


def test_hours_that_were_lost_are_hours_too():
    session = make_session()
    session.take(block(0, 36))
    _, *hours = session.lose(Gap(36, 5 * 3600, "unplugged"))
    assert [(hour.onset, hour.offset, hour.share, hour.gaps) for hour in hours] == [
        (0, 3600, 0.01, 1),
        *((3600.0 * i, 3600.0 * (i + 1), 0, 0) for i in range(1, 5)),
    ]
    assert session.all_time.share == pytest.approx(36 / 18_000)


def test_an_hour_that_ends_in_the_middle_of_a_block():
    session = make_session()
    session.lose(Gap(0, 3599.5, "late"))
    _, messages = session.take(block(3599.5, 1))
    (hour,) = (message for message in messages if isinstance(message, CoverageStatus))
    assert hour.share == pytest.approx(0.5 / 3600, abs=1e-6)
    assert session.coverage == Coverage(heard_s=0.5)


def test_a_share_has_six_decimals():
    session = make_session()
    session.lose(Gap(0, 3500, "late"))
    session.take(block(3500, 50))
    _, hour = session.lose(Gap(3550, 3600, "late"))
    assert hour.share == 0.013889


def test_nothing_heard_nor_lost_is_full_coverage():
    assert Coverage().share == 1


def test_an_input_fault_and_its_end_are_messages(samples):
    session = make_session(health=HealthConfig())
    _, messages = session.take(block(0, 6, rate=32_000))
    fault = messages[-1]
    assert isinstance(fault, InputFault)
    assert (fault.problem, fault.time) == ("digital zero", None)
    assert "alsamixer" in fault.advice
    assert session.faults == {"digital zero"}
    assert session.level_dbfs == pytest.approx(-200)
    _, messages = session.take(AudioBlock(6, 32_000, samples[: 10 * 32_000]))
    assert messages == [InputOk(source="yard", time=None, problem="digital zero")]
    assert session.faults == set()
    assert -60 < session.level_dbfs < 0


def test_a_gap_interrupts_what_would_become_a_fault():
    session = make_session(health=HealthConfig())
    session.take(block(0, 4, rate=32_000))
    session.flush()
    session.finish()
    session.take(block(5, 4, rate=32_000))
    assert session.faults == set()
    session.take(block(9, 1, rate=32_000))
    assert session.faults == {"digital zero"}


def test_a_fault_outlives_a_gap_but_not_another_rate():
    session = make_session(health=HealthConfig())
    session.take(block(0, 6, rate=32_000))
    session.flush()
    session.finish()
    session.take(block(7, 1, rate=32_000))
    assert session.faults == {"digital zero"}
    session.flush()
    session.finish()
    session.take(block(9, 1, rate=16_000))
    assert session.faults == set()


def test_health_that_is_off_finds_nothing():
    session = make_session(health=QUIET)
    assert len(session.take(block(0, 6))[1]) == 1
    assert (session.faults, session.level_dbfs) == (set(), float("-inf"))


def test_live_messages_have_the_time_of_day():
    session = make_session(live=True)
    session.feed.clock.observe(1.0, time.monotonic())
    _, (listening,) = session.take(block(0, 1))
    (gap,) = session.lose(Gap(1, 61, "unplugged"))
    assert TIME.fullmatch(listening.time)
    assert gap.time > listening.time
    windows, _ = session.take(block(61, WINDOW_S + 0.1))
    (start, _) = settle(session, windows, scores_of("Dog", 4, 8)) + session.finish()
    assert start.time > gap.time


def test_before_the_first_samples_the_time_is_not_known():
    session = make_session(live=True)
    assert session.lose(Gap(0, 1, "late"))[0].time is None


def test_what_happens_to_a_source_is_a_message():
    lost, back = Notice(SourceLost, "unplugged"), Notice(SourceBack, "the microphone is back")
    assert make_session().notice(lost) == SourceLost(source="yard", time=None, text="unplugged")
    message = make_session(live=True).notice(back)
    assert (type(message), message.text) == (SourceBack, "the microphone is back")
    assert TIME.fullmatch(message.time)


def test_observers_see_audio_scores_and_events_at_their_place():
    observers = [Kept(), Kept()]
    session = make_session(observers=observers)
    events = []
    for start_s in (0.0, 20.0):
        windows, _ = session.take(block(start_s, WINDOW_S + 0.1))
        events += settle(session, windows, scores_of("Dog", 4, 8))
        events += settle(session, session.flush(), scores_of("Dog", 4, 8)) + session.finish()
        session.lose(Gap(session.end_s, start_s + 20, "unplugged"))
    for observer in observers:
        assert [block.end_s for block in observer.blocks] == pytest.approx([10.34, 30.34])
        assert observer.events == events
        assert observer.ends == pytest.approx([10.34, 30.34])
        for first in (0.0, 20.0):
            own = [span for span in observer.spans if first <= span[0] < first + 15]
            assert own[0][0] == pytest.approx(first)
            assert own[-1][1] == pytest.approx(first + WINDOW_S + INFO.step_s, abs=INFO.step_s)
            assert [a[1] for a in own[:-1]] == pytest.approx([b[0] for b in own[1:]])
