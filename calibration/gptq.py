"""Round weights to 8-bit integers such that their products with real activations change least.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR 2023: rounding
goes row by row, and each row's error is compensated in the rows that are still to be rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

LIMIT = 127
DAMPING = 0.01
"""Share of the mean of the Gram matrix's diagonal that is added to it, against rarely seen activations."""
BLOCK = 128
"""Rows whose errors are collected before they reach the rest, as in the paper."""

Array = NDArray[np.floating[Any]]


def scales(weight: Array) -> NDArray[np.float32]:
    """Return the step (C_out,) of each output channel of a weight (C_in, C_out)."""
    largest = np.abs(weight).max(axis=0)
    return np.asarray(np.where(largest > 0, largest / LIMIT, 1), np.float32)


def round_nearest(weight: Array, scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round each weight (C_in, C_out) to the nearest integer."""
    return np.asarray(np.clip(np.round(weight / scale), -LIMIT, LIMIT), np.int8)


def round_together(weight: Array, scale: NDArray[np.float32], gram: Array) -> NDArray[np.int8]:
    """Round weights (C_in, C_out) with GPTQ, for inputs x with the Gram matrix sum(x x^T) (C_in, C_in)."""
    gram = gram.astype(np.float64)
    diagonal = np.diag(gram).copy()
    gram[np.diag_indices_from(gram)] = diagonal + DAMPING * max(diagonal.mean(), 1e-12)
    order = np.argsort(-diagonal)  # what matters most comes first, while most rows are left to compensate for it
    inverse = scipy.linalg.cho_solve(scipy.linalg.cho_factor(gram[np.ix_(order, order)]), np.eye(len(gram)))
    upper = scipy.linalg.cholesky(inverse)
    rest = weight.astype(np.float64)[order]
    rounded = np.empty(weight.shape, np.int8)
    for begin in range(0, len(rest), BLOCK):
        end = min(begin + BLOCK, len(rest))
        errors = np.empty((end - begin, weight.shape[1]))
        for i in range(begin, end):
            rounded[order[i]] = round_nearest(rest[i], scale)
            errors[i - begin] = (rest[i] - rounded[order[i]] * scale) / upper[i, i]
            rest[i + 1 : end] -= np.outer(upper[i, i + 1 : end], errors[i - begin])
        rest[end:] -= upper[begin:end, end:].T @ errors
    return rounded
