import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from htsat_edge.runtime.tuning.intervals import DAY_S, days_for, rate_of


def test_nothing_in_six_hours_is_up_to_fifteen_a_day():
    rate = rate_of(0, 6 * 3600)
    assert (rate.per_day, rate.low) == (0, 0)
    assert round(rate.high) == 15


@given(st.integers(0, 200), st.floats(0.1, 30))
def test_the_ends_of_the_interval_are_where_the_count_is_just_not_too_unlikely(count, days):
    rate = rate_of(count, days * DAY_S)
    assert rate.per_day == pytest.approx(count / days)
    assert poisson.cdf(count, rate.high * days) == pytest.approx(0.025)
    assert poisson.sf(count - 1, rate.low * days) == pytest.approx(0.025 if count else 1)


@pytest.mark.parametrize("true", [0.3, 2.0, 11.0])
def test_the_true_rate_is_within_at_least_as_often_as_is_said(true):
    counts = np.arange(60)
    held = [rate_of(int(n), 7 * DAY_S).low <= true <= rate_of(int(n), 7 * DAY_S).high for n in counts]
    assert poisson.pmf(counts, 7 * true)[held].sum() >= 0.95 - poisson.sf(59, 7 * true)


def test_so_many_days_without_an_event_promise_a_rate():
    assert rate_of(0, days_for(0.5) * DAY_S).high == pytest.approx(0.5)
