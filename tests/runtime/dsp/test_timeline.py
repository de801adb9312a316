import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.timeline import Timeline

STEPS, PARTS = 8, 4


def slow(windows, look_ahead, mirrored=0):
    """A twin by the definition: a step is the weighted mean of the windows that held it when it became final.

    It counts in quarters of a step: each quarter has the scores and the weight of the window's step that covers it.
    """
    weight = [1 - abs(2 * (i + 0.5) / STEPS - 1) for i in range(STEPS)]
    last = math.ceil(max(step for step, _ in windows) + STEPS - mirrored)
    rows = []
    for step in range(last):
        total = np.zeros(windows[0][1].shape[1])
        weights = 0.0
        for begin, scores in windows:
            for quarter in range(PARTS):
                i = math.floor(step - begin + quarter / PARTS)
                if 0 <= i < STEPS - mirrored:
                    total += weight[i] * scores[i]
                    weights += weight[i]
            if math.floor(begin) + STEPS - mirrored - look_ahead > step:
                break
        rows.append(total / weights)
    return np.array(rows)


@settings(deadline=None)
@given(
    st.integers(0, STEPS - 3),
    st.integers(0, 2),
    st.integers(-4 * PARTS, 0),
    st.lists(st.integers(0, STEPS * (PARTS - 1)), max_size=8),
    st.integers(0, 1000),
)
def test_is_the_weighted_mean_of_its_definition(look_ahead, mirrored, first, hops, seed):
    rng = np.random.default_rng(seed)
    begins = (first + np.concatenate([[0], np.cumsum(hops)])) / PARTS
    windows = [(float(begin), rng.random((STEPS, 3), np.float32)) for begin in begins]
    timeline, heard = Timeline(STEPS, look_ahead, mirrored), STEPS - mirrored
    found = []
    for begin, scores in windows:
        found.append(timeline.push(begin, scores))
        assert timeline.begin == max(math.floor(begin) + heard - look_ahead, 0) == sum(map(len, found))
        assert len(timeline.newest) == math.floor(begin) + heard - timeline.begin
    merged = np.concatenate([*found, timeline.flush()])
    np.testing.assert_allclose(merged, slow(windows, look_ahead, mirrored), rtol=1e-5)


def test_the_newest_scores_are_what_is_known_so_far():
    rng = np.random.default_rng(0)
    windows = [(begin, rng.random((STEPS, 2), np.float32)) for begin in (0.0, 0.75, 2.0)]
    timeline = Timeline(STEPS, 4)
    for count, (begin, scores) in enumerate(windows, 1):
        timeline.push(begin, scores)
        wanted = slow(windows[:count], look_ahead=STEPS)[timeline.begin : math.floor(begin) + STEPS]
        np.testing.assert_allclose(timeline.newest, wanted, rtol=1e-5)


def test_a_whole_recording_outweighs_what_was_scored_before_it_was_over():
    timeline = Timeline(STEPS, 4)
    timeline.push(-6.0, np.zeros((STEPS, 1), np.float32))
    timeline.push_whole(np.ones((3, 1), np.float32))
    scores = timeline.flush()
    assert scores.shape == (3, 1)
    assert scores[2] == 1
    assert (scores[:2] > 0.7).all()


def test_a_timeline_begins_again_after_its_end():
    timeline = Timeline(STEPS, 2)
    scores = np.random.default_rng(0).random((STEPS, 2), np.float32)
    first = np.concatenate([timeline.push(0, scores), timeline.flush()])
    np.testing.assert_array_equal(np.concatenate([timeline.push(0, scores), timeline.flush()]), first)
    assert timeline.flush() is None


@pytest.mark.parametrize("mirrored", [0, 2])
def test_a_look_ahead_must_fit_the_window(mirrored):
    with pytest.raises(ValueError, match=r"look-ahead of . steps does not fit a window of 8"):
        Timeline(STEPS, STEPS - mirrored, mirrored)
