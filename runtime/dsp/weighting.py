"""The weightings of a sound level meter (IEC 61672-1): A, by which it counts what a person hears, and Fast, in time.

They work at any sample rate. A-weighting (annex E) has four zeros at 0 Hz and six poles. Each becomes a digital one by
its impulse response: exp(-w / rate). Two more zeros make the fall above 12 kHz right up to half of the sample rate,
where a bilinear transform would have no gain left: at 16 kHz and a rate of 48 kHz that is 6 dB off, and this 0.3 dB.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter, sosfilt, sosfilt_zi, zpk2sos

from htsat_edge.runtime.common.arrays import FloatArray

DoubleArray = npt.NDArray[np.float64]
HIGH_PASS_HZ = (20.598997, 20.598997, 107.65265, 737.86223)
LOW_PASS_HZ = (12194.217, 12194.217)
REFERENCE_HZ = 1000.0
"""Where the gain is 1."""
FAST_S = 0.125
"""Time constant of the weighting Fast."""
SILENCE = 1e-30
"""What a state may forget: numbers below 1e-308 would cost a processor many times as much."""


def a_weighting(sample_rate: float) -> DoubleArray:
    """Return the filter for a sample rate in Hz as second-order sections (3, 6), as scipy.signal has them."""
    poles = np.exp(-2 * np.pi * np.array([*HIGH_PASS_HZ, *LOW_PASS_HZ]) / sample_rate)
    zeros = np.array([1, 1, 1, 1, *_low_pass_zeros(poles[-2:], sample_rate)])
    reference = np.exp(2j * np.pi * REFERENCE_HZ / sample_rate)
    sections: DoubleArray = zpk2sos(zeros, poles, np.abs(np.prod((reference - poles) / (reference - zeros))))
    return sections


def _low_pass_zeros(poles: DoubleArray, sample_rate: float) -> DoubleArray:
    """Return the two zeros with which the low-pass's gain is right at 0, a quarter and half of the sample rate."""
    hz = np.array([0, sample_rate / 4, sample_rate / 2])
    angles = 2 * np.pi * hz / sample_rate
    gain = np.prod(1 / (1 + (hz[:, None] / LOW_PASS_HZ) ** 2), axis=1)
    power = gain * np.prod(np.abs(np.exp(1j * angles)[:, None] - poles) ** 2, axis=1)
    # The power of two zeros is c0 + c1 cos(angle) + c2 cos(2 angle); its roots are the zeros and their inverses.
    c0, c1, c2 = np.linalg.solve(np.cos(np.outer(angles, [0, 1, 2])), power)
    roots = np.roots([c2, c1, 2 * c0, c1, c2])
    zeros: DoubleArray = roots[np.abs(roots) < 1].real
    return zeros


class AWeighting:
    """Filters a stream; what was before its first sample counts as constant, so that an offset makes no click."""

    def __init__(self, sample_rate: float) -> None:
        """Prepare for a sample rate in Hz."""
        self._sections = a_weighting(sample_rate)
        self._rest: DoubleArray = sosfilt_zi(self._sections)
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after a gap."""
        self._state: DoubleArray | None = None

    def push(self, samples: FloatArray) -> DoubleArray:
        """Take samples (S,), at least one; return them weighted (S,)."""
        if self._state is None:
            self._state = self._rest * float(samples[0])
        weighted: DoubleArray
        weighted, self._state = sosfilt(self._sections, samples.astype(np.float64), zi=self._state)
        self._state[np.abs(self._state) < SILENCE] = 0
        return weighted


class FastWeighting:
    """Averages a stream of powers, the last ones most."""

    def __init__(self, sample_rate: float) -> None:
        """Prepare for a sample rate in Hz."""
        self._decay = float(np.exp(-1 / (FAST_S * sample_rate)))
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after a gap."""
        self._state: DoubleArray = np.zeros(1)

    def push(self, powers: DoubleArray) -> DoubleArray:
        """Take powers (S,); return their averages (S,)."""
        averages: DoubleArray
        averages, self._state = lfilter([1 - self._decay], [1, -self._decay], powers, zi=self._state)
        self._state[self._state < SILENCE] = 0
        return averages
