import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.median import MedianFilter


def medians(scores, length):
    """Return the median around each score, the first and the last counting on; scipy's has faults before 1.16."""
    reach = length // 2
    padded = [scores[0]] * reach + scores + [scores[-1]] * reach
    return [statistics.median(padded[i : i + length]) for i in range(len(scores))]


odd = st.integers(0, 4).map(lambda n: 2 * n + 1)


@settings(deadline=None)
@given(st.lists(odd, min_size=1, max_size=4), st.lists(st.integers(0, 7), max_size=10), st.integers(0, 99))
def test_is_the_median_of_each_span_whatever_the_chunks(lengths, sizes, seed):
    scores = np.random.default_rng(seed).random((sum(sizes) + 1, len(lengths)), np.float32)
    smooth = MedianFilter(lengths)
    found = np.concatenate([*[smooth.push(part) for part in np.split(scores, np.cumsum(sizes))], smooth.flush()])
    wanted = [medians(scores[:, k].tolist(), length) for k, length in enumerate(lengths)]
    np.testing.assert_array_equal(found, np.array(wanted, np.float32).T)


def test_delay_is_half_of_the_longest():
    smooth = MedianFilter([1, 5])
    assert smooth.delay == 2
    assert len(smooth.push(np.zeros((10, 2), np.float32))) == 8


def test_no_scores_at_all():
    assert MedianFilter([3]).flush() is None


@pytest.mark.parametrize("length", [0, 2])
def test_even_lengths_are_refused(length):
    with pytest.raises(ValueError, match="want odd numbers of steps"):
        MedianFilter([length])


@pytest.mark.parametrize("end", [MedianFilter.reset, MedianFilter.flush])
def test_a_new_recording_begins_after_a_reset_and_after_an_end(end):
    smooth = MedianFilter([3])
    smooth.push(np.ones((5, 1), np.float32))
    end(smooth)
    found = np.concatenate([smooth.push(np.array([[0], [1], [0]], np.float32)), smooth.flush()])
    np.testing.assert_array_equal(found, [[0], [0], [0]])
