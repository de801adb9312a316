"""Scores as few bytes: 8 bits each on a scale of logits, of the classes that are heard at all, compressed.

A code is 0 below FLOOR, else 1 to 255 for logits from that of FLOOR to MOST_LOGIT, in even steps of 0.05: a score of
0.5 is kept to 0.006, one of 0.02 to 0.0005. Bytes are: a bit for each class, set where it reaches FLOOR anywhere; then
the codes of these classes, one class after the other; all of it compressed (zlib).
"""

from __future__ import annotations

import zlib

import numpy as np
from scipy.special import expit, logit

from htsat_edge.runtime.common.arrays import FloatArray

FLOOR = 0.01
"""Scores below are not kept."""
MOST_LOGIT = 8.0
LEAST_LOGIT = float(logit(FLOOR))
SCORES: FloatArray = np.concatenate([[0.0], expit(np.linspace(LEAST_LOGIT, MOST_LOGIT, 255))]).astype(np.float32)
"""What each code stands for."""


def encode(scores: FloatArray) -> bytes:
    """Return scores (n, C) from 0 to 1 as bytes."""
    heard = scores >= FLOOR
    kept = heard.any(axis=0)
    within = np.clip(scores[:, kept], FLOOR, 1 - 1e-6)
    steps = np.rint((logit(within) - LEAST_LOGIT) / (MOST_LOGIT - LEAST_LOGIT) * 254)
    codes = np.where(heard[:, kept], 1 + np.clip(steps, 0, 254), 0).astype(np.uint8)
    return zlib.compress(np.packbits(kept).tobytes() + codes.T.tobytes(), 9)


def decode(codes: bytes, steps: int, classes: int) -> FloatArray:
    """Return the scores (steps, classes) that bytes stand for.

    Raises
    ------
    ValueError, zlib.error
        They stand for none of this shape.
    """
    content = np.frombuffer(zlib.decompress(codes), np.uint8)
    bits = -(-classes // 8)
    kept = np.unpackbits(content[:bits])[:classes].astype(bool)
    if len(kept) != classes:
        raise ValueError(f"scores of {len(kept)} classes, want {classes}")
    scores = np.zeros((steps, classes), np.float32)
    scores[:, kept] = SCORES[content[bits:].reshape(int(kept.sum()), steps).T]
    return scores
