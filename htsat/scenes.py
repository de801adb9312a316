"""Synthetic scenes with strong labels, mixed from recordings of single events.

Mixing happens on power mel spectrograms, where sounds that are not coherent add up: one addition a scene in place of
a Fourier transform, so scenes cost almost nothing. Gain, equaliser and low-pass are factors per band, reverberation
is a decay in time; only a change of speed needs the waveform, so each recording is kept at several speeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr
from rich.console import Console
from rich.progress import track

from htsat.corpus import BACKGROUND, Recording, read_mono
from htsat.network import FRAMES, STEPS
from runtime.features import FloatArray, FrontEnd, LogMel, to_db

Rng = np.random.Generator
Item = TypeVar("Item")
SPEEDS = (0.84, 0.92, 1.0, 1.09, 1.19)
STEP_FRAMES = FRAMES // STEPS


@dataclass(frozen=True)
class Sound:
    """A recording as power mel spectrograms (T, F), one for each speed."""

    recording: Recording
    power: tuple[FloatArray, ...]


@dataclass(frozen=True)
class Scene:
    """A clip to learn from."""

    log_mel: FloatArray
    """(1024, F) in dB."""
    target: FloatArray
    """(32, classes): 1 where a class fills at least half of a step."""


def load_sound(recording: Recording, front_end: FrontEnd, speeds: Sequence[float] = SPEEDS) -> Sound:
    """Read a recording and compute its spectrogram at each speed."""
    log_mel = LogMel(front_end)
    waveform = read_mono(recording.path, front_end.sample_rate)
    # A frame or two of silence after the shortest sounds, so that they can be mirrored at any speed.
    waveform = np.pad(waveform, (0, max(0, 2 * front_end.n_fft - len(waveform))))
    return Sound(
        recording,
        tuple(from_db(log_mel(soxr.resample(waveform, speed, 1.0))).astype(np.float32) for speed in speeds),
    )


def with_progress(items: Sequence[Item], task: str) -> Iterable[Item]:
    """The items, with a bar on a terminal."""
    console = Console(stderr=True)
    return track(items, task, console=console, transient=True) if console.is_terminal else items


def load_sounds(
    recordings: Sequence[Recording], front_end: FrontEnd, task: str, speeds: Sequence[float] = SPEEDS
) -> list[Sound]:
    """Load many recordings, with a progress bar."""
    return [load_sound(recording, front_end, speeds) for recording in with_progress(recordings, task)]


class SceneMaker:
    """Draws scenes from sounds, for `labels` in this order; sounds of other classes are heard but not labelled."""

    def __init__(self, sounds: Iterable[Sound], labels: Sequence[str], front_end: FrontEnd) -> None:
        self._index = {label: i for i, label in enumerate(labels)}
        self._mels = front_end.n_mels
        self._groups: dict[str, dict[str, list[Sound]]] = defaultdict(lambda: defaultdict(list))
        for sound in sounds:
            self._groups[sound.recording.label][sound.recording.group].append(sound)
        self._labels = sorted(set(self._groups) - {BACKGROUND})

    def mixture(self, rng: Rng, events: tuple[int, int]) -> Scene:
        """A scene of `events` (fewest, most) sounds anywhere on a background."""
        power = self._background(rng)
        loudness = power.mean()
        active = np.zeros((FRAMES, len(self._index)), np.float32)
        for _ in range(rng.integers(events[0], events[1], endpoint=True)):
            sound = self._draw(rng, str(rng.choice(self._labels)))
            event = colour(rng, self._pick_speed(rng, sound))
            event *= loudness * from_db(rng.uniform(-3, 30)) / event.mean()
            if rng.random() < 0.3:
                event = reverberate(rng, event)
            for onset in self._onsets(rng, len(event)):
                self._place(power, active, event, onset, self._index.get(sound.recording.label))
        return self._finish(rng, power, active.reshape(STEPS, STEP_FRAMES, -1).mean(axis=1))

    def tiled(self, rng: Rng) -> Scene:
        """One sound, repeated and stretched to fill the clip as short recordings are at run time."""
        sound = self._draw(rng, str(rng.choice([label for label in self._labels if label in self._index])))
        event = colour(rng, self._pick_speed(rng, sound))[:FRAMES]
        noise = self._background(rng)[: len(event)]
        event = event + noise * event.mean() * from_db(-rng.uniform(3, 50)) / noise.mean()
        event = np.tile(event, (FRAMES // len(event), 1))
        power = event[np.linspace(0, len(event) - 1, FRAMES).round().astype(int)]
        share = np.zeros((STEPS, len(self._index)), np.float32)
        share[:, self._index[sound.recording.label]] = 1
        return self._finish(rng, power, share)

    def _draw(self, rng: Rng, label: str) -> Sound:
        """A sound of a class; a group counts with the square root of its size, so that no pack dominates."""
        groups = list(self._groups[label].values())
        weights = np.sqrt([len(group) for group in groups])
        group = groups[rng.choice(len(groups), p=weights / weights.sum())]
        return group[rng.integers(len(group))]

    def _pick_speed(self, rng: Rng, sound: Sound) -> FloatArray:
        return sound.power[rng.integers(len(sound.power))]

    def _background(self, rng: Rng) -> FloatArray:
        """Room tone: stationary noise of a random slope, and most of the time a recorded background over it."""
        slope_db = np.linspace(0, rng.uniform(-45, 5), self._mels) + rng.normal(0, 2, self._mels)
        power = from_db(slope_db) * rng.gamma(3.0, 1 / 3, (FRAMES, self._mels))
        power *= 1e-3 / power.mean()
        if BACKGROUND in self._groups and rng.random() < 0.8:
            recorded = colour(rng, self._pick_speed(rng, self._draw(rng, BACKGROUND)))
            recorded = np.roll(np.resize(recorded, (FRAMES, self._mels)), rng.integers(FRAMES), axis=0)
            power += recorded * (1e-3 * from_db(rng.uniform(-5, 25)) / recorded.mean())
        return power.astype(np.float32)

    def _onsets(self, rng: Rng, length: int) -> list[int]:
        """Where an event begins; a short one may come several times."""
        onset = int(rng.integers(-length // 2, FRAMES - min(length, FRAMES) // 2))
        onsets = [onset]
        if length < 150 and rng.random() < 0.5:
            for _ in range(rng.integers(1, 6)):
                onset += length + int(rng.integers(3, 80))
                onsets.append(onset)
        return onsets

    def _place(self, power: FloatArray, active: FloatArray, event: FloatArray, onset: int, index: int | None) -> None:
        begin, end = max(onset, 0), min(onset + len(event), FRAMES)
        if begin >= end:
            return
        power[begin:end] += event[begin - onset : end - onset]
        if index is not None:
            active[begin:end, index] = 1

    def _finish(self, rng: Rng, power: FloatArray, share: FloatArray) -> Scene:
        peak = power.mean(axis=1).max()
        power = power * (from_db(rng.uniform(-30, 18)) / peak)
        return Scene(to_db(power).astype(np.float32), np.minimum(2 * share, 1).astype(np.float32))


def from_db(db: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Decibels to power."""
    return np.power(10.0, np.asarray(db) / 10)


def colour(rng: Rng, power: FloatArray) -> FloatArray:
    """Another microphone: a smooth random equaliser, at times a low-pass or a high-pass."""
    mels = power.shape[1]
    gain_db = np.interp(np.arange(mels), np.linspace(0, mels - 1, 6), rng.normal(0, 3, 6))
    band = np.arange(mels)
    if rng.random() < 0.4:
        gain_db -= rng.uniform(3, 12) * np.maximum(band - rng.uniform(0.45, 1) * mels, 0)
    if rng.random() < 0.15:
        gain_db -= rng.uniform(2, 8) * np.maximum(rng.uniform(0, 0.2) * mels - band, 0)
    return (power * from_db(gain_db)).astype(np.float32)


def reverberate(rng: Rng, power: FloatArray) -> FloatArray:
    """A diffuse room: power decays exponentially with a random reverberation time; the tail is kept for 0.3 s."""
    decay = 10 ** (-6 / (rng.uniform(0.15, 1.2) * 100))
    wet = rng.uniform(0.1, 0.6)
    padded = np.pad(power, ((0, 30), (0, 0)))
    tail = scipy.signal.lfilter([1 - decay], [1, -decay], padded, axis=0)
    return ((1 - wet) * padded + wet * tail).astype(np.float32)


def mask_bands(rng: Rng, log_mel: FloatArray, widest_band: int = 8, longest: int = 32) -> None:
    """SpecAugment in place: two masks over frequency and one over time (HTS-AT, section 3.1; Park et al. 2019)."""
    fill = log_mel.mean()
    for _ in range(2):
        width = rng.integers(0, widest_band + 1)
        start = rng.integers(0, log_mel.shape[1] - width + 1)
        log_mel[:, start : start + width] = fill
    length = rng.integers(0, longest + 1)
    start = rng.integers(0, log_mel.shape[0] - length + 1)
    log_mel[start : start + length] = fill
