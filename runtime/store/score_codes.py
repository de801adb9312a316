"""Scores as few bytes: 8 bits each on a scale of logits, of the classes that are heard at all, compressed.

A code is 0 below FLOOR, else 1 to 255 for logits from that of FLOOR to MOST_LOGIT, in even steps of 0.05: a score of
0.5 is kept to 0.006, one of 0.02 to 0.0005. Where limits are given, thresholds and releases, a score that rounding
would take across one gets the next code on its own side: what is read later is at or above a limit where the score was.
Bytes are: a bit for each class, set where it reaches FLOOR anywhere; then the codes of these classes, one class after
the other; all of it compressed (zlib).
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray, IntArray, UInt8Array

FLOOR = 0.01
"""Scores below are not kept, unless they reach a limit that is lower still."""
MOST_LOGIT = 8.0
LEAST_LOGIT = float(logit(FLOOR))
SCORES: FloatArray = np.concatenate([[0.0], expit(np.linspace(LEAST_LOGIT, MOST_LOGIT, 255))]).astype(np.float32)
"""What each code stands for."""


class ScoreCodes(NamedTuple):
    """The codes of a row, as they are stored."""

    columns: IntArray
    """The classes that have codes."""
    codes: UInt8Array
    """(len(columns), steps)."""


def code_of(limits: FloatArray) -> IntArray:
    """Return the lowest code whose score is at or above each limit; 256 where none is."""
    return np.searchsorted(SCORES, limits.astype(np.float32)).astype(np.int64)


def encode(scores: FloatArray, limits: FloatArray | None = None) -> bytes:
    """Return scores (n, C) from 0 to 1 as bytes.

    Parameters
    ----------
    scores
        The scores.
    limits
        (m, C), ascending: what comparisons with each say (at or above, or below) is kept. Of two limits that no code
        lies between, only that of the higher is sure; nor is that of one above the highest code, 0.9997.
    """
    floor = np.full(scores.shape[1], FLOOR, np.float32)
    if limits is not None:
        floor = np.minimum(floor, limits.min(axis=0))
    kept = (scores >= floor).any(axis=0)
    within = np.clip(scores[:, kept], FLOOR, 1 - 1e-6)
    steps = np.rint((logit(within) - LEAST_LOGIT) / (MOST_LOGIT - LEAST_LOGIT) * 254)
    codes = np.where(scores[:, kept] >= FLOOR, 1 + np.clip(steps, 0, 254), 0).astype(np.int64)
    for limit in () if limits is None else limits[:, kept]:
        least = code_of(limit)
        codes = np.where(scores[:, kept] >= limit, np.maximum(codes, least), np.minimum(codes, least - 1))
    return zlib.compress(np.packbits(kept).tobytes() + np.clip(codes, 0, 255).astype(np.uint8).T.tobytes(), 9)


def unpack(content: bytes, steps: int, classes: int) -> ScoreCodes:
    """Return the codes that bytes hold.

    Raises
    ------
    ValueError, zlib.error
        They hold none of this shape.
    """
    codes = np.frombuffer(zlib.decompress(content), np.uint8)
    bits = -(-classes // 8)
    kept: BoolArray = np.unpackbits(codes[:bits])[:classes].astype(bool)
    if len(kept) != classes:
        raise ValueError(f"scores of {len(kept)} classes, want {classes}")
    columns = np.flatnonzero(kept)
    return ScoreCodes(columns, codes[bits:].reshape(len(columns), steps))


def decode(content: bytes, steps: int, classes: int) -> FloatArray:
    """Return the scores (steps, classes) that bytes stand for.

    Raises
    ------
    ValueError, zlib.error
        They stand for none of this shape.
    """
    columns, codes = unpack(content, steps, classes)
    scores = np.zeros((steps, classes), np.float32)
    scores[:, columns] = SCORES[codes.T]
    return scores
