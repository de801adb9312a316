"""Vary sounds, as power mel spectrograms: an equaliser is a factor per band, a room is a decay in time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.signal

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.log_mel import to_db

Rng = np.random.Generator
SHORT = 150
"""Frames; shorter sounds may come several times, and are never cropped."""


def from_db(db: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Turn decibels into power."""
    return np.power(10.0, np.asarray(db) / 10)


def crop(rng: Rng, power: FloatArray) -> FloatArray:
    """Take, at times, a part of a long sound, of at least a second."""
    if len(power) <= SHORT or rng.random() < 0.5:
        return power
    length = max(100, int(rng.uniform(0.4, 1) * len(power)))
    start = rng.integers(0, len(power) - length + 1)
    return power[start : start + length]


def layer(rng: Rng, power: FloatArray, other: FloatArray) -> FloatArray:
    """Put another sound of the same class over a part of the first, 0 to 12 dB lower."""
    other = other[: len(power)]
    start = rng.integers(0, len(power) - len(other) + 1)
    mixed = power.copy()
    mixed[start : start + len(other)] += other * (power.mean() * from_db(-rng.uniform(0, 12)) / other.mean())
    return mixed


def stretch(power: FloatArray, length: int) -> FloatArray:
    """Change the tempo at the same pitch, by taking the nearest frames."""
    return power[np.linspace(0, len(power) - 1, length).round().astype(int)]


def change_contrast(rng: Rng, power: FloatArray) -> FloatArray:
    """Raise or lower the contrast between loud and quiet, around each band's mean level."""
    level_db, spectrum_db = _levels(power)
    return from_db(spectrum_db + rng.uniform(0.7, 1.25) * (level_db - spectrum_db)).astype(np.float32)


def borrow_spectrum(rng: Rng, power: FloatArray, other: FloatArray) -> FloatArray:
    """Move the long-term spectrum up to half-way to that of another sound.

    After mixing of frequency-wise statistics (Kim et al., "Domain Generalization on Efficient Acoustic Scene
    Classification using Residual Normalization", 2021), which helps with recordings from unknown devices.
    """
    level_db, spectrum_db = _levels(power)
    difference_db = _levels(other)[1] - spectrum_db
    shift_db = np.clip(difference_db - difference_db.mean(), -30, 30)
    return from_db(level_db + rng.uniform(0, 0.5) * shift_db).astype(np.float32)


def _levels(power: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return each frame and band, and each band's mean, in dB below the peak."""
    power = power / power.max()
    return to_db(power), to_db(power.mean(axis=0))


def colour(rng: Rng, power: FloatArray) -> FloatArray:
    """Imitate another microphone: a smooth random equaliser, at times a low-pass or a high-pass."""
    mels = power.shape[1]
    band = np.arange(mels)
    gain_db = np.interp(band, np.linspace(0, mels - 1, 6), rng.normal(0, 4, 6))
    if rng.random() < 0.4:
        gain_db -= rng.uniform(3, 12) * np.maximum(band - rng.uniform(0.4, 1) * mels, 0)
    if rng.random() < 0.2:
        gain_db -= rng.uniform(2, 8) * np.maximum(rng.uniform(0, 0.25) * mels - band, 0)
    return power * from_db(gain_db).astype(np.float32)


def reverberate(rng: Rng, power: FloatArray) -> FloatArray:
    """Add a diffuse room: an exponential decay with a random reverberation time; its tail is kept for 0.3 s."""
    decay = 10 ** (-6 / (rng.uniform(0.15, 1.2) * 100))
    wet = rng.uniform(0.1, 0.6)
    padded = np.pad(power, ((0, 30), (0, 0)))
    tail = scipy.signal.lfilter([1 - decay], [1, -decay], padded, axis=0)
    return ((1 - wet) * padded + wet * tail).astype(np.float32)


def mask_bands(
    rng: Rng, log_mel: FloatArray, bands: tuple[int, int] = (2, 8), times: tuple[int, int] = (1, 32)
) -> None:
    """Apply SpecAugment in place: masks over frequency, then over time (HTS-AT, section 3.1; Park et al. 2019).

    `bands` and `times` say how many masks, and the most bands or frames that each covers.
    """
    fill = log_mel.mean()
    for _ in range(bands[0]):
        width = rng.integers(0, bands[1] + 1)
        start = rng.integers(0, log_mel.shape[1] - width + 1)
        log_mel[:, start : start + width] = fill
    for _ in range(times[0]):
        length = rng.integers(0, times[1] + 1)
        start = rng.integers(0, log_mel.shape[0] - length + 1)
        log_mel[start : start + length] = fill
