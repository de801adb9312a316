"""Learn from whole recordings and the classes that sound somewhere in them, as HTS-AT was trained."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse
import soxr
import torch
from torch.utils.data import Dataset

from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.htsat.batches import Batch
from htsat_edge.htsat.network import FRAMES
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.htsat.variations import Rng, mask_bands
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.log_mel import FLOOR_POWER, FrontEnd, LogMel
from htsat_edge.runtime.dsp.stretch import stretch_matrix
from htsat_edge.runtime.dsp.windows import tiles

HalfArray = npt.NDArray[np.float16]
SILENCE_DB = np.float32(10 * np.log10(FLOOR_POWER))
MEMORY_SHARE = 0.25
"""Recordings that take more than this share of the memory as spectrograms are read anew whenever they are drawn."""
LOOKED_AT = 50
"""Recordings by which the size of all is estimated."""


@dataclass(frozen=True)
class LabelledClip:
    """A recording, and the classes that sound in it at any time."""

    path: Path
    labels: frozenset[str]
    group: str
    split: str
    onset_s: float = 0.0
    offset_s: float | None = None

    @property
    def label(self) -> str:
        """All classes, as one name."""
        return " + ".join(sorted(self.labels)) or BACKGROUND

    @property
    def held(self) -> bool:
        """Whether it is held back from training, to measure on."""
        return self.split == "val"


def clips_of(recordings: Sequence[Labelled]) -> list[LabelledClip]:
    """Return recordings, each with a split and a group, as clips; leave out those whose classes are unknown."""
    return [LabelledClip(r.path, r.labels - {BACKGROUND}, r.group, r.split) for r in recordings if r.labels is not None]


def usable(clips: Sequence[LabelledClip], names: Sequence[str], loss: str) -> list[LabelledClip]:
    """Return the clips that a network with this loss and these classes can learn from or be measured on.

    Raise an HtsatEdgeError where loss is `ce` and a clip has several classes, or where a class is not there.
    """
    if loss == "ce":
        for clip in clips:
            if len(clip.labels.intersection(names)) > 1:
                raise HtsatEdgeError(
                    f"{clip.path}: has several classes, {clip.label}; the network file must say loss: bce for that"
                )
        clips = [clip for clip in clips if clip.labels.intersection(names)]
    known = {True: Counter[str](), False: Counter[str]()}
    for clip in clips:
        known[clip.held].update(clip.labels)
    for name in names:
        if not known[False][name]:
            there = ", ".join(sorted(known[False])[:20])
            raise HtsatEdgeError(f"--data: has no training recording of {name}; it has {there}")
    if not any(known[True][name] for name in names):
        raise HtsatEdgeError("--data: holds back no recording of any label, so nothing can be measured")
    return list(clips)


def targets_of(clips: Sequence[LabelledClip], names: Sequence[str]) -> BoolArray:
    """Return which classes sound in each clip, (N, C)."""
    index = {name: k for k, name in enumerate(names)}
    targets = np.zeros((len(clips), len(names)), bool)
    for i, clip in enumerate(clips):
        targets[i, [index[name] for name in clip.labels if name in index]] = True
    return targets


def read_log_mel(path: Path, front_end: FrontEnd) -> HalfArray:
    """Return the log-mel of a whole recording, (T, F) in dB, rounded to a sixteenth of a dB at most."""
    file, log_mel = AudioFile(path), LogMel(front_end)
    samples = np.concatenate([np.zeros(0, np.float32), *file.blocks(max(1, file.samples))])
    waveform = np.asarray(soxr.resample(samples, file.sample_rate, front_end.sample_rate), np.float32)
    return log_mel(np.pad(waveform, (0, max(0, log_mel.min_samples - len(waveform))))).astype(np.float16)


class Spectrograms:
    """The log-mels of clips: in memory, or read from the recordings each time where they are too many for that."""

    def __init__(self, clips: Sequence[LabelledClip], front_end: FrontEnd, task: str, processes: int = 1) -> None:
        """Read them, with a progress bar, if `processes` of this machine have memory for that."""
        self._clips = clips
        self._front_end = front_end
        wanted, there = size_of(clips, front_end), MEMORY_SHARE * memory() / processes
        self.in_memory = wanted <= there
        self._read: list[HalfArray] = []
        if not self.in_memory:
            print(f"{task}: {wanted / 1e9:.3g} GB of spectrograms; they are read anew whenever they are drawn")
            return
        load = partial(read_log_mel, front_end=front_end)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(load, (clip.path for clip in clips))
            self._read = [log_mel for _, log_mel in zip(with_progress(clips, task), found, strict=True)]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> HalfArray:
        """Return a log-mel, (T, F) in dB."""
        return self._read[index] if self.in_memory else read_log_mel(self._clips[index].path, self._front_end)


def size_of(clips: Sequence[LabelledClip], front_end: FrontEnd) -> float:
    """Return how many bytes the log-mels of clips take, as estimated from some of them."""
    if not clips:
        return 0.0
    some = clips[:: max(1, len(clips) // LOOKED_AT)]
    seconds = [(file.samples / file.sample_rate) for file in (AudioFile(clip.path) for clip in some)]
    frame_bytes = front_end.n_mels * np.dtype(np.float16).itemsize
    return float(np.mean(seconds)) / front_end.frame_s * frame_bytes * len(clips)


def memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class ClipBatches(Dataset[Batch]):
    """The batch of each step, the same for the same step and seed in any process."""

    def __init__(
        self, spectrograms: Spectrograms, targets: BoolArray, config: TrainConfig, part: slice = slice(None)
    ) -> None:
        """Take clips with their classes (N, C), and which part of each batch is wanted."""
        self._spectrograms = spectrograms
        self._targets = targets.astype(np.float32)
        self._config = config
        self._part = part
        self._drawn = np.cumsum(draw_shares(targets, config.augment.balance))

    def __getitem__(self, step: int) -> Batch:
        seed, batch = self._config.seed, self._config.batch
        examples = [self._example(np.random.default_rng((seed, step, i))) for i in range(batch)[self._part]]
        log_mel, target = (np.stack(part) for part in zip(*examples, strict=True))
        return torch.from_numpy(log_mel), torch.from_numpy(target)

    def _example(self, rng: Rng) -> tuple[FloatArray, FloatArray]:
        """Draw a clip, at times mixed with another (mixup: Zhang et al. 2018; of log-mels as in HTS-AT)."""
        augment = self._config.augment
        log_mel, target = self._clip(rng)
        if augment.mixup and rng.random() < augment.mixup_share:
            other, other_target = self._clip(rng)
            share = np.float32(rng.beta(augment.mixup, augment.mixup))
            log_mel = share * log_mel + (1 - share) * other
            target = share * target + (1 - share) * other_target
        return log_mel, target

    def _clip(self, rng: Rng) -> tuple[FloatArray, FloatArray]:
        """Draw a clip and vary it."""
        augment = self._config.augment
        i = min(int(np.searchsorted(self._drawn, rng.random(), side="right")), len(self._targets) - 1)
        log_mel = fill_window(rng, self._spectrograms[i].astype(np.float32), augment.shift)
        if augment.gain_db:
            gain_db = np.float32(rng.uniform(-augment.gain_db, augment.gain_db))
            log_mel = np.maximum(log_mel + gain_db, SILENCE_DB)
        mask_bands(rng, log_mel, augment.band_masks, augment.time_masks)
        return log_mel, self._targets[i]


def draw_shares(targets: BoolArray, balance: float) -> npt.NDArray[np.float64]:
    """Return how often each clip is drawn, (N,): adds up to one.

    With `balance` 1, every class is drawn equally often, and of a class any of its clips (as in PANNs and HTS-AT; those
    without a class count as one more); with 0, every clip is.
    """
    classes = np.column_stack([targets, ~targets.any(axis=1)])
    counts = classes.sum(axis=0)
    by_class = classes[:, counts > 0] / counts[counts > 0]
    return balance * by_class.mean(axis=1) + (1 - balance) / len(targets)


def fill_window(rng: Rng, log_mel: FloatArray, shift: bool) -> FloatArray:
    """Return a part of a clip as a window (1024, F); a short one is rolled, if `shift`, and repeated."""
    if len(log_mel) > FRAMES:
        begin = rng.integers(0, len(log_mel) - FRAMES + 1)
        return log_mel[begin : begin + FRAMES].copy()
    if shift:
        log_mel = np.roll(log_mel, rng.integers(len(log_mel)), axis=0)
    return tile(log_mel)


def windows_of(log_mel: FloatArray) -> Iterator[FloatArray]:
    """Yield the windows (1024, F) of a whole clip (T, F): one after the other, and the last at its end."""
    if len(log_mel) <= FRAMES:
        yield tile(log_mel)
        return
    for begin in range(0, len(log_mel) - FRAMES, FRAMES):
        yield log_mel[begin : begin + FRAMES]
    yield log_mel[-FRAMES:]


def tile(log_mel: FloatArray) -> FloatArray:
    """Return a short log-mel as a window (1024, F): repeated and stretched as by the runtime, but faster."""
    repeated = np.tile(log_mel, (tiles(len(log_mel), FRAMES), 1))
    return repeated if len(repeated) == FRAMES else np.asarray(_stretch(len(repeated)) @ repeated)


@lru_cache(maxsize=1024)
def _stretch(frames: int) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix(stretch_matrix(frames, FRAMES))
