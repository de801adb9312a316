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


def test_silence_costs_nothing_however_many_classes():
    scores = np.full((187, 527), 0.009, np.float32)
    assert len(encode(scores)) < 20
    assert not decode(encode(scores), 187, 527).any()


@pytest.mark.parametrize("codes", [b"", b"no codes", zlib.compress(b""), encode(np.ones((3, 3), np.float32))])
def test_bytes_that_are_no_such_scores_are_refused(codes):
    with pytest.raises((ValueError, zlib.error)):
        decode(codes, 4, 3)
