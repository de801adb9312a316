"""How sure a rate is that was counted."""

from __future__ import annotations

from dataclasses import dataclass

from htsat_edge.runtime.common.intervals import count_interval

DAY_S = 86_400.0
MOST_DAYS = 31
"""Of a period that is looked at."""
CONFIDENCE = 0.95
"""How often the truth is within the intervals of tuning, at least."""


@dataclass(frozen=True)
class Rate:
    """Events a day, of which `count` were counted, with an interval."""

    count: float
    per_day: float
    low: float
    high: float


def rate_of(count: float, seconds: float, confidence: float = CONFIDENCE) -> Rate:
    """Return the rate of events that come independently of each other, with its exact interval (Garwood's).

    Parameters
    ----------
    count
        How many there were; it need not be whole, where some count in part.
    seconds
        For so long somebody has listened; above 0.
    confidence
        How often the true rate is within such an interval, at least.
    """
    days, (low, high) = seconds / DAY_S, count_interval(count, confidence)
    return Rate(count, count / days, low / days, high / days)


def days_for(per_day: float, confidence: float = CONFIDENCE) -> float:
    """Return the days of listening without any event after which a rate is below `per_day`."""
    return count_interval(0, confidence)[1] / per_day
