"""Metrics of scores against the truth, and their intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray


class Interval(BaseModel):
    """A figure with its 90 % interval over resamples; None where nothing is known."""

    value: float | None
    low: float | None
    high: float | None

    @staticmethod
    def of(value: float, resampled: npt.NDArray[np.float64]) -> Interval:
        """Return a figure with the 5th and 95th percentile of its resamples; NaN stands for unknown."""
        known = resampled[~np.isnan(resampled)]
        if math.isnan(value) or not len(known):
            return Interval(value=None, low=None, high=None)
        low, high = np.percentile(known, [5, 95])
        return Interval(value=float(value), low=float(low), high=float(high))

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        if self.low is None:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def average_precision(scores: npt.NDArray[np.floating[Any]], truth: BoolArray) -> float:
    """Return the area under precision over recall of one class, scores (n,) and truth (n,); NaN if none is true."""
    if not truth.any():
        return float("nan")
    truth = truth[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
    return float(precision[truth].mean())


def mean_known(values: npt.NDArray[np.floating[Any]]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def snr_db(wanted: FloatArray, found: FloatArray) -> float:
    """Return the power of `wanted` over that of the difference to `found`, in dB; infinite where they are the same."""
    return decibels(*powers(wanted, found))


def powers(wanted: FloatArray, found: FloatArray) -> tuple[float, float]:
    """Return the power of `wanted`, and of the difference to `found`."""
    noise = np.square(found - wanted, dtype=np.float64)
    return float(np.square(wanted, dtype=np.float64).sum()), float(noise.sum())


def decibels(signal: float, noise: float) -> float:
    """Return a ratio of powers in dB: infinity without noise, minus infinity where the noise is not finite."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(max(signal, 1e-30) / noise) if math.isfinite(noise) else -math.inf
