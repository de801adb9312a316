"""Exact intervals of what was counted."""

from __future__ import annotations

from scipy.stats import beta, chi2

CONFIDENCE = 0.9


def count_interval(count: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of the number that is expected, where `count` independent events were counted (Garwood's).

    The count need not be whole, where some count in part.
    """
    tail = (1 - confidence) / 2
    low = float(chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * (count + 1))) / 2


def share_interval(found: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a share, of which `found` of so many were found (Clopper and Pearson's)."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, found, of - found + 1)) if found else 0.0
    return low, float(beta.ppf(1 - tail, found + 1, of - found)) if found < of else 1.0
