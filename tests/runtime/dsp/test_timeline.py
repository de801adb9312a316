import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.timeline import Timeline

STEPS = 8


def slow(windows, look_ahead):
    """A twin by the definition: a step is the weighted mean of the windows that held it when it became final."""
    weight = [1 - abs(2 * (i + 0.5) / STEPS - 1) for i in range(STEPS)]
    last = max(step for step, _ in windows) + STEPS
    rows = []
    for step in range(last):
        total = np.zeros(windows[0][1].shape[1])
        weights = 0.0
        for begin, scores in windows:
            if begin <= step < begin + STEPS:
                total += weight[step - begin] * scores[step - begin]
                weights += weight[step - begin]
            if begin + STEPS - look_ahead > step:
                break
        rows.append(total / weights)
    return np.array(rows)


@settings(deadline=None)
@given(st.integers(0, STEPS - 1), st.lists(st.integers(0, STEPS), max_size=8), st.integers(0, 1000))
def test_is_the_weighted_mean_of_its_definition(look_ahead, hops, seed):
    rng = np.random.default_rng(seed)
    begins = np.concatenate([[0], np.cumsum(hops)]).astype(int)
    windows = [(int(begin), rng.random((STEPS, 3), np.float32)) for begin in begins]
    timeline = Timeline(STEPS, look_ahead)
    found = [timeline.push(begin, scores) for begin, scores in windows]
    for (begin, _), final in zip(windows, np.cumsum([len(rows) for rows in found]), strict=True):
        assert final == begin + STEPS - look_ahead
    merged = np.concatenate([*found, timeline.flush()])
    np.testing.assert_allclose(merged, slow(windows, look_ahead), rtol=1e-5)


def test_a_timeline_begins_again_after_its_end():
    timeline = Timeline(STEPS, 2)
    scores = np.random.default_rng(0).random((STEPS, 2), np.float32)
    first = np.concatenate([timeline.push(0, scores), timeline.flush()])
    np.testing.assert_array_equal(np.concatenate([timeline.push(0, scores), timeline.flush()]), first)
    assert timeline.flush() is None


def test_a_look_ahead_must_fit_the_window():
    with pytest.raises(ValueError, match="look-ahead of 8 steps does not fit a window of 8"):
        Timeline(STEPS, STEPS)
