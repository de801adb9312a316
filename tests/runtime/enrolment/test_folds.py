"""The threshold of a sound keeps to what it promises on what the sound was not learned from."""

from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.special import expit

from htsat_edge.runtime.enrolment.examples import SoundExample
from htsat_edge.runtime.enrolment.folds import (
    MOST_OF_A_CLASS,
    MOST_OTHERS,
    HeldOut,
    count_rises,
    hold_out,
    learn,
)
from htsat_edge.runtime.enrolment.head import PENALTY, fit_head
from htsat_edge.runtime.enrolment.negatives import BACKGROUND, FALSE_ALARM, no_negatives

LOGITS = st.floats(-20, 20, allow_subnormal=False)


@given(st.lists(st.booleans(), max_size=20))
def test_rises_are_counted_once(above):
    slow = sum(now and not before for before, now in zip([False, *above], above, strict=False))
    assert count_rises(np.array(above, bool)) == slow


@given(
    st.lists(LOGITS, min_size=3, max_size=10),
    st.dictionaries(st.sampled_from("ABCD"), st.lists(LOGITS, min_size=1, max_size=30), max_size=4),
    st.lists(st.lists(LOGITS, min_size=1, max_size=10), max_size=5),
    st.floats(0.1, 5),
)
def test_a_threshold_fires_on_few_enough_others(examples, others, background, hours):
    held_out = HeldOut(np.array(examples), others, [np.array(own) for own in background], hours)
    lowest, chosen = held_out.lowest(), held_out.choose()
    assert chosen >= lowest
    assert held_out.recall(chosen) == held_out.recall(lowest)  # the margin loses none
    fired, total = held_out.fired(lowest), sum(map(len, others.values()))
    assert sum(fired.values()) <= MOST_OTHERS * total + 1e-9
    for label, own in others.items():
        assert len(own) < 4 or fired[label] <= MOST_OF_A_CLASS * len(own) + 1e-9
    loud = sum(max(own) >= lowest for own in background)
    assert loud <= floor(hours)


def gaussian(rng, centre, count):
    return (centre + rng.normal(0, 1, (count, 6))).astype(np.float32)


def example(embeddings):
    return SoundExample(embeddings, np.full(len(embeddings), 1 / len(embeddings)), [embeddings])


@pytest.fixture
def negatives():
    rng = np.random.default_rng(0)
    found = no_negatives(6, 0.32)
    found = found.plus("Bell", [f"bell-{i}" for i in range(20)], [gaussian(rng, 0, 3) for _ in range(20)])
    return found.plus(BACKGROUND, [f"quiet-{i}" for i in range(10)], [gaussian(rng, 0, 50) for _ in range(10)])


def test_what_a_fold_is_scored_by_has_not_learned_it(negatives):
    """Labels that mean nothing: whoever scores what it has learned finds them easy."""
    rng = np.random.default_rng(1)
    held_out = hold_out([example(gaussian(rng, 0, 2)) for _ in range(10)], negatives)
    assert held_out.recall(held_out.lowest()) < 0.5
    apart = hold_out([example(gaussian(rng, 4, 2)) for _ in range(10)], negatives)
    assert apart.recall(apart.lowest()) == 1


def test_false_alarms_count_as_much_as_all_backgrounds(negatives):
    rng = np.random.default_rng(2)
    sounds = [example(gaussian(rng, 2, 4)) for _ in range(8)]
    alarm = gaussian(rng, 1.5, 3)
    before = learn(sounds, negatives).logits(alarm).max()
    assert learn(sounds, negatives.plus(FALSE_ALARM, ["phone"], [alarm])).logits(alarm).max() < before - 1


def test_the_head_is_where_the_loss_is_least(negatives):
    """A minimum that is found another way: no step from it is downwards."""
    rng = np.random.default_rng(3)
    here, there = gaussian(rng, 1, 30), gaussian(rng, 0, 80)
    shares, others = rng.uniform(0.5, 1, 30), rng.uniform(0.5, 1, 80)
    head = fit_head(here, shares, there, others)
    mean, scale = there.mean(axis=0), there.std(axis=0) + 1e-6

    def loss(parameters):
        total = PENALTY * (parameters[:-1] ** 2).sum()
        for rows, own, sign in ((here, shares, 1), (there, others, -1)):
            logits = (rows - mean) / scale @ parameters[:-1] + parameters[-1]
            total += (own / own.sum()) @ np.logaddexp(0, -sign * logits)
        return total

    def slope(parameters):
        gradient = np.append(2 * PENALTY * parameters[:-1], 0.0)
        for rows, own, sign in ((here, shares, 1), (there, others, -1)):
            inputs = np.column_stack([(rows - mean) / scale, np.ones(len(rows))])
            gradient -= inputs.T @ (own / own.sum() * sign * expit(-sign * (inputs @ parameters)))
        return gradient

    found = np.append(head.weight * scale, head.bias + mean @ head.weight)
    assert check_grad(loss, slope, found) < 1e-4
    assert np.abs(slope(found)).max() < 1e-3
