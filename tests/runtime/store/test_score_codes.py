import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logit

from htsat_edge.runtime.store.score_codes import FLOOR, MOST_LOGIT, SCORES, decode, encode

HALF_STEP = (MOST_LOGIT - logit(FLOOR)) / 254 / 2
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 20))


@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(0, 1, width=32))))
def test_scores_are_kept_to_half_a_step(scores):
    found = decode(encode(scores), *scores.shape)
    heard = scores >= FLOOR
    assert (found[~heard] == 0).all()
    most = 1 / (1 + np.exp(-MOST_LOGIT))
    exact = logit(np.clip(scores[heard], FLOOR, most).astype(float))
    np.testing.assert_allclose(logit(found[heard].astype(float)), exact, rtol=0, atol=HALF_STEP + 1e-3)


def test_codes_are_as_they_were():
    """What is on disks must be read by every later version."""
    codes = encode(np.array([[0.5, 0.0, 0.009], [1.0, 0.005, 0.01]], np.float32))
    assert zlib.decompress(codes) == zlib.decompress(STORED)
    np.testing.assert_allclose(decode(STORED, 2, 3), [[0.5, 0, 0], [0.99966, 0, 0.01]], atol=0.006)


STORED = zlib.compress(bytes([0b10100000, 94, 255, 0, 1]), 9)


def test_codes_are_the_nearest_of_their_scores():
    np.testing.assert_array_equal(decode(encode(SCORES[:, None]), 256, 1)[:, 0], SCORES)


LIMITS = st.tuples(st.floats(0.02, 0.99), st.sampled_from([0.3, 0.6, 0.9, 1.0]))


@given(SHAPES, st.data())
def test_what_is_read_is_on_the_same_side_of_each_limit(shape, data):
    """Scores next to a limit are those that rounding would take across."""
    pairs = [data.draw(LIMITS) for _ in range(shape[1])]
    threshold = np.float32([x for x, _ in pairs])
    limits = np.stack([threshold * np.float32([share for _, share in pairs]), threshold])
    near = limits[:, data.draw(st.integers(0, shape[1] - 1))]
    elements = [0.0, 1.0, *near, *np.nextafter(near, 0), *np.nextafter(near, 1), *(near * np.float32(1.01))]
    scores = data.draw(arrays(np.float32, shape, elements=st.sampled_from(elements) | st.floats(0, 1, width=32)))
    found = decode(encode(scores, limits), *shape)
    for limit in limits:
        np.testing.assert_array_equal(found >= limit, scores >= limit)
    heard = scores >= 0.02
    most = 1 / (1 + np.exp(-MOST_LOGIT))
    exact = logit(np.clip(scores[heard], FLOOR, most).astype(float))
    np.testing.assert_allclose(logit(found[heard].astype(float)), exact, rtol=0, atol=2 * HALF_STEP + 1e-3)


def test_a_limit_below_the_floor_keeps_what_reaches_it():
    limits = np.float32([[0.004], [0.008]])
    scores = np.float32([[0.0039], [0.0085]])
    assert (decode(encode(scores, limits), 2, 1)[:, 0] >= limits[1]).tolist() == [False, True]


def test_a_class_that_is_not_reported_has_no_limits():
    scores = np.float32([[0.5, 0.001], [1.0, 0.3]])
    np.testing.assert_array_equal(
        decode(encode(scores, np.full((2, 2), np.inf, np.float32)), 2, 2), decode(encode(scores), 2, 2)
    )


def test_silence_costs_nothing_however_many_classes():
    scores = np.full((187, 527), 0.009, np.float32)
    assert len(encode(scores)) < 20
    assert not decode(encode(scores), 187, 527).any()


@pytest.mark.parametrize("codes", [b"", b"no codes", zlib.compress(b""), encode(np.ones((3, 3), np.float32))])
def test_bytes_that_are_no_such_scores_are_refused(codes):
    with pytest.raises((ValueError, zlib.error)):
        decode(codes, 4, 3)
