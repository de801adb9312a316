"""A replay of stored scores gives what the tracker gives; what became of each step has a slow and obvious twin."""

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.dsp.hysteresis import find_general
from htsat_edge.runtime.dsp.tracker import EventTracker
from htsat_edge.runtime.store.records import StoredEvent
from htsat_edge.runtime.store.replay import find_threshold, narrow, replay
from htsat_edge.runtime.store.runs import ScoreRun
from htsat_edge.runtime.store.score_codes import decode, encode
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.stages import follow

LABELS = ["Animal", "Dog", "Bark", "Fowl"]
TREES = ([], [(1, 0)], [(1, 0), (2, 0), (2, 1)], [(1, 0), (3, 0)])
"""Pairs of a class and one that is more general."""
SCORES = st.sampled_from([0.0, 0.005, 0.02, 0.1, 0.2, 0.28, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 0.9, 0.999])


@st.composite
def setups(draw, reported=st.booleans()):
    share, k = draw(st.sampled_from([0.3, 0.6, 1.0])), len(LABELS)
    below = draw(st.sampled_from(TREES))
    own = [draw(st.sampled_from([0.1, 0.3, 0.5, 0.56])) for _ in LABELS]
    own = [x if any(i in pair for pair in below) or draw(reported) else None for i, x in enumerate(own)]
    own[0] = own[0] or 0.5
    return Setup(
        model="tiny",
        step_s=0.5,
        labels=LABELS,
        thresholds=own,
        releases=[None if x is None else float(np.float32(x) * np.float32(share)) for x in own],
        min_length=draw(st.integers(1, 3)),
        confirm=[draw(st.sampled_from([0, 0, 2, 4])) for _ in range(k)],
        merge_gap=draw(st.integers(0, 3)),
        below=below,
    )


@st.composite
def stored_scores(draw):
    """Scores as they come out of the store."""
    rows = draw(st.lists(st.lists(SCORES, min_size=len(LABELS), max_size=len(LABELS)), min_size=1, max_size=30))
    scores = np.array(rows, np.float32)
    return decode(encode(scores), *scores.shape)


def tracked(rule, scores):
    """The events of the daemon's own tracker by class: onset and offset in steps, and peak."""
    tracker = EventTracker([*map(str, range(scores.shape[1]))], 1.0, rule, itertools.count(1))
    events = [*tracker.push(scores), *tracker.flush()]
    return sorted((int(e.label), e.onset, e.offset, e.score) for e in events if isinstance(e, EventEnd))


def replayed(rule, scores):
    found = [heard for heard in replay(rule, scores).heard if heard.found]
    return sorted((one.k, one.onset, one.offset, round(one.peak, 4)) for one in found)


@settings(deadline=None, max_examples=150)
@given(setups(), stored_scores())
def test_a_replay_finds_the_events_of_the_tracker(setup, scores):
    """Of all classes, and of one with those alone that matter to it."""
    rule = setup.rule()
    assert replayed(rule, scores) == tracked(rule, scores)
    for k in range(len(LABELS)):
        own, columns = narrow(rule, k)
        alone = [event[1:] for event in replayed(own, scores[:, columns]) if event[0] == len(columns) - 1]
        assert alone == [event[1:] for event in tracked(rule, scores) if event[0] == k]


@settings(deadline=None)
@given(setups(), stored_scores())
def test_what_hides_a_class_is_what_the_hysteresis_takes_for_it(setup, scores):
    for k in range(len(LABELS)):
        rule, columns = narrow(setup.rule(), k)
        played = replay(rule, scores[:, columns])
        for step, state in enumerate(played.states):
            hidden = rule.below is not None and find_general(state, played.scores[step], rule, rule.below)[0][-1]
            assert bool(played.hiding(step)) == hidden


@settings(deadline=None, max_examples=150)
@given(setups(st.just(True)), stored_scores(), st.integers(0, len(LABELS) - 1), st.data())
def test_the_threshold_that_is_found_is_the_highest_with_which_an_event_covers_the_step(setup, scores, k, data):
    step = data.draw(st.integers(0, len(scores) - 1))
    share = setup.releases[0] / setup.thresholds[0]
    rule, columns = narrow(setup.rule(), k)

    def covers(threshold):
        """Whether the tracker finds an event with a threshold in the daemon's configuration."""
        thresholds, releases = setup.rule().threshold, setup.rule().release
        thresholds[k] = threshold
        releases[k] = thresholds[k] * np.float32(share)
        other = replace(setup.rule(), threshold=thresholds, release=releases)
        return any(onset <= step < offset for own, onset, offset, _ in tracked(other, scores) if own == k)

    found = find_threshold(rule, share, scores[:, columns], step)
    assert found is None or covers(found)
    above = 0.0001 if found is None else found + 0.0001
    assert above > 1 or not covers(above)
    lower = data.draw(st.integers(1, round(above * 10_000))) / 10_000
    assert covers(lower) == (found is not None and lower <= found)


# What became of each step


def slow(setup, scores):
    """What became of the steps of the first class, of one that no other is more specific than."""
    threshold, release = np.float32(setup.thresholds[0]), np.float32(setup.releases[0])
    stages = ["below_threshold" if score >= release else "below_release" for score in scores]
    runs = [
        [i for i, _ in group]
        for above, group in itertools.groupby(enumerate(scores), lambda x: x[1] >= release)
        if above
    ]
    hot = [run for run in runs if max(scores[run]) >= threshold]
    sounds = []
    for run in hot:
        if sounds and run[0] - sounds[-1][-1] - 1 <= setup.merge_gap:
            sounds[-1] = [*range(sounds[-1][0], run[-1] + 1)]
        else:
            sounds.append(run)
    for sound in sounds:
        stage = "reported"
        if len(sound) < setup.confirm[0]:
            stage = "confirming"
        if len(sound) < setup.min_length:
            stage = "too_short"
        for i in sound:
            stages[i] = stage
    return stages


def stored(label, onset, offset, score=0.9, key=1):
    return StoredEvent(
        key=key, session=1, source="yard", id=key, label=label, onset=onset, offset=offset, time=None, score=score,
        at=1000 + onset, clip=None, verdict=None,
    )  # fmt: skip


def run_of(setup, scores):
    return ScoreRun(1, 100.0, 1000.0, setup, scores)


@settings(deadline=None, max_examples=150)
@given(setups(), stored_scores())
def test_what_became_of_each_step_is_as_the_slow_twin_has_it(setup, scores):
    setup = setup.model_copy(update={"below": []})
    events = [
        stored("Animal", 100 + onset * setup.step_s, 100 + offset * setup.step_s)
        for k, onset, offset, _ in tracked(setup.rule(), scores)
        if k == 0
    ]
    assert follow(run_of(setup, scores), "Animal", events, []).stages == slow(setup, scores[:, 0])


def column(*scores):
    """Scores of Animal, as they come out of the store."""
    rows = np.zeros((len(scores), len(LABELS)), np.float32)
    rows[:, 0] = scores
    return decode(encode(rows), *rows.shape)


def followed(setup, scores, events=(), left_out=()):
    short = {"reported": "R", "below_release": ".", "below_threshold": "t", "too_short": "s", "not_stored": "?",
             "cooldown": "c", "not_reported": "n", "more_specific": "m", "confirming": "f"}  # fmt: skip
    return "".join(short[stage] for stage in follow(run_of(setup, scores), "Animal", events, left_out).stages)


PLAIN = Setup(
    model="tiny", step_s=0.5, labels=LABELS, thresholds=[0.5, 0.5, None, None], releases=[0.3, 0.3, None, None],
    min_length=1, confirm=[0] * 4, merge_gap=0,
)  # fmt: skip


def test_what_the_store_has_counts_whatever_the_replay_finds():
    """A start that was early and not borne out, and one whose end is not known."""
    scores = column(0.1, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7, 0.7, 0.1)
    assert followed(PLAIN, scores, [stored("Animal", 100.5, 101.0, 0.4)]) == ".Rt.......??."
    assert followed(PLAIN, scores, [stored("Animal", 105.0, None)]) == ".tt.......RR."
    assert followed(PLAIN, scores, [stored("Animal", 104.0, None)]) == ".tt.....R.RR."  # its start was early


def test_what_is_found_before_an_event_that_was_reported_early_is_in_its_alarm():
    scores = column(0.1, 0.7, 0.1, 0.1, 0.7, 0.1)
    assert followed(PLAIN, scores, [stored("Animal", 102.0, 102.5)]) == ".R..R."


def test_two_events_that_the_final_scores_merge_are_both_reported():
    events = [stored("Animal", 100.0, 100.5), stored("Animal", 101.5, 102.0)]
    assert followed(PLAIN.model_copy(update={"merge_gap": 2}), column(0.7, 0.1, 0.1, 0.7, 0.1), events) == "RRRR."


def test_an_event_that_only_the_rounding_of_stored_scores_makes_was_below_the_threshold():
    """0.4995 is stored as 0.504."""
    scores = column(0.1, 0.4995, 0.1)
    assert scores[1, 0] >= 0.5
    assert followed(PLAIN, scores) == ".t."
    assert followed(PLAIN, column(0.1, 0.6, 0.1)) == ".?."


def test_what_a_rule_left_out_has_that_rule():
    """Also where its start was early, and where the final scores do not bear it out."""
    scores = column(0.1, 0.4, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7, 0.7, 0.1)
    assert followed(PLAIN, scores, left_out=[(105.5, "cooldown")]) == ".tt.......cc."
    assert followed(PLAIN, scores, left_out=[(104.0, "cooldown")]) == ".tt.....c.cc."
    assert followed(PLAIN, scores, left_out=[(100.5, "cooldown")]) == ".cc.......??."


def test_a_class_that_counts_as_nothing_beside_a_more_specific_one():
    scores = column(0.1, 0.7, 0.7, 0.7, 0.7, 0.1, 0.2)
    scores[2:4, 1] = 0.9
    setup = PLAIN.model_copy(update={"below": [(1, 0)]})
    events = [stored("Animal", 100.5, 101.0), stored("Animal", 102.0, 102.5)]
    assert followed(setup, scores, events) == ".RmmR.."
