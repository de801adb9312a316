"""Learn a head: the linear layer that tells a sound from all else by the model's embeddings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from htsat_edge.runtime.common.arrays import FloatArray

PENALTY = 0.05
"""Of the squared weights, beside the mean loss of positives and that of negatives; chosen by measurement."""
MOST_STEPS = 100
Weights = npt.NDArray[np.float64]


class Head(NamedTuple):
    """The logit of an embedding e is e @ weight + bias."""

    weight: Weights
    """(channels,)."""
    bias: float

    def logits(self, embeddings: FloatArray) -> Weights:
        """Return the logits (n,) of embeddings (n, channels)."""
        logits: Weights = embeddings @ self.weight + self.bias
        return logits


def fit_head(positives: FloatArray, shares: Weights, negatives: FloatArray, negative_shares: Weights) -> Head:
    """Fit a logistic regression with a penalty on standardised embeddings.

    Parameters
    ----------
    positives, negatives
        (n, channels).
    shares, negative_shares
        How much each counts, (n,); both sides count the same in all.
    """
    mean, scale = negatives.mean(axis=0), negatives.std(axis=0) + np.float32(1e-6)
    examples = np.concatenate([positives, negatives])
    examples -= mean
    examples /= scale
    wanted = np.concatenate([np.ones(len(positives)), np.zeros(len(negatives))])
    weights = np.concatenate([shares / shares.sum(), negative_shares / negative_shares.sum()])

    def loss(parameters: Weights) -> tuple[float, Weights]:
        own, bias = parameters[:-1], parameters[-1]
        logits = examples @ own.astype(np.float32) + bias
        value = weights @ (np.logaddexp(0, logits) - wanted * logits) + PENALTY * (own @ own)
        slope = weights * (expit(logits) - wanted)
        return float(value), np.append(slope.astype(np.float32) @ examples + 2 * PENALTY * own, slope.sum())

    start = np.zeros(examples.shape[1] + 1)
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS}).x
    weight = best[:-1] / scale
    return Head(weight, float(best[-1] - mean @ weight))
