"""Figures of scores beside the truth, and how far they can be relied on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from htsat_edge.runtime.common.arrays import FloatArray
from pydantic import BaseModel

BoolArray = npt.NDArray[np.bool_]


class Interval(BaseModel):
    """A figure, and between what its resamples lie nine times of ten; None where nothing is held."""

    value: float | None
    low: float | None
    high: float | None

    @staticmethod
    def of(value: float, resampled: npt.NDArray[np.float64]) -> Interval:
        """A figure with the 5th and 95th percentile of its resamples, NaN where it is not known."""
        known = resampled[~np.isnan(resampled)]
        if math.isnan(value) or not len(known):
            return Interval(value=None, low=None, high=None)
        low, high = np.percentile(known, [5, 95])
        return Interval(value=float(value), low=float(low), high=float(high))

    def __str__(self) -> str:
        return "–" if self.value is None else f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def average_precision(scores: npt.NDArray[np.floating[Any]], truth: BoolArray) -> float:
    """The area under precision over recall, of one class; NaN where nothing is true."""
    if not truth.any():
        return float("nan")
    truth = truth[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
    return float(precision[truth].mean())


def mean_known(values: npt.NDArray[np.floating[Any]]) -> float:
    """The mean of what is not NaN; NaN where nothing is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def snr_db(wanted: FloatArray, found: FloatArray) -> float:
    """How far found is from wanted, as a ratio of power in dB; infinite where they are the same."""
    return decibels(*powers(wanted, found))


def powers(wanted: FloatArray, found: FloatArray) -> tuple[float, float]:
    """The power of what is wanted, and of what is off."""
    off = np.square(found - wanted, dtype=np.float64)
    return float(np.square(wanted, dtype=np.float64).sum()), float(off.sum())


def decibels(signal: float, noise: float) -> float:
    """A ratio of powers in dB: infinite without noise, and minus infinity where the noise is no number."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(max(signal, 1e-30) / noise) if math.isfinite(noise) else -math.inf
