"""Intervals that hold the truth as often as they say, whatever it is."""

import numpy as np
import pytest
from scipy.stats import binom, poisson

from htsat_edge.runtime.common.intervals import count_interval, share_interval


@pytest.mark.parametrize("expected", [0.1, 1, 3.7, 20])
def test_an_expected_count_is_within_its_interval(expected):
    counts = np.arange(100)
    held = [low <= expected <= high for low, high in map(count_interval, counts)]
    assert poisson.pmf(counts, expected)[held].sum() >= 0.9


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("of", [3, 5, 20])
def test_a_share_is_within_its_interval(share, of):
    counts = np.arange(of + 1)
    held = [low <= share <= high for low, high in (share_interval(int(found), of) for found in counts)]
    assert binom.pmf(counts, of, share)[held].sum() >= 0.9
    assert share_interval(0, of)[0] == 0
    assert share_interval(of, of)[1] == 1
