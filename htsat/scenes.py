"""Mix synthetic scenes with strong labels from recordings of single events.

Mixing happens on power mel spectrograms, where incoherent sounds add up: one addition a sound in place of a Fourier
transform, so scenes cost a millisecond or two. Only a change of speed needs the waveform, so each recording is kept at
several speeds.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import soxr

from htsat_edge.evaluation.labels import BACKGROUND, Occurrence
from htsat_edge.htsat.ambience import Ambience
from htsat_edge.htsat.corpus import Recording, read_mono
from htsat_edge.htsat.network import FRAMES, STEPS
from htsat_edge.htsat.settings import Mix
from htsat_edge.htsat.variations import (
    SHORT,
    Rng,
    borrow_spectrum,
    change_contrast,
    colour,
    crop,
    from_db,
    layer,
    reverberate,
    stretch,
)
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel, to_db

SPEEDS = (0.84, 0.92, 1.0, 1.09, 1.19)
STEP_FRAMES = FRAMES // STEPS
SNR_DB = (0.0, 30.0)
"""Level of an event above the background, on average over its frames and bands."""
PAUSE_S = 0.15
"""Events of one class that are closer count as one, as in the labels of DESED (DCASE 2019 to 2023, task 4)."""


Run = tuple[int, int, int]
"""An event as index of its class, and frames of its onset and offset."""


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
    """(32, classes): 1 where a class sounds; `Mix.nearest_steps` says how its ends are rounded."""
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
    """Load many recordings on all cores, with a progress bar."""
    load = partial(load_sound, front_end=front_end, speeds=speeds)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Decoding, resampling and transforming happen outside of Python's lock.
        return [sound for _, sound in zip(with_progress(recordings, task), pool.map(load, recordings), strict=True)]


class SceneMaker:
    """Draws scenes from sounds, for `labels` in this order; sounds of other classes are mixed in but not labelled."""

    def __init__(
        self,
        sounds: Iterable[Sound],
        labels: Sequence[str],
        front_end: FrontEnd,
        augment: bool = True,
        mix: Mix = Mix(),
    ) -> None:
        """Take sounds; `augment` varies each of them whenever it is drawn."""
        self._labels = list(labels)
        self._index = {label: i for i, label in enumerate(labels)}
        self._mels = front_end.n_mels
        self._frame_s = front_end.frame_s
        self._augment = augment
        self._mix = mix
        self._groups: dict[str, dict[str, list[Sound]]] = defaultdict(lambda: defaultdict(list))
        for sound in sounds:
            self._groups[sound.recording.label][sound.recording.group].append(sound)
        self._known = sorted(self._groups.keys() & self._index.keys())
        self._others = sorted(self._groups.keys() - self._index.keys() - {BACKGROUND})
        counts = np.array([sum(map(len, self._groups[label].values())) for label in self._others], float)
        self._other_weights = np.sqrt(counts) / np.sqrt(counts).sum()
        self._shares = {label: _shares(groups.values()) for label, groups in self._groups.items()}
        self._ambience = Ambience(self._mels, mix, self._background if BACKGROUND in self._groups else None)

    def mixture(self, rng: Rng, events: tuple[int, int], labelled: bool = True) -> Scene:
        """Return a scene of `events` (fewest, most) sounds anywhere on a background; at will none of a label."""
        power = self._ambience.draw(rng)
        loudness = power.mean()
        active = np.zeros((FRAMES, len(self._labels)), bool)
        draw = self._any if labelled else self._other
        for _ in range(rng.integers(events[0], events[1], endpoint=True)):
            label = draw(rng)
            event = self._event(rng, label)
            event = event * np.float32(loudness * from_db(rng.uniform(*SNR_DB)) / event.mean())
            if self._augment and rng.random() < 0.3:
                event = reverberate(rng, event)
            for onset in self._onsets(rng, len(event)):
                self._place(power, active, event, onset, self._index.get(label))
        return self._finish(rng, power, active)

    def tiled(self, rng: Rng, labelled: bool = True) -> Scene:
        """Return one sound, at times with a second, repeated and stretched as short recordings are at run time."""
        draw = self._any if labelled else self._other
        labels = [draw(rng)]
        if rng.random() < 0.4:
            labels.append(draw(rng))
        power = np.zeros((FRAMES, self._mels), np.float32)
        active = np.zeros((FRAMES, len(self._labels)), bool)
        for label in labels:
            event = self._event(rng, label)[:FRAMES]
            noise = self._ambience.draw(rng)[: len(event)]
            event = event + noise * np.float32(event.mean() * from_db(-rng.uniform(3, 50)) / noise.mean())
            event = stretch(np.tile(event, (FRAMES // len(event), 1)), FRAMES)
            below_db = rng.uniform(0, 8) if power.any() else 0
            power += event * np.float32(from_db(-below_db) / event.mean())
            if label in self._index:
                active[:, self._index[label]] = True
        return self._finish(rng, power, active)

    @property
    def has_others(self) -> bool:
        """Whether there are sounds that are not labelled."""
        return bool(self._others)

    def _any(self, rng: Rng) -> str:
        """Draw a class: all labelled ones equally often, others with their share."""
        if self._others and rng.random() < self._mix.others_share:
            return self._other(rng)
        return self._known[rng.integers(len(self._known))]

    def _other(self, rng: Rng) -> str:
        """Draw a class that is not labelled, one of many recordings more often."""
        return self._others[rng.choice(len(self._others), p=self._other_weights)]

    def _draw(self, rng: Rng, label: str) -> FloatArray:
        """Draw a sound of a class; a group counts with the square root of its size, so that no pack dominates."""
        groups = list(self._groups[label].values())
        group = groups[self._shares[label].searchsorted(rng.random(), side="right")]
        speeds = group[rng.integers(len(group))].power
        return speeds[rng.integers(len(speeds))]

    def _background(self, rng: Rng) -> FloatArray:
        """Draw a recorded background; at times it is a sound of a class that is not labelled."""
        share = self._mix.others_as_background
        other = self._others and share and rng.random() < share
        return self._draw(rng, self._other(rng) if other else BACKGROUND)

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

    def _finish(self, rng: Rng, power: FloatArray, active: BoolArray) -> Scene:
        share = self._mix.device_share
        if share and rng.random() < share:
            power = colour(rng, power)
        level = from_db(rng.uniform(-30, 18)) / power.mean(axis=1).max()
        log_mel = to_db(power * np.float32(level))
        runs = self._runs(active)
        target = _nearest_steps(runs, len(self._labels)) if self._mix.nearest_steps else _filled_steps(active)
        events = (Occurrence(begin * self._frame_s, end * self._frame_s, self._labels[k]) for k, begin, end in runs)
        return Scene(log_mel, target, tuple(events), FRAMES * self._frame_s)

    def _runs(self, active: BoolArray) -> list[Run]:
        """Return the runs of active frames of each class, joined where hardly a pause is between them."""
        classes = np.flatnonzero(active.any(axis=0))
        edges = np.diff(active.T[classes].view(np.int8), prepend=0, append=0)
        found = []
        for k, own in zip(classes, edges, strict=True):
            onsets, offsets = np.flatnonzero(own == 1), np.flatnonzero(own == -1)
            paused = onsets[1:] - offsets[:-1] >= round(PAUSE_S / self._frame_s)
            onsets, offsets = onsets[np.r_[True, paused]], offsets[np.r_[paused, True]]
            found += [(int(k), int(begin), int(end)) for begin, end in zip(onsets, offsets, strict=True)]
        return found


def _shares(groups: Iterable[Sequence[Sound]]) -> FloatArray:
    """Return up to which share of the draws each group comes, as `rng.choice` has it, which would be slower."""
    weights = np.sqrt([len(group) for group in groups])
    ends = (weights / weights.sum()).cumsum()
    return np.asarray(ends / ends[-1])


def _filled_steps(active: BoolArray) -> FloatArray:
    """Return targets (32, C) that are 1 from half a step on, and below that rise with the share that is filled."""
    share = active.reshape(STEPS, STEP_FRAMES, -1).mean(axis=1, dtype=np.float32)
    return np.minimum(2 * share, 1)


def _nearest_steps(runs: Iterable[Run], classes: int) -> FloatArray:
    """Return targets (32, C): each event begins and ends at the step that is nearest, and fills at least one."""
    target = np.zeros((STEPS, classes), np.float32)
    for k, begin, end in runs:
        first = min(round(begin / STEP_FRAMES), STEPS - 1)
        target[first : max(round(end / STEP_FRAMES), first + 1), k] = 1
    return target
