"""Stretch a log-mel in time, as the reference does before its network (bicubic, a = -0.75, corners aligned)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from htsat_edge.runtime.common.arrays import FloatArray


def stretch_matrix(frames_in: int, frames_out: int) -> FloatArray:
    """Return the resize as a matrix (frames_out, frames_in): rows sum to one, so it commutes with a scale per band."""
    if frames_in == 1:
        return np.ones((frames_out, 1), np.float32)
    at = np.arange(frames_out) * ((frames_in - 1) / max(frames_out - 1, 1))
    left = np.floor(at).astype(int)
    matrix = np.zeros((frames_out, frames_in))
    for tap in range(-1, 3):
        frame = np.clip(left + tap, 0, frames_in - 1)
        np.add.at(matrix, (np.arange(frames_out), frame), _cubic(np.abs(at - left - tap)))
    return matrix.astype(np.float32)


def _cubic(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return Keys' cubic kernel with a = -0.75 (Keys 1981, equation 4)."""
    a, d = -0.75, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
