"""Thresholds that change in the middle of a recording: each part has the events that the store's replay finds in it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import EventStream
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.dsp.tracker import EventTracker
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.replay import replay
from htsat_edge.runtime.store.setup import Setup

INFO = load_bundle().info
DOG, STEPS = INFO.labels.index("Dog"), INFO.steps


def framewise(loud, steps=STEPS, score=0.9):
    """Scores of a window in which there is a Dog in some steps."""
    scores = np.zeros((steps, len(INFO.labels)), np.float32)
    scores[loud, DOG] = score
    return scores


def window(step):
    return Window(step, np.zeros((1, 1), np.float32), None, (step + STEPS) * INFO.step_s)


class Stream:
    """Scores of a Dog that sounds in some steps of a source, a window each step."""

    def __init__(self, chosen, *dogs, score=0.9):
        self.trace, self.messages, self.onsets = Trace(), [], [0]
        self._stream = EventStream(INFO, chosen, self.trace, source="yard")
        self._dogs, self._score, self.step = dogs, score, 0

    def push(self, count):
        for _ in range(count):
            loud = [k - self.step for dog in self._dogs for k in dog if 0 <= k - self.step < STEPS]
            self.messages += self._stream.push(window(self.step), framewise(loud, score=self._score))
            self.step += 1

    def retune(self, chosen):
        self.onsets.append(len(self.trace.score.rows()))
        self.messages += self._stream.retune(chosen)

    def events(self):
        """What was reported: number, onset and offset in steps."""
        ends = [e for e in self.messages if isinstance(e, EventEnd)]
        starts = [e.id for e in self.messages if isinstance(e, EventStart)]
        assert starts == sorted(set(starts))
        assert sorted(e.id for e in ends) <= starts
        return [(e.id, round(e.onset / INFO.step_s), round(e.offset / INFO.step_s)) for e in ends]


BASE = Settings(labels=("Dog",), thresholds={"Dog": 0.5}, mirror_s=0.0)
HIGH = replace(BASE, thresholds={"Dog": 0.95})
LOW = replace(BASE, thresholds={"Dog": 0.3})


def test_what_goes_on_by_final_scores_ends_where_the_thresholds_change_and_begins_anew():
    stream = Stream(BASE, range(40, 80))
    stream.push(40)  # up to step 71, final up to 62
    stream.retune(LOW)
    stream.push(60)
    at = stream.onsets[1]
    assert 40 < at < 71
    assert stream.events() == [(1, 40, at), (2, at, 80)]
    assert [message.id for message in stream.messages] == [1, 1, 2, 2]


def test_a_start_that_was_early_is_not_reported_twice_where_the_new_thresholds_bear_it_out():
    stream = Stream(BASE, range(40, 50))
    stream.push(12)  # it is heard, and no score of it is final
    assert [type(m) for m in stream.messages] == [EventStart]
    stream.retune(LOW)
    assert stream.onsets[1] < 40
    stream.push(60)
    assert stream.events() == [(1, 40, 50)]
    assert len(stream.messages) == 2


def test_a_start_that_was_early_and_is_none_by_the_new_thresholds_ends_once():
    stream = Stream(BASE, range(40, 50))
    stream.push(12)
    stream.retune(HIGH)
    stream.push(60)
    ((number, onset, _),) = stream.events()
    assert (number, onset, len(stream.messages)) == (1, 40, 2)


@pytest.mark.parametrize("after", range(9, 60, 3))
def test_whenever_the_thresholds_change_each_start_has_one_end_and_no_sound_two_starts(after):
    """But for one that goes on by final scores, which is cut in two there."""
    stream = Stream(BASE, range(40, 50), range(55, 60))
    stream.push(after)
    stream.retune(LOW)
    stream.push(100 - after)
    at, found = stream.onsets[1], stream.events()
    parts = [(max(a, lo), min(b, hi)) for a, b in ((40, 50), (55, 60)) for lo, hi in ((0, at), (at, 999))]
    assert [event[1:] for event in found] == [(lo, hi) for lo, hi in parts if lo < hi]
    assert [event[0] for event in found] == [*range(1, len(found) + 1)]


def test_scores_and_the_median_go_on_untouched():
    plain, other = Stream(BASE, range(40, 50)), Stream(BASE, range(40, 50))
    plain.push(80)
    for _ in range(8):
        other.push(10)
        other.retune(LOW)
    np.testing.assert_array_equal(other.trace.score.rows(), plain.trace.score.rows())


def test_settings_that_do_not_fit_change_nothing():
    stream = Stream(BASE, range(40, 50))
    stream.push(12)
    with pytest.raises(HtsatEdgeError, match="is no class of this model"):
        stream.retune(replace(BASE, thresholds={"Dgo": 0.5}))
    stream.push(60)
    assert stream.events() == [(1, 40, 50)]


SCORES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.9])
ROWS = st.lists(st.lists(SCORES, min_size=2, max_size=2), min_size=1, max_size=40)
LIMITS = st.sampled_from([0.2, 0.3, 0.5, 0.6])


@st.composite
def rules(draw):
    thresholds = [draw(LIMITS), draw(LIMITS)]
    setup = Setup(
        model="two",
        step_s=1.0,
        labels=["Animal", "Dog"],
        thresholds=thresholds,
        releases=[0.6 * x for x in thresholds],
        min_length=2,
        confirm=[0, 0],
        merge_gap=1,
        below=[(1, 0)],
    )
    return setup.rule()


@settings(max_examples=200, deadline=None)
@given(ROWS, ROWS, rules(), rules())
def test_each_part_has_the_events_that_a_replay_from_its_beginning_finds(before, after, first, second):
    """As the store's runs do, which begin anew where another setup does."""
    tracker = EventTracker(["Animal", "Dog"], 1.0, first, itertools.count(1))
    events = tracker.push(np.array(before, np.float32))
    events += tracker.retune(second)
    events += tracker.push(np.array(after, np.float32)) + tracker.flush()
    found = sorted((e.label, e.onset, e.offset, e.score) for e in events if isinstance(e, EventEnd))
    wanted = [
        (("Animal", "Dog")[one.k], one.onset + begin, one.offset + begin, round(one.peak, 4))
        for rule, scores, begin in ((first, before, 0), (second, after, len(before)))
        for one in replay(rule, np.array(scores, np.float32)).heard
        if one.found
    ]
    assert found == sorted(wanted)
    assert [e.id for e in events if isinstance(e, EventStart)] == [*range(1, len(found) + 1)]
