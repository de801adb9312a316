import numpy as np
from htsat_edge.runtime.dsp.trace import Pooled, Trace
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(deadline=None)
@given(st.integers(1, 200), st.lists(st.integers(1, 30), max_size=10), st.sampled_from([np.max, np.mean]))
def test_rows_are_pooled_over_spans_whatever_the_chunks(count, sizes, pool):
    rows = np.random.default_rng(count).random((count, 2), np.float32)
    pooled = Pooled(16, pool)
    for part in np.split(rows, np.cumsum(sizes)):
        pooled.push(part)
    found = pooled.rows()
    assert len(found) <= 17
    wanted = [pool(rows[i : i + pooled.span], axis=0) for i in range(0, count, pooled.span)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_top_classes_and_when():
    trace = Trace()
    trace.scores(np.array([[0.1, 0.2, 0.0], [0.5, 0.1, 0.0]], np.float32))
    trace.scores(np.array([[0.3, 0.9, 0.0]], np.float32))
    assert [(k, step) for k, _, step in trace.top(2)] == [(1, 2), (0, 1)]


def test_nothing_was_heard():
    assert Trace().top(3) == []
