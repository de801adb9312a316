"""Rounding must do less harm than rounding to the nearest, and never leave the grid."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.calibration.gptq import LIMIT, round_nearest, round_together, scales


def draw(seed, rows=24, columns=7, tokens=400):
    """A weight (C_in, C_out), and inputs whose channels go together."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(rows, rows)) * rng.exponential(size=rows)
    return rng.normal(size=(rows, columns)), rng.normal(size=(tokens, rows)) @ mixing


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_it_changes_the_outputs_less_than_the_nearest_integers_do(seed):
    weight, inputs = draw(seed)
    scale = scales(weight)

    def error(integers):
        return np.square(inputs @ (integers * scale - weight)).sum()

    together = round_together(weight, scale, inputs.T @ inputs)
    assert together.dtype == np.int8
    assert np.abs(together).max() <= LIMIT
    assert error(together) < error(round_nearest(weight, scale))


def test_where_channels_are_alone_the_nearest_is_best():
    weight, _ = draw(1)
    scale = scales(weight)
    np.testing.assert_array_equal(round_together(weight, scale, np.eye(24)), round_nearest(weight, scale))


def test_blocks_make_no_difference(monkeypatch):
    weight, inputs = draw(2)
    scale, gram = scales(weight), inputs.T @ inputs
    whole = round_together(weight, scale, gram)
    monkeypatch.setattr("htsat_edge.calibration.gptq.BLOCK", 5)
    np.testing.assert_array_equal(round_together(weight, scale, gram), whole)


def test_channels_that_are_never_heard_or_never_used():
    weight, inputs = draw(3)
    weight[:, 2] = 0
    inputs[:, 5] = 0
    scale = scales(weight)
    integers = round_together(weight, scale, inputs.T @ inputs)
    assert not integers[:, 2].any()
    np.testing.assert_array_less(np.abs(integers[5] * scale - weight[5]), 0.51 * scale)
    assert not round_together(weight, scale, np.zeros((24, 24)))[:, 2].any()
