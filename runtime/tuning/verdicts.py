"""How sure it is that events are right, by their scores and what people have said of others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from htsat_edge.runtime.common.arrays import BoolArray, IntArray
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.tuning.intervals import CONFIDENCE, DAY_S

LEAST_VERDICTS, LEAST_EACH = 10, 3
"""Verdicts that a fit needs; of them correct, and wrong."""
WIDTH = 2.5
"""Of what is believed of both coefficients before any verdict, normal: keeps them finite where a score parts all."""
DRAWS = 1000
Numbers = npt.NDArray[np.float64]
LOGITS: Numbers = logit(np.clip(SCORES.astype(np.float64), 1e-3, 1 - 1e-6))
"""Of each code."""


class Range(NamedTuple):
    """Values by threshold, (n,), and where they may be."""

    value: Numbers
    low: Numbers
    high: Numbers


class Outlook(NamedTuple):
    """What to expect of each threshold."""

    false_per_day: Range
    precision: Range
    """NaN where there are no events."""
    recall: Range
    """Of the right events that any of the thresholds finds."""


@dataclass(frozen=True, eq=False)
class VerdictFit:
    """The share of events that are right by the code of their peak, from a logistic fit."""

    right: Numbers
    """(256,)."""
    draws: Numbers
    """(DRAWS, 256); the same for what the fit's coefficients may be as well."""

    def outlook(self, peaks: IntArray, listened_s: float) -> Outlook:
        """Return what to expect of thresholds whose events have peaks (n, 256)."""
        days = listened_s / DAY_S
        events, rng = peaks.sum(axis=1), np.random.default_rng(0)
        right, draws = peaks @ self.right, self.draws @ peaks.T
        wrong = np.maximum(events - draws, 0)
        low, high = (rng.gamma(np.maximum(wrong + one, 1e-9)) / days for one in (0, 1))  # of Poisson's rate
        false = Range((events - right) / days, _tails(low)[0], _tails(high)[1])
        with np.errstate(invalid="ignore"):
            precision = Range(right / events, *_tails(draws / events))
        return Outlook(
            false,
            Range(*(np.where(events > 0, np.fmax.accumulate(x), np.nan) for x in precision)),
            Range(_recall(right), *_tails(_recall(draws))),
        )


def fit_verdicts(scores: Numbers, right: BoolArray) -> VerdictFit | None:
    """Return the share of events that are right, from their peaks (n,) and what was said of them; None: too few.

    It never falls as scores rise.
    """
    if len(right) < LEAST_VERDICTS or min(right.sum(), (~right).sum()) < LEAST_EACH:
        return None
    x = logit(np.clip(scores, 1e-3, 1 - 1e-6))
    mean, scale = x.mean(), max(x.std(), 0.1)
    x, sign = (x - mean) / scale, np.where(right, 1.0, -1.0)

    def loss(both: Numbers) -> float:
        return float(-log_expit(sign * (both[0] + both[1] * x)).sum() + (both**2).sum() / (2 * WIDTH**2))

    best = minimize(loss, [0.0, 1.0], bounds=[(None, None), (0, None)], method="L-BFGS-B").x
    share = expit(best[0] + best[1] * x)
    design, weight = np.stack([np.ones_like(x), x]), share * (1 - share)
    covariance = np.linalg.inv((design * weight) @ design.T + np.eye(2) / WIDTH**2)
    drawn = np.random.default_rng(0).multivariate_normal(best, covariance, DRAWS)
    codes = (LOGITS - mean) / scale
    return VerdictFit(
        right=expit(best[0] + best[1] * codes),
        draws=expit(drawn[:, :1] + np.maximum(drawn[:, 1:], 0) * codes),
    )


def _tails(draws: Numbers) -> tuple[Numbers, Numbers]:
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def _recall(right: Numbers) -> Numbers:
    """Return right events (..., n) as a share of the most, never rising with the threshold."""
    most = np.maximum.accumulate(right[..., ::-1], axis=-1)[..., ::-1]
    recall: Numbers = most / np.maximum(most[..., :1], 1e-12)
    return recall
