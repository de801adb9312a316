"""More specific classes take the place of more general ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.hysteresis import Rule, advance, find_general, initial_state

ANIMAL, DOG, BARK = range(3)
BELOW = np.array([[False, False, False], [True, False, False], [True, True, False]])


def rule_of(merge_gap=2, below=BELOW):
    return Rule(
        threshold=np.full(3, 0.5, np.float32),
        release=np.full(3, 0.3, np.float32),
        merge_gap=merge_gap,
        below=below,
    )


def spans(rows, rule):
    """The events of scores in tenths, a row a step, as (class, first step, step after the last)."""
    state, found, started = initial_state(3), [], np.zeros(3, bool)
    for row in [*rows, *[(0, 0, 0)] * 9]:
        state, starts, ends = advance(state, np.array(row, np.float32) / 10, rule)
        started |= starts
        assert not (ends & ~started).any()
        started &= ~ends
        found += [(int(k), int(state.onset[k]), int(state.offset[k])) for k in np.flatnonzero(ends)]
    return found


@pytest.mark.parametrize(
    ("why", "rows", "events"),
    [
        ("one bark is a bark", [(9, 8, 6)] * 3, [(BARK, 0, 3)]),
        ("an animal that is no dog", [(9, 2, 0)] * 3, [(ANIMAL, 0, 3)]),
        ("the dog is sure a step later", [(9, 4, 0), (9, 6, 0), (9, 6, 0)], [(DOG, 0, 3)]),
        ("the dog is never sure", [(9, 4, 0)] * 6, [(ANIMAL, 0, 6)]),
        ("a short sound, perhaps a dog", [(9, 4, 0)], [(ANIMAL, 0, 1)]),
        ("perhaps a dog, then a dog", [(9, 4, 0), (1, 4, 0), (1, 6, 0)], [(DOG, 0, 3)]),
        ("the dog's tail", [(9, 6, 0), (9, 4, 0), (9, 1, 0)], [(DOG, 0, 2)]),
        ("an animal goes on after the dog", [(9, 6, 0), *[(9, 1, 0)] * 5], [(DOG, 0, 1), (ANIMAL, 4, 6)]),
        ("a dog begins to bark", [(9, 8, 1), (9, 8, 1), (9, 8, 6), (9, 8, 6)], [(BARK, 2, 4), (DOG, 0, 2)]),
        ("perhaps a dog now and then", [(9, 0, 0), (9, 4, 0), (9, 0, 0), (9, 4, 0), (9, 0, 0)], [(ANIMAL, 0, 5)]),
    ],
)
def test_which_events_there_are(why, rows, events):
    assert sorted(spans(rows, rule_of())) == sorted(events), why
    assert len(spans(rows, rule_of(below=None))) >= len(events)


def test_without_a_gap_to_merge_there_is_no_doubt_but_in_the_first_step():
    rule, state, found = rule_of(merge_gap=0), initial_state(3), []
    for row in [(9, 4, 0)] * 3:
        state, starts, _ = advance(state, np.array(row, np.float32) / 10, rule)
        found.append(bool(starts[ANIMAL]))
    assert (found, state.onset[ANIMAL]) == ([False, True, False], 0)


def slow(state, score, rule):
    """The same, in words: a class at a time."""
    found = []
    for general in range(len(score)):
        hidden = doubted = False
        for special in np.flatnonzero(rule.below[:, general]):
            if state.open[special] or score[special] >= rule.threshold[special]:
                hidden = True
            begun = state.step if state.run[special] < 0 else state.run[special]
            perhaps = score[special] >= rule.release[special] and state.step - begun <= rule.merge_gap
            doubted = doubted or bool(perhaps)
        found.append((hidden, doubted))
    return found


@given(
    st.lists(st.tuples(*[st.integers(0, 9)] * 3), max_size=25),
    st.integers(0, 3),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_the_slow_twin(rows, merge_gap, pairs):
    below = np.zeros((3, 3), bool)
    below[[DOG, BARK, BARK], [ANIMAL, ANIMAL, DOG]] = pairs
    rule, state = rule_of(merge_gap, below), initial_state(3)
    for row in rows:
        score = np.array(row, np.float32) / 10
        assert [*zip(*map(list, find_general(state, score, rule, below)), strict=True)] == slow(state, score, rule)
        state, _, _ = advance(state, score, rule)
