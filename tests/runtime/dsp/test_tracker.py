"""Starts by the newest scores, ends by the final ones; test_hysteresis.py has events by final scores alone."""

import itertools
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.dsp.hysteresis import Rule
from htsat_edge.runtime.dsp.tracker import EventTracker

LABELS = ("Dog", "Fowl")


def tracker(early=0.7, min_length=1, merge_gap=0, classes=1, **options):
    full = np.ones(classes, np.float32)
    rule = Rule(full * np.float32(0.5), full * np.float32(0.3), min_length, merge_gap, full * np.float32(early))
    return EventTracker(LABELS[:classes], 1.0, rule, itertools.count(1), **options)


def column(*scores):
    return np.array(scores, np.float32)[:, None]


def brief(events):
    return [(e.type, e.id, e.onset, e.offset, e.score) for e in events]


def test_a_start_is_early_and_its_end_has_the_onset_of_the_final_scores():
    t = tracker()
    assert brief(t.push_newest(4, column(0.1, 0.8))) == [("start", 1, 5, None, 0.8)]
    assert t.push_newest(4, column(0.4, 0.9)) == []
    assert brief(t.push(column(0.1, 0.1, 0.1, 0.1, 0.4, 0.9, 0.1))) == [("end", 1, 4, 6, 0.9)]


def test_below_the_margin_a_start_waits_for_the_final_scores():
    t = tracker()
    assert t.push_newest(0, column(0.69)) == []
    assert brief(t.push(column(0.6))) == [("start", 1, 0, None, 0.6)]


def test_an_event_that_is_not_borne_out_ends_where_it_was_heard_last_with_the_score_that_is_left():
    t = tracker()
    t.push_newest(2, column(0.8, 0.4, 0.1))
    assert t.push(column(0.1, 0.1, 0.2)) == []
    assert brief(t.push(column(0.1))) == [("end", 1, 2, 4, 0.2)]
    assert t.push(column(0.1, 0.1)) == []
    assert brief(t.push_newest(9, column(0.8))) == [("start", 2, 9, None, 0.8)]


def test_what_may_yet_be_borne_out_goes_on():
    """Final scores at the release may still reach the threshold."""
    t = tracker()
    t.push_newest(0, column(0.8))
    assert t.push(column(0.4, 0.4, 0.4)) == []
    assert t.push(column(0.6)) == []
    assert brief(t.push(column(0.1))) == [("end", 1, 0, 4, 0.6)]


def test_newest_scores_that_are_still_sure_move_the_end():
    t = tracker()
    t.push_newest(0, column(0.8))
    t.push_newest(0, column(0.8, 0.8, 0.4))
    assert t.push(column(0.1, 0.1)) == []
    assert brief(t.push(column(0.1))) == [("end", 1, 0, 3, 0.1)]


def test_what_is_borne_out_later_than_it_was_heard_is_one_event():
    t = tracker()
    t.push_newest(0, column(0.8, 0.4, 0.4))
    assert t.push(column(0.1)) == []
    assert brief(t.push(column(0.4, 0.6, 0.1))) == [("end", 1, 1, 3, 0.6)]


def test_what_the_newest_scores_are_not_sure_of_waits_though_they_are_of_what_goes_on():
    t = tracker()
    t.push(column(0.9))
    assert t.push_newest(1, column(0.9, 0.1, 0.6)) == []


def test_of_two_sounds_the_first_that_reaches_the_threshold_starts():
    """The second is sure already: final scores will find the first one first, and the second then has its own start."""
    t = tracker()
    assert brief(t.push_newest(0, column(0.6, 0.1, 0.9))) == [("start", 1, 0, None, 0.6)]
    assert brief(t.push(column(0.6, 0.1))) == [("end", 1, 0, 1, 0.6)]
    assert brief(t.push_newest(2, column(0.9))) == [("start", 2, 2, None, 0.9)]


def test_an_event_that_goes_on_has_no_second_start():
    t = tracker()
    assert len(t.push(column(0.6))) == 1
    assert t.push_newest(1, column(0.9)) == []


def test_another_event_ends_the_one_that_goes_on():
    """Without waiting for the final scores, which may see two events as well, or one."""
    t = tracker(merge_gap=1)
    t.push(column(0.9, 0.4))
    assert t.push_newest(2, column(0.4, 0.1, 0.9)) == []
    assert brief(t.push_newest(2, column(0.4, 0.1, 0.1, 0.9))) == [
        ("end", 1, 0, 3, 0.9),
        ("start", 2, 5, None, 0.9),
    ]
    assert t.push_newest(2, column(0.4, 0.1, 0.1, 0.9)) == []
    assert t.push(column(0.1, 0.1, 0.1)) == []
    assert brief(t.push(column(0.6, 0.1, 0.1))) == [("end", 2, 5, 6, 0.6)]


def test_another_event_need_not_wait_for_the_first_to_be_borne_out():
    t = tracker()
    assert [e.type for e in t.push_newest(0, column(0.9))] == ["start"]
    assert brief(t.push_newest(0, column(0.9, 0.1, 0.8))) == [("end", 1, 0, 1, 0.9), ("start", 2, 2, None, 0.8)]
    assert t.push(column(0.6, 0.1)) == []  # the first, which has ended
    assert brief(t.push(column(0.7, 0.1))) == [("end", 2, 2, 3, 0.7)]


def test_what_only_the_final_scores_find_before_an_event_that_goes_on_is_no_second_alarm():
    t = tracker()
    assert brief(t.push_newest(0, column(0.4, 0.1, 0.1, 0.9))) == [("start", 1, 3, None, 0.9)]
    assert t.push(column(0.6, 0.1, 0.1)) == []
    assert brief(t.push(column(0.8, 0.1))) == [("end", 1, 3, 4, 0.8)]


def test_another_event_may_begin_earlier_by_the_final_scores():
    t = tracker()
    t.push_newest(0, column(0.9))
    t.push_newest(0, column(0.9, 0.1, 0.1, 0.8))
    assert brief(t.push(column(0.6, 0.1, 0.4, 0.7, 0.1))) == [("end", 2, 2, 4, 0.7)]


def test_another_event_that_is_one_for_the_final_scores_has_their_end():
    t = tracker()
    t.push(column(0.9))
    assert [e.type for e in t.push_newest(1, column(0.1, 0.9))] == ["end", "start"]
    assert brief(t.push(column(0.4, 0.8, 0.1))) == [("end", 2, 2, 3, 0.9)]


def test_another_event_that_is_not_borne_out_ends_after_the_first():
    t = tracker()
    t.push(column(0.9))
    assert [e.type for e in t.push_newest(1, column(0.1, 0.9))] == ["end", "start"]
    assert t.push(column(0.1)) == []
    assert brief(t.push(column(0.2))) == [("end", 2, 2, 3, 0.2)]


def test_an_onset_reaches_back_into_the_final_scores():
    t = tracker()
    t.push(column(0.1, 0.4, 0.4))
    assert brief(t.push_newest(3, column(0.4, 0.9))) == [("start", 1, 1, None, 0.9)]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_evidence_may_be_asked_for_by_class(length):
    t = tracker(min_length=np.array([length, 1]), classes=2)
    heard = [len(t.push_newest(0, np.full((count, 2), 0.9, np.float32))) for count in (1, 2, 3)]
    assert heard == [2 if length == 1 else 1, int(length == 2), int(length == 3)]


def test_a_class_may_never_start_early():
    assert tracker(early=np.inf).push_newest(0, column(1.0)) == []


def test_a_corrected_onset_moves_the_time_of_day_by_as_much_whatever_became_of_the_clock():
    times = iter([datetime(2026, 5, 1, 21, 30, 10, tzinfo=timezone.utc)])
    t = tracker(time_of=lambda _: next(times))
    (start,) = t.push_newest(5, column(0.8))
    (end,) = t.push(column(0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1))
    assert (start.onset, start.time) == (5, "2026-05-01T21:30:10.000+00:00")
    assert (end.onset, end.time) == (3, "2026-05-01T21:30:08.000+00:00")


def test_a_recording_that_ends_ends_early_events_too():
    t = tracker(classes=2)
    t.push_newest(0, np.array([[0.9, 0.1]], np.float32))
    t.push(np.array([[0.2, 0.9]], np.float32))
    t.push_newest(1, np.array([[0.9, 0.9]], np.float32))
    assert [(e.label, e.onset, e.offset, e.score) for e in t.flush(1.5)] == [("Dog", 1, 1.5, 0.0), ("Fowl", 0, 1, 0.9)]


levels = st.sampled_from([0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.9])
rows = st.lists(st.lists(levels, min_size=2, max_size=2), min_size=1, max_size=30)


@settings(deadline=None, max_examples=300)
@given(rows, st.integers(0, 1000), st.integers(1, 3), st.integers(0, 2), st.integers(0, 4))
def test_every_start_has_its_end_and_every_final_event_is_told(final, seed, min_length, merge_gap, look_ahead):
    """Whatever the newest scores say: each final event is reported, and exactly unless they saw two in it."""
    rng, final = np.random.default_rng(seed), np.array(final, np.float32)
    t, plain = (tracker(early, min_length, merge_gap, 2) for early in (0.7, np.inf))
    began = datetime(2026, 5, 1, tzinfo=timezone.utc)
    t._time_of = lambda position_s: began + timedelta(seconds=position_s)
    events, cut = [], set()
    for end in range(len(final) + look_ahead):
        begin = max(end + 1 - look_ahead, 0)
        if begin and begin <= len(final):
            events += t.push(final[begin - 1 : begin])
        newest = t.push_newest(begin, rng.choice([0.1, 0.4, 0.6, 0.9], (end + 1 - begin, 2)).astype(np.float32))
        cut |= {event.label for event in newest if isinstance(event, EventEnd)}
        events += newest
    events += t.flush()
    ends = [e for e in events if isinstance(e, EventEnd)]
    for wanted in plain.push(final) + plain.flush():
        if isinstance(wanted, EventEnd):
            told = [
                e for e in ends if e.label == wanted.label and e.onset <= wanted.offset and e.offset >= wanted.onset
            ]
            later = [e for e in ends if e.label == wanted.label and e.onset >= wanted.offset]
            assert told or later  # of two, the newest scores found the second first
            if told and wanted.label not in cut:
                exact = {(e.onset, e.offset, e.score) for e in told}
                assert later or (wanted.onset, wanted.offset, wanted.score) in exact
    for label in ("Fowl", "Dog"):
        spans = [(e.onset, e.offset) for e in ends if e.label == label]
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), "no two events of a class overlap"
    open_ids = {}
    for event in events:
        assert event.time == (began + timedelta(seconds=event.onset)).isoformat(timespec="milliseconds")
        if isinstance(event, EventStart):
            assert event.label not in open_ids
            open_ids[event.label] = event.id
        else:
            assert open_ids.pop(event.label) == event.id
            assert event.offset > event.onset
    assert not open_ids
