import itertools
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.dsp.hysteresis import Rule, advance, initial_state
from htsat_edge.runtime.dsp.tracker import EventTracker

LABELS = ("Dog", "Fowl")
BEGAN = datetime(2026, 5, 1, 21, 30, tzinfo=timezone.utc)


def rule(threshold=0.5, release=0.3, min_length=1, merge_gap=0, classes=1):
    full = np.full(classes, 1, np.float32)
    return Rule(full * np.float32(threshold), full * np.float32(release), min_length, merge_gap)


def column(scores):
    scores = np.asarray(scores, np.float32)
    return scores[:, None] if scores.ndim == 1 else scores


def run(scores, rule, sizes=(), step_s=1.0, **options):
    """The events of a whole recording, which comes in parts."""
    scores = column(scores)
    tracker = EventTracker(LABELS[: scores.shape[1]], step_s, rule, itertools.count(1), **options)
    parts = np.split(scores, np.cumsum(sizes)) if len(sizes) else [scores]
    return [event for part in parts for event in tracker.push(part)] + tracker.flush()


def ended(events):
    """Class, onset and offset in steps of 1 s, and peak."""
    return [(LABELS.index(e.label), e.onset, e.offset, e.score) for e in events if isinstance(e, EventEnd)]


def slow(scores, rule):
    """A twin that sees the whole recording: runs above the release that reach the threshold, merged, then filtered."""
    events = []
    for k in range(scores.shape[1]):
        runs, begin = [], None
        for step, score in enumerate([*scores[:, k], -1.0]):
            if score >= rule.release[k] and begin is None:
                begin = step
            if score < rule.release[k] and begin is not None:
                peak = scores[begin:step, k].max()
                if peak >= rule.threshold[k]:
                    runs.append((begin, step, peak))
                begin = None
        merged = []
        for begin, end, peak in runs:
            if merged and begin - merged[-1][1] <= rule.merge_gap:
                merged[-1] = (merged[-1][0], end, max(peak, merged[-1][2]))
            else:
                merged.append((begin, end, peak))
        events += [
            (k, begin, end, round(float(peak), 4)) for begin, end, peak in merged if end - begin >= rule.min_length
        ]
    return sorted(events)


# 0.3 and 0.5 are the release and the threshold themselves.
scores_of = st.lists(
    st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.9]), min_size=2, max_size=2), max_size=40
)


def rows_of(rows):
    return np.array(rows, np.float32).reshape(-1, 2)


@settings(deadline=None, max_examples=300)
@given(scores_of, st.integers(1, 4), st.integers(0, 4))
def test_events_are_those_of_the_whole_recording(rows, min_length, merge_gap):
    scores, which = rows_of(rows), rule(min_length=min_length, merge_gap=merge_gap, classes=2)
    assert sorted(ended(run(scores, which))) == slow(scores, which)


@settings(deadline=None)
@given(scores_of, st.lists(st.integers(0, 9), max_size=6))
def test_any_chunking_gives_the_same_events(rows, sizes):
    scores, which = rows_of(rows), rule(min_length=2, merge_gap=2, classes=2)
    assert run(scores, which, sizes) == run(scores, which)


@settings(deadline=None)
@given(scores_of)
def test_every_end_has_its_start_before_it(rows):
    """And its number, its onset and its time; at most one event of a class goes on."""
    went_on = rule(min_length=2, merge_gap=1, classes=2)
    going_on, events = {}, run(rows_of(rows), went_on, time_of=lambda s: BEGAN + timedelta(seconds=s))
    for event in events:
        assert event.time == f"2026-05-01T21:{30 + int(event.onset) // 60}:{int(event.onset) % 60:02}.000+00:00"
        if isinstance(event, EventStart):
            assert event.label not in going_on
            going_on[event.label] = event
        else:
            start = going_on.pop(event.label)
            assert (event.id, event.onset, event.time) == (start.id, start.onset, start.time)
            assert event.offset > event.onset
            assert event.score >= start.score
    assert not going_on
    assert [e.id for e in events if isinstance(e, EventStart)] == list(range(1, len(events) // 2 + 1))


# The pure step


def walk(scores, rule):
    """The state, the starts and the ends of each step."""
    state, found = initial_state(1), []
    for row in column(scores):
        state, starts, ends = advance(state, row, rule)
        found.append((state, bool(starts[0]), bool(ends[0])))
    return found


def test_a_start_comes_as_soon_as_the_event_is_long_enough():
    assert [starts for _, starts, _ in walk([0.6, 0.6, 0.6, 0.6], rule(min_length=3))] == [False, False, True, False]


def test_an_end_comes_as_soon_as_nothing_can_be_merged():
    assert [ends for *_, ends in walk([0.6, 0.1, 0.1, 0.1, 0.1], rule(merge_gap=2))] == [
        False,
        False,
        False,
        True,
        False,
    ]


def test_a_step_changes_no_state():
    """The state before a step is as it was: a caller may go back to it."""
    (first, *_), (second, *_) = walk([0.6, 0.1], rule())
    assert (first.step, first.run[0], first.hot[0], first.open[0], first.started[0]) == (1, 0, True, True, True)
    assert (first.onset[0], first.offset[0], first.peak[0]) == (0, 1, np.float32(0.6))
    assert (second.step, second.run[0], second.hot[0], second.open[0], second.started[0]) == (
        2,
        -1,
        False,
        False,
        False,
    )


def test_nothing_is_known_before_a_recording():
    state = initial_state(3)
    assert state.step == 0
    assert state.run.tolist() == [-1, -1, -1]
    assert not (state.hot | state.open | state.started).any()


@pytest.mark.parametrize(("score", "offset"), [(0.3, 2), (np.nextafter(np.float32(0.3), np.float32(0)), 1)])
def test_a_score_at_the_release_goes_on(score, offset):
    assert ended(run([0.6, score, 0.1], rule())) == [(0, 0, offset, 0.6)]


@pytest.mark.parametrize(("score", "count"), [(0.5, 1), (np.nextafter(np.float32(0.5), np.float32(0)), 0)])
def test_a_score_at_the_threshold_is_an_event(score, count):
    assert len(ended(run([0.1, score, 0.1], rule()))) == count


def test_hysteresis_reaches_back_to_the_release():
    assert ended(run([0.1, 0.4, 0.6, 0.4, 0.1], rule())) == [(0, 1, 4, 0.6)]


def test_a_near_run_below_the_threshold_keeps_the_end_open():
    """The gap is one step, but the second run reaches the threshold only later: still one event."""
    assert len(ended(run([0.9, 0.1, 0.4, 0.4, 0.4, 0.9, 0.1], rule(merge_gap=1)))) == 1
    assert len(ended(run([0.9, 0.1, 0.4, 0.4, 0.4, 0.1, 0.9], rule(merge_gap=1)))) == 2


# Events


def test_a_start_has_the_peak_so_far_and_the_end_the_peak():
    assert run([0.6, 0.9, 0.1], rule()) == [
        EventStart(source="", id=1, label="Dog", onset=0, time=None, score=0.6),
        EventEnd(source="", id=1, label="Dog", onset=0, offset=2, time=None, score=0.9),
    ]


def test_positions_are_seconds_since_the_source_began():
    start, end = run([0.1, 0.6, 0.6, 0.1], rule(), step_s=0.32, origin_s=100.00004, source="yard")
    assert (start.source, start.onset) == ("yard", 100.32)
    assert (end.source, end.onset, end.offset) == ("yard", 100.32, 100.96)


def test_a_clock_that_is_set_meanwhile_moves_no_event():
    times = iter([BEGAN, BEGAN + timedelta(hours=1)])
    start, end, other, _ = run([0.6, 0.1, 0.6], rule(), time_of=lambda _: next(times))
    assert start.time == end.time == "2026-05-01T21:30:00.000+00:00"
    assert other.time == "2026-05-01T22:30:00.000+00:00"


def test_the_last_step_reaches_past_the_end_of_a_recording():
    """The end of what goes on, and of what ends by then, is the recording's, which counts from the first step."""
    tracker = EventTracker(LABELS, 0.32, rule(classes=2), itertools.count(1), origin_s=10.0)
    events = tracker.push(column([[0.6, 0.6], [0.6, 0.1]]), end_s=0.3)
    assert [(e.label, e.type, e.offset) for e in events] == [
        ("Dog", "start", None),
        ("Fowl", "start", None),
        ("Fowl", "end", 10.3),
    ]
    assert [(e.label, e.offset) for e in tracker.flush(0.5)] == [("Dog", 10.5)]
    assert tracker.flush(0.5) == []


def test_numbers_go_on_in_the_next_recording_of_a_source():
    ids = itertools.count(1)
    for wanted in (1, 2):
        tracker = EventTracker(LABELS[:1], 1.0, rule(), ids)
        assert [event.id for event in tracker.push(column([0.6, 0.1]))] == [wanted, wanted]


def test_a_class_that_is_not_reported_takes_no_number():
    which = Rule(np.array([np.inf, 0.5], np.float32), np.array([np.inf, 0.3], np.float32))
    events = run([[0.9, 0.1], [0.9, 0.9], [0.1, 0.1]], which)
    assert [(event.label, event.id) for event in events] == [("Fowl", 1), ("Fowl", 1)]
