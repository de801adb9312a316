"""A source's level as messages and events, beside a slow count of the same seconds."""

import itertools
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import LevelConfig, LevelEventConfig
from htsat_edge.runtime.daemon.level import LevelReporter, with_level_label
from htsat_edge.runtime.daemon.messages import LevelStatus
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

RATE = 8000
BEGUN = datetime(2026, 11, 27, tzinfo=timezone.utc)


def tone(*spans):
    """A sine of 1 kHz in spans of (seconds, dBFS of its peak)."""
    gains = np.concatenate([np.full(round(seconds * RATE), 10 ** (dbfs / 20)) for seconds, dbfs in spans])
    return (gains * np.sin(2 * np.pi * 1000 * np.arange(len(gains)) / RATE)).astype(np.float32)


def make(time_of=lambda _: None, **config):
    return LevelReporter(LevelConfig(**config), "yard", itertools.count(1), time_of)


def listen(reporter, samples, start_s=0.0, block=1000):
    """Push samples and settle them as they come; return the messages."""
    messages, count = [], 0
    reporter.begin(start_s, RATE)
    for at in range(0, len(samples), block):
        reporter.push(samples[at : at + block])
        count += len(samples[at : at + block])
        messages += reporter.settle(count / RATE)
    return messages + reporter.end()


def test_each_second_is_a_message():
    first, second = listen(make(offset_db=120, every_s=1), tone((1, -20), (1, -40)), start_s=5.0)
    assert first == LevelStatus(
        source="yard", time=None, onset=5.0, offset=6.0, dbfs=-23.01, laeq_db=96.99, lamax_db=96.99
    )
    assert (second.onset, second.offset, second.dbfs) == (6.0, 7.0, -43.01)
    assert second.lamax_db == pytest.approx(96.99, abs=0.05)  # the time weighting goes on


def test_a_minute_is_the_mean_of_its_power():
    (minute,) = listen(make(offset_db=120, every_s=60), tone((6, -20), (54, -80)))
    assert (minute.onset, minute.offset) == (0.0, 60.0)
    assert minute.laeq_db == pytest.approx(96.99 - 10, abs=0.01)
    assert minute.lamax_db == pytest.approx(96.99, abs=0.01)


def test_without_a_calibration_there_is_the_level_in_dbfs():
    (second,) = listen(make(every_s=1), tone((1, -20)))
    assert (second.dbfs, second.laeq_db, second.lamax_db) == (-23.01, None, None)


def test_a_span_that_a_gap_cuts_short_is_of_its_whole_seconds():
    reporter = make(every_s=60)
    (cut,) = listen(reporter, tone((2.9, -20)))
    assert (cut.onset, cut.offset) == (0.0, 2.0)
    assert listen(reporter, tone((0.9, -20)), start_s=10.0) == []
    (after,) = listen(reporter, tone((1, -20)), start_s=20.0)
    assert (after.onset, after.offset) == (20.0, 21.0)


def test_a_message_has_the_time_of_its_onset():
    reporter = make(lambda position_s: BEGUN + timedelta(seconds=position_s), every_s=1)
    assert listen(reporter, tone((1, -20)), start_s=1.5)[0].time == "2026-11-27T00:00:01.500+00:00"


def test_a_level_above_the_limit_is_an_event():
    reporter = make(offset_db=100, event=LevelEventConfig(above_db=85))
    start, end, again, last = listen(reporter, tone((2, -40), (1, -10), (3, -40), (1, -10)), start_s=10.0)
    assert start == EventStart(source="yard", id=1, label="Loud sound", onset=12.0, time=None, score=1.0)
    assert isinstance(end, EventEnd)
    assert (end.id, end.onset, end.score) == (1, 12.0, 1.0)
    assert end.offset == 13.25  # 5 dB below the level is 144 ms after it
    assert (again.id, again.onset) == (2, 16.0)
    assert (last.id, last.offset) == (2, 17.0)  # with the recording


def test_a_level_that_wavers_around_the_limit_is_one_event():
    wavering = [(0.5, -10.9), (0.5, -13.1)] * 4
    for release_db, merge_gap_s, count in ((3, 0, 1), (0, 0, 4), (0, 1, 1)):
        event = LevelEventConfig(above_db=-14.5, release_db=release_db, merge_gap_s=merge_gap_s)
        messages = listen(make(event=event), tone((1, -40), *wavering, (3, -40)))
        assert [message.type for message in messages] == ["start", "end"] * count


def test_a_short_event_may_be_left_out():
    samples = tone((1, -40), (0.2, -10), (3, -40), (2, -10), (1, -40))
    event = LevelEventConfig(above_db=-20, min_length_s=1)
    assert [message.onset for message in listen(make(event=event), samples)] == [4.125, 4.125]


def test_nothing_is_measured_where_nothing_is_wanted():
    reporter = make()
    assert listen(reporter, tone((2, -10))) == []
    assert reporter.spans() == {}


def test_the_last_second_and_the_last_span_are_there_for_metrics():
    reporter = make(offset_db=100)
    listen(reporter, tone((59, -80), (1.5, -20)))
    spans = reporter.spans()
    assert sorted(spans) == [1, 60]
    assert spans[1].dbfs == pytest.approx(-23.01, abs=0.01)
    assert spans[60].dbfs == pytest.approx(-23.01 - 17.78, abs=0.01)
    assert sorted(make(every_s=1).spans()) == []


def test_nothing_comes_before_it_is_settled():
    reporter = make(every_s=1, event=LevelEventConfig(above_db=-20))
    reporter.begin(0.0, RATE)
    reporter.push(tone((2, -10)))
    assert reporter.settle(0.124) == []
    assert [message.type for message in reporter.settle(0.125)] == ["start"]
    assert reporter.settle(0.99) == []
    assert [message.offset for message in reporter.settle(1.99)] == [1.0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=10))
def test_any_chunking_gives_the_same_messages(lengths):
    rng = np.random.default_rng(0)
    samples = tone(*[(0.25, dbfs) for dbfs in rng.uniform(-60, 0, 16)])
    config = {"offset_db": 100, "every_s": 2, "event": LevelEventConfig(above_db=85, merge_gap_s=0)}
    wanted = listen(make(**config), samples, block=len(samples))
    assert {message.type for message in wanted} == {"start", "end", "status"}
    reporter, found, at = make(**config), [], 0
    reporter.begin(0.0, RATE)
    for length in [*lengths, len(samples)]:
        reporter.push(samples[at : at + length])
        at = min(at + length, len(samples))
        found += reporter.settle(at / RATE)
    assert [message.encoded for message in [*found, *reporter.end()]] == [message.encoded for message in wanted]


def test_the_label_of_an_event_is_no_other_class():
    loud = LevelConfig(event=LevelEventConfig(above_db=-20, label="Dog"))
    assert with_level_label(["Cat"], LevelConfig()) == ["Cat"]
    assert with_level_label(["Cat"], loud) == ["Cat", "Dog"]
    with pytest.raises(HtsatEdgeError, match=r"^level\.event\.label: Dog is a class, too; give another$"):
        with_level_label(["Cat", "Dog"], loud)
