"""How sure a rate is that was counted."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import chi2

DAY_S = 86_400.0
CONFIDENCE = 0.9


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
    days, tail = seconds / DAY_S, (1 - confidence) / 2
    low = chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return Rate(count, count / days, float(low) / days, float(chi2.ppf(1 - tail, 2 * (count + 1))) / 2 / days)


def days_for(per_day: float, confidence: float = CONFIDENCE) -> float:
    """Return the days of listening without any event after which a rate is below `per_day`."""
    return float(chi2.ppf((1 + confidence) / 2, 2)) / 2 / per_day
