"""Recordings of a sound as examples to learn from: as they are, and in noise, as a microphone will hear the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.enrolment.embedding import LOUD_DB, Embedded, embed, embed_windows, find_loud, hop_for
from htsat_edge.runtime.enrolment.head import Head, Weights
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo

SNRS_DB = (30.0, 20.0, 10.0)
"""A recording is heard once in noise at each of these, beside as it is: without, half of what is found in recordings is
missed at 10 dB (docs/enroll.md)."""
GAIN_DB = 10.0
"""Each time it is louder or quieter by up to so much."""
SLOPES_DB, ROUGH_DB = (-45.0, 5.0), 2.0
"""Of the noise, from the lowest band to the highest; and how much bands differ beside."""
GRAIN = 3.0
"""Shape of the gamma distribution of the noise's power in a band and a frame."""
MOST_WINDOWS = 20
"""Of all recordings as they are, so that a large model learns in seconds; each has one at least."""


@dataclass(frozen=True, eq=False)
class SoundExample:
    """A recording of the sound."""

    embeddings: FloatArray
    """(n, channels): its loud steps, however they were heard."""
    shares: Weights
    """(n,): how much each counts."""
    heard: Sequence[FloatArray]
    """By each time that the recording was heard, the embeddings (m, channels) of its steps."""

    def score(self, head: Head) -> float:
        """Return the logit that it reaches, in the middle of the times that it was heard."""
        return float(np.median([head.logits(own).max() for own in self.heard]))


def read_examples(paths: Sequence[Path], info: ModelInfo, backend: Backend) -> list[SoundExample]:
    """Return recordings as examples. The same recordings give the same."""
    seconds = sum(one.samples / one.sample_rate for one in map(AudioFile, paths))
    hop = hop_for(seconds, info, MOST_WINDOWS)
    rng = np.random.default_rng(0)
    return [_example(embed(path, info, backend, hop), backend, rng) for path in paths]


def _example(recording: Embedded, backend: Backend, rng: np.random.Generator) -> SoundExample:
    info, plain = recording.info, recording.of_sound()
    windows, steps = zip(*(_in_noise(recording.log_mel, snr_db, info, rng) for snr_db in SNRS_DB), strict=True)
    noisy = [own[at] for own, at in zip(embed_windows(windows, backend), steps, strict=True)]
    shares = [np.full(len(plain), 1 / len(plain)), *(np.full(len(own), 1 / len(own) / len(noisy)) for own in noisy)]
    return SoundExample(np.concatenate([plain, *noisy]), np.concatenate(shares), [recording.final(), *noisy])


def _in_noise(
    log_mel: FloatArray, snr_db: float, info: ModelInfo, rng: np.random.Generator
) -> tuple[FloatArray, list[int]]:
    """Return a window (T, F) in which a recording lies somewhere in noise, and the steps at which it is loud."""
    power = np.power(10, _loudest_part(log_mel, info.frames) / 10)
    level = power.sum(axis=1)
    loud = level >= level.max() * 10 ** (-LOUD_DB / 10)
    noise = _noise(rng, (info.frames, power.shape[1]))
    noise *= level[loud].mean() / noise.sum(axis=1).mean() / 10 ** (snr_db / 10)
    begin = int(rng.integers(info.frames - len(power) + 1))
    noise[begin : begin + len(power)] += power
    gain = 10 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 10)
    window: FloatArray = (10 * np.log10(np.maximum(noise * gain, 1e-10))).astype(np.float32)
    at = np.flatnonzero(find_loud(_loudest_part(log_mel, info.frames), info)) + begin / float(info.step_frames)
    return window, sorted({min(round(step), info.steps - 1) for step in at})


def _loudest_part(log_mel: FloatArray, frames: int) -> FloatArray:
    """Return at most so many frames of a recording, those around its loudest."""
    if len(log_mel) <= frames:
        return log_mel
    loudest = int(log_mel.max(axis=1).argmax())
    begin = int(np.clip(loudest - frames // 2, 0, len(log_mel) - frames))
    return log_mel[begin : begin + frames]


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Return the power (T, F) of stationary noise of a random colour."""
    bands = shape[1]
    colour_db = np.linspace(0, rng.uniform(*SLOPES_DB), bands) + rng.normal(0, ROUGH_DB, bands)
    noise: npt.NDArray[np.float64] = rng.standard_gamma(GRAIN, shape) / GRAIN * np.power(10, colour_db / 10)
    return noise.astype(np.float32)
