"""Mix synthetic scenes with strong labels from recordings of single events.

Mixing happens on power mel spectrograms, where incoherent sounds add up: one addition a scene in place of a Fourier
transform, so scenes cost almost nothing. Gain, equaliser and low-pass are factors per band, reverberation is a decay in
time; only a change of speed needs the waveform, so each recording is kept at several speeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr

from htsat_edge.evaluation.labels import BACKGROUND, Occurrence
from htsat_edge.htsat.corpus import Recording, read_mono
from htsat_edge.htsat.network import FRAMES, STEPS
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel, to_db

Rng = np.random.Generator
SPEEDS = (0.84, 0.92, 1.0, 1.09, 1.19)
STEP_FRAMES = FRAMES // STEPS
SNR_DB = (0.0, 30.0)
"""Level of an event above the background, on average over its frames and bands."""
OTHERS = 0.1
"""The share of events of unlabelled classes: mixed in, so that the network learns to ignore them."""
SHORT = 150
"""Frames; shorter sounds may come several times."""
PAUSE_S = 0.15
"""Events of one class that are closer count as one, as in the labels of DESED (DCASE 2019 to 2023, task 4)."""


@dataclass(frozen=True)
class Sound:
    """A recording as power mel spectrograms (T, F), one for each speed."""

    recording: Recording
    power: tuple[FloatArray, ...]


@dataclass(frozen=True)
class Scene:
    """A window to learn from, or to measure on."""

    log_mel: FloatArray
    """(1024, F) in dB."""
    target: FloatArray
    """(32, classes): 1 where a class fills at least half of a step."""
    events: tuple[Occurrence, ...]
    """Events of the labelled classes; those of one class are at least `PAUSE_S` apart."""
    duration_s: float


def load_sound(recording: Recording, front_end: FrontEnd, speeds: Sequence[float] = SPEEDS) -> Sound:
    """Read a recording and compute its spectrogram at each speed."""
    log_mel = LogMel(front_end)
    waveform = read_mono(recording, front_end.sample_rate)
    # A frame or two of silence after the shortest sounds, so that they can be mirrored at any speed.
    waveform = np.pad(waveform, (0, max(0, 2 * front_end.n_fft - len(waveform))))
    return Sound(
        recording,
        tuple(from_db(log_mel(soxr.resample(waveform, speed, 1.0))).astype(np.float32) for speed in speeds),
    )


def load_sounds(
    recordings: Sequence[Recording], front_end: FrontEnd, task: str, speeds: Sequence[float] = SPEEDS
) -> list[Sound]:
    """Load many recordings, with a progress bar."""
    return [load_sound(recording, front_end, speeds) for recording in with_progress(recordings, task)]


class SceneMaker:
    """Draws scenes from sounds, for `labels` in this order; sounds of other classes are mixed in but not labelled."""

    def __init__(
        self, sounds: Iterable[Sound], labels: Sequence[str], front_end: FrontEnd, augment: bool = True
    ) -> None:
        """Take sounds; `augment` varies each of them whenever it is drawn."""
        self._labels = list(labels)
        self._index = {label: i for i, label in enumerate(labels)}
        self._mels = front_end.n_mels
        self._frame_s = front_end.frame_s
        self._augment = augment
        self._groups: dict[str, dict[str, list[Sound]]] = defaultdict(lambda: defaultdict(list))
        for sound in sounds:
            self._groups[sound.recording.label][sound.recording.group].append(sound)
        self._known = sorted(self._groups.keys() & self._index.keys())
        self._others = sorted(self._groups.keys() - self._index.keys() - {BACKGROUND})

    def mixture(self, rng: Rng, events: tuple[int, int]) -> Scene:
        """Return a scene of `events` (fewest, most) sounds anywhere on a background."""
        power = self._background(rng)
        loudness = power.mean()
        active = np.zeros((FRAMES, len(self._labels)), bool)
        for _ in range(rng.integers(events[0], events[1], endpoint=True)):
            label = self._any(rng)
            event = self._event(rng, label)
            event = event * (loudness * from_db(rng.uniform(*SNR_DB)) / event.mean())
            if self._augment and rng.random() < 0.3:
                event = reverberate(rng, event)
            for onset in self._onsets(rng, len(event)):
                self._place(power, active, event, onset, self._index.get(label))
        return self._finish(rng, power, active)

    def tiled(self, rng: Rng) -> Scene:
        """Return one sound, at times with a second, repeated and stretched as short recordings are at run time."""
        labels = [str(rng.choice(self._known))]
        if rng.random() < 0.4:
            labels.append(self._any(rng))
        power = np.zeros((FRAMES, self._mels))
        active = np.zeros((FRAMES, len(self._labels)), bool)
        for label in labels:
            event = self._event(rng, label)[:FRAMES]
            noise = self._background(rng)[: len(event)]
            event = event + noise * (event.mean() * from_db(-rng.uniform(3, 50)) / noise.mean())
            event = stretch(np.tile(event, (FRAMES // len(event), 1)), FRAMES)
            below_db = rng.uniform(0, 8) if power.any() else 0
            power += event * (from_db(-below_db) / event.mean())
            if label in self._index:
                active[:, self._index[label]] = True
        return self._finish(rng, power, active)

    def _any(self, rng: Rng) -> str:
        """Draw a class: all labelled ones equally often, others rarely."""
        others = bool(self._others) and rng.random() < OTHERS
        return str(rng.choice(self._others if others else self._known))

    def _draw(self, rng: Rng, label: str) -> FloatArray:
        """Draw a sound of a class; a group counts with the square root of its size, so that no pack dominates."""
        groups = list(self._groups[label].values())
        weights = np.sqrt([len(group) for group in groups])
        group = groups[rng.choice(len(groups), p=weights / weights.sum())]
        speeds = group[rng.integers(len(group))].power
        return speeds[rng.integers(len(speeds))]

    def _event(self, rng: Rng, label: str) -> FloatArray:
        """Draw a sound of a class, varied into another of its kind."""
        event = self._draw(rng, label)
        if not self._augment:
            return event
        event = crop(rng, event)
        if rng.random() < 0.1:
            event = layer(rng, event, self._draw(rng, label))
        if rng.random() < 0.3:
            event = stretch(event, max(2, int(len(event) * rng.uniform(0.75, 1.33))))
        if rng.random() < 0.2:
            event = change_contrast(rng, event)
        elif rng.random() < 0.4:
            other = label if rng.random() < 0.5 else self._any(rng)
            event = borrow_spectrum(rng, event, self._draw(rng, other))
        return colour(rng, event)

    def _background(self, rng: Rng) -> FloatArray:
        """Return stationary noise of a random slope, most of the time with a recorded background over it."""
        slope_db = np.linspace(0, rng.uniform(-45, 5), self._mels) + rng.normal(0, 2, self._mels)
        power = from_db(slope_db) * rng.gamma(3.0, 1 / 3, (FRAMES, self._mels))
        power *= 1e-3 / power.mean()
        if BACKGROUND in self._groups and rng.random() < 0.8:
            recorded = colour(rng, self._draw(rng, BACKGROUND))
            recorded = np.resize(np.roll(recorded, rng.integers(len(recorded)), axis=0), (FRAMES, self._mels))
            power += recorded * (1e-3 * from_db(rng.uniform(-5, 25)) / recorded.mean())
        return power.astype(np.float32)

    def _onsets(self, rng: Rng, length: int) -> list[int]:
        """Return where an event begins; a short one may come several times."""
        onset = int(rng.integers(-length // 2, FRAMES - min(length, FRAMES) // 2))
        onsets = [onset]
        if length < SHORT and rng.random() < 0.5:
            for _ in range(rng.integers(1, 6)):
                onset += length + int(rng.integers(3, 80))
                onsets.append(onset)
        return onsets

    def _place(self, power: FloatArray, active: BoolArray, event: FloatArray, onset: int, index: int | None) -> None:
        begin, end = max(onset, 0), min(onset + len(event), FRAMES)
        if begin >= end:
            return
        power[begin:end] += event[begin - onset : end - onset]
        if index is not None:
            active[begin:end, index] = True

    def _finish(self, rng: Rng, power: npt.NDArray[np.floating], active: BoolArray) -> Scene:
        level = from_db(rng.uniform(-30, 18)) / power.mean(axis=1).max()
        share = active.reshape(STEPS, STEP_FRAMES, -1).mean(axis=1, dtype=np.float32)
        log_mel = to_db(power * level).astype(np.float32)
        return Scene(log_mel, np.minimum(2 * share, 1), self._occurrences(active), FRAMES * self._frame_s)

    def _occurrences(self, active: BoolArray) -> tuple[Occurrence, ...]:
        """Return the runs of active frames of each class, joined where hardly a pause is between them."""
        edges = np.diff(active.astype(np.int8), axis=0, prepend=0, append=0)
        found = []
        for k in np.flatnonzero(active.any(axis=0)):
            onsets, offsets = np.flatnonzero(edges[:, k] == 1), np.flatnonzero(edges[:, k] == -1)
            paused = onsets[1:] - offsets[:-1] >= round(PAUSE_S / self._frame_s)
            onsets, offsets = onsets[np.r_[True, paused]], offsets[np.r_[paused, True]]
            for onset, offset in zip(onsets, offsets, strict=True):
                found.append(Occurrence(onset * self._frame_s, offset * self._frame_s, self._labels[k]))
        return tuple(found)


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
    return (power * from_db(gain_db)).astype(np.float32)


def reverberate(rng: Rng, power: FloatArray) -> FloatArray:
    """Add a diffuse room: an exponential decay with a random reverberation time; its tail is kept for 0.3 s."""
    decay = 10 ** (-6 / (rng.uniform(0.15, 1.2) * 100))
    wet = rng.uniform(0.1, 0.6)
    padded = np.pad(power, ((0, 30), (0, 0)))
    tail = scipy.signal.lfilter([1 - decay], [1, -decay], padded, axis=0)
    return ((1 - wet) * padded + wet * tail).astype(np.float32)


def mask_bands(rng: Rng, log_mel: FloatArray, widest_band: int = 8, longest: int = 32) -> None:
    """Apply SpecAugment in place: two masks over frequency, one over time (HTS-AT, section 3.1; Park et al. 2019)."""
    fill = log_mel.mean()
    for _ in range(2):
        width = rng.integers(0, widest_band + 1)
        start = rng.integers(0, log_mel.shape[1] - width + 1)
        log_mel[:, start : start + width] = fill
    length = rng.integers(0, longest + 1)
    start = rng.integers(0, log_mel.shape[0] - length + 1)
    log_mel[start : start + length] = fill
