"""Figures of worked examples."""

import numpy as np
import pytest

from htsat_edge.evaluation.metrics import Interval, average_precision, mean_known


def test_average_precision_of_a_worked_example():
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert np.isnan(average_precision(scores, np.zeros(4, bool)))


def test_an_interval_holds_nine_resamples_of_ten():
    found = Interval.of(0.5, np.append(np.linspace(0, 1, 101), np.nan))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.05, 0.95))
    assert str(found) == "0.50 (0.05–0.95)"


def test_what_is_not_known_has_no_figure():
    assert Interval.of(np.nan, np.zeros(3)).value is None
    assert Interval.of(0.5, np.array([np.nan])).value is None
    assert str(Interval.of(np.nan, np.zeros(3))) == "–"
    assert str(Interval(value=0.5, low=None, high=None)) == "0.50"


def test_the_mean_of_what_is_known():
    assert mean_known(np.array([1.0, np.nan, 3.0])) == 2
    assert np.isnan(mean_known(np.array([np.nan])))
