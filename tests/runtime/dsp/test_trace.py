import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.trace import Pooled, Trace


@settings(deadline=None)
@given(st.integers(1, 200), st.lists(st.integers(1, 30), max_size=10), st.sampled_from([np.max, np.mean]))
def test_rows_are_pooled_over_spans_whatever_the_chunks(count, sizes, pool):
    rows = np.random.default_rng(count).random((count, 2), np.float32)
    pooled = Pooled(16, pool)
    for part in np.split(rows, np.cumsum(sizes)):
        pooled.push(part)
    found = pooled.rows()
    assert len(found) <= 17
    assert pooled.span == next(2**k for k in range(9) if count <= 16 * 2**k)
    wanted = [pool(rows[i : i + pooled.span], axis=0) for i in range(0, count, pooled.span)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_an_odd_number_of_rows_becomes_even():
    pooled = Pooled(15, np.max)
    pooled.push(np.arange(16.0)[:, None])
    assert (pooled.span, len(pooled.rows())) == (1, 16)
    pooled.push(np.array([[16.0]]))
    assert pooled.rows()[:, 0].tolist() == [1, 3, 5, 7, 9, 11, 13, 15, 16]


def test_a_trace_keeps_the_mean_of_frames_and_the_highest_score():
    trace, rows = Trace(columns=2), np.array([[1.0, 3.0], [5.0, 1.0], [2.0, 2.0], [4.0, 4.0]], np.float32)
    trace.frames(rows)
    trace.scores(rows)
    np.testing.assert_array_equal(trace.spectrogram.rows(), [[3, 2], [3, 3]])
    np.testing.assert_array_equal(trace.score.rows(), [[5, 3], [4, 4]])


def test_the_first_of_equal_scores_counts():
    trace = Trace()
    for _ in range(2):
        trace.scores(np.array([[0.5], [0.5]], np.float32))
    assert trace.top(1) == [(0, 0.5, 0)]


def test_the_top_classes_and_when():
    trace = Trace()
    trace.scores(np.array([[0.1, 0.2, 0.0], [0.5, 0.1, 0.0]], np.float32))
    trace.scores(np.array([[0.3, 0.9, 0.0]], np.float32))
    assert [(k, step) for k, _, step in trace.top(2)] == [(1, 2), (0, 1)]


def test_nothing_was_heard():
    assert Trace().top(3) == []
