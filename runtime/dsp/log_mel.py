"""Log-mel spectrograms in numpy, of a whole recording and of a stream (HTS-AT, section 3.1; librosa's defaults).

The short-time Fourier transform is centred: frame k looks at the samples around k * hop, and the recording is
mirrored at both ends. A recording of N samples has N // hop + 1 frames.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft
from pydantic import BaseModel, ConfigDict, Field, model_validator

from htsat_edge.runtime.common.arrays import FloatArray

AT_ONCE = 64
"""Frames whose spectra are in memory at a time, which then stay in the cache."""
BLOCK = 8
"""Frames that are multiplied with the filters at once, on which the last bit of a sum depends: a stream has to wait for
them, so they are few, 80 ms. And so few are too little work for a BLAS to wake its threads, which would fight with the
model's.
"""
FLOOR_POWER = 1e-10
"""Power below this is taken for this: the floor of a log-mel is -100 dB."""


class FrontEnd(BaseModel):
    """How audio becomes a log-mel. The defaults are AudioSet's (the paper, section 3.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate: int = Field(32_000, gt=0, le=1_000_000)
    """Hz."""
    n_fft: int = Field(1024, gt=1, le=65_536)
    """Samples under one Hann window; also the length of the transform."""
    hop: int = Field(320, gt=0)
    """Samples between frames."""
    n_mels: int = Field(64, gt=0, le=1024)
    fmin: float = Field(50.0, ge=0)
    """Hz."""
    fmax: float = Field(14_000.0, gt=0)
    """Hz; above half the sample rate the upper filters are empty, as in the Speech Commands checkpoint."""
    mel_sample_rate: int | None = Field(None, gt=0, le=1_000_000)
    """Hz of the recordings for which the filters were made, if others are heard with them, as in Microsoft's CLAP: what
    they take for fmin and fmax is then higher or lower by the ratio of the rates.
    """

    @model_validator(mode="after")
    def _consistent(self) -> FrontEnd:
        if self.fmin >= self.fmax:
            raise ValueError(f"fmin {self.fmin:g} Hz is not below fmax {self.fmax:g} Hz")
        if self.hop >= self.n_fft // 2:
            raise ValueError(f"hop {self.hop} is not less than half of n_fft {self.n_fft}")
        return self

    @property
    def frame_s(self) -> float:
        """Seconds between frames."""
        return self.hop / self.sample_rate

    @property
    def mel_stretch(self) -> float:
        """Hz of the recordings for one Hz of the filters."""
        return self.sample_rate / (self.mel_sample_rate or self.sample_rate)

    @property
    def lowest_hz(self) -> float:
        """Hz of the recordings at which the first band begins."""
        return self.fmin * self.mel_stretch

    @property
    def highest_hz(self) -> float:
        """Hz of the recordings at which the last band ends, or half their sample rate where that is less."""
        return min(self.fmax * self.mel_stretch, self.sample_rate / 2)


def hz_to_mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return Hz in mel on Slaney's scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    hz = np.asarray(hz, np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return mel in Hz, the inverse of `hz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (np.maximum(mel, 15) - 15) / 27))


def mel_edges_hz(front_end: FrontEnd) -> npt.NDArray[np.float64]:
    """Return edges in Hz (n_mels + 2,): a triangle begins at one, peaks at the next and ends at the one after."""
    edges_mel = np.linspace(hz_to_mel(front_end.fmin), hz_to_mel(front_end.fmax), front_end.n_mels + 2)
    return mel_to_hz(edges_mel) * front_end.mel_stretch


def hz_to_band(front_end: FrontEnd, hz: float) -> float:
    """Return where Hz of the recordings lie among the bands, from 0 where they begin to n_mels where they end."""
    low, high, mel = hz_to_mel([front_end.fmin, front_end.fmax, hz / front_end.mel_stretch])
    return float((mel - low) / (high - low) * front_end.n_mels)


def band_to_hz(front_end: FrontEnd, band: float) -> float:
    """Return Hz of the recordings at a place among the bands, the inverse of `hz_to_band`."""
    low, high = hz_to_mel([front_end.fmin, front_end.fmax])
    return float(mel_to_hz(low + (high - low) * band / front_end.n_mels) * front_end.mel_stretch)


def mel_filters(front_end: FrontEnd) -> FloatArray:
    """Return the filters (n_fft // 2 + 1, n_mels) from power to mel power: unit triangles, evenly spaced in mel."""
    bins_hz = np.fft.rfftfreq(front_end.n_fft, 1 / front_end.sample_rate)[:, None]
    edges_hz = mel_edges_hz(front_end)
    low, centre, high = (edges_hz[i : i + front_end.n_mels] for i in range(3))
    triangles = np.minimum((bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre))
    filters: FloatArray = (np.maximum(triangles, 0) * 2 * front_end.mel_stretch / (high - low)).astype(np.float32)
    return filters


def hann(length: int) -> FloatArray:
    """Return the periodic Hann window (length,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


def to_db(power: FloatArray) -> FloatArray:
    """Return power in dB, with its floor."""
    db: FloatArray = 10 * np.log10(np.maximum(power, FLOOR_POWER))
    return db


class LogMel:
    """Waveform (S,) in [-1, 1] -> log-mel (T, F) in dB, T = S // hop + 1."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end
        self._window = hann(front_end.n_fft)
        filters = mel_filters(front_end)
        heard = np.flatnonzero(filters.any(axis=1))
        self._heard = slice(
            heard.min(initial=len(filters)), heard.max(initial=-1) + 1
        )  # the bins that any filter takes
        self._filters = filters[self._heard]

    @property
    def min_samples(self) -> int:
        """Samples of the shortest recording that can be mirrored at its ends."""
        return self.front_end.n_fft // 2 + 1

    def __call__(self, waveform: FloatArray) -> FloatArray:
        return self.frames(mirror_end(mirror_start(waveform, self.front_end.n_fft), self.front_end.n_fft))

    def frames(self, padded: FloatArray) -> FloatArray:
        """Return the frames (T, F) that lie whole within these samples (S,); no padding is added."""
        spans = np.lib.stride_tricks.sliding_window_view(padded, self.front_end.n_fft)[:: self.front_end.hop]
        mel_power = np.empty((len(spans), self.front_end.n_mels), np.float32)
        for begin in range(0, len(spans), AT_ONCE):
            spectrum = scipy.fft.rfft(spans[begin : begin + AT_ONCE] * self._window, axis=-1, overwrite_x=True)
            spectrum = spectrum[:, self._heard]
            power = spectrum.real**2
            power += spectrum.imag**2
            out = mel_power[begin : begin + AT_ONCE]
            for first in range(0, len(out), BLOCK):
                np.matmul(power[first : first + BLOCK], self._filters, out=out[first : first + BLOCK])
        return to_db(mel_power)


def mirror_start(x: FloatArray, n_fft: int) -> FloatArray:
    """Put n_fft // 2 mirrored samples before the first, which is not repeated."""
    return np.concatenate([x[n_fft // 2 : 0 : -1], x])


def mirror_end(x: FloatArray, n_fft: int) -> FloatArray:
    """Put n_fft // 2 mirrored samples after the last, which is not repeated."""
    return np.concatenate([x, x[-2 : -2 - n_fft // 2 : -1]])


class TooShortError(ValueError):
    """A recording has too few samples for a single frame."""


class LogMelStream:
    """The log-mel of a stream, each frame computed once.

    Frames are computed in blocks, always the same ones, so the result does not depend, to the bit, on how the samples
    were chunked.
    """

    def __init__(self, front_end: FrontEnd, within: bool = False) -> None:
        """Prepare for a recording, or for what is `within` one: from n_fft // 2 samples before any block on."""
        self._within = within
        self._log_mel = LogMel(front_end)
        self._advance = BLOCK * front_end.hop
        self._need = self._advance - front_end.hop + front_end.n_fft
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._pending: list[FloatArray] = []
        self._count = 0
        self._started = self._within
        """Whether what lies before the first frame is there."""

    def push(self, samples: FloatArray) -> FloatArray:
        """Take samples (S,); return the frames (T, F) of the blocks that they complete."""
        self._pending.append(samples)
        self._count += len(samples)
        # A stream may come sample by sample: chunks are joined only when they make a difference.
        if not self._started and self._count >= self._log_mel.min_samples:
            self._keep(mirror_start(np.concatenate(self._pending), self._log_mel.front_end.n_fft))
            self._started = True
        if not self._started or self._count < self._need:
            return np.empty((0, self._log_mel.front_end.n_mels), np.float32)
        joined = np.concatenate(self._pending)
        advance = (1 + (len(joined) - self._need) // self._advance) * self._advance
        log_mel = self._log_mel.frames(joined[: advance - self._advance + self._need])
        self._keep(joined[advance:].copy())
        return log_mel

    def flush(self) -> FloatArray:
        """End the recording; return the frames (T, F) that are left. Raise a TooShortError if there can be none."""
        if not self._started or self._count < self._log_mel.min_samples:
            raise TooShortError(f"{self._count} samples are too few, want at least {self._log_mel.min_samples}")
        rest = mirror_end(np.concatenate(self._pending), self._log_mel.front_end.n_fft)
        self.reset()
        return self._log_mel.frames(rest)

    def _keep(self, samples: FloatArray) -> None:
        self._pending, self._count = [samples], len(samples)
