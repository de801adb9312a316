"""The level of samples, and of a log-mel."""

from __future__ import annotations

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.log_mel import FrontEnd, hann, mel_edges_hz

SPAN_S = 0.1


def deviation_dbfs(samples: FloatArray) -> float:
    """Return the level of samples of any shape: their standard deviation in dBFS, from -200 on."""
    return 20 * float(np.log10(max(float(samples.std()), 1e-10)))


def level_dbfs(log_mel: FloatArray, front_end: FrontEnd) -> float:
    """Return the level of the loudest tenth of a second of a log-mel (T, F): its root mean square in dBFS.

    Only what lies between fmin and fmax counts. Triangles of height one add up to one, so the power of a spectrum is
    that of its bands times half their bases.
    """
    edges = mel_edges_hz(front_end)
    half_bases = (edges[2:] - edges[:-2]) / 2 / front_end.mel_stretch
    spectra = (10 ** (log_mel.astype(np.float64) / 10)) @ half_bases
    power = spectra * 2 / (front_end.n_fft * float(np.sum(hann(front_end.n_fft) ** 2)))
    count = max(1, round(SPAN_S / front_end.frame_s))
    means = power[: len(power) // count * count].reshape(-1, count).mean(axis=1)
    return 10 * float(np.log10(means.max()))
