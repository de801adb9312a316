"""The same recordings through several versions of a model side by side, over the whole path of the runtime."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.metrics import decibels, powers
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, Event
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import Backend, Scores
from htsat_edge.runtime.models.bundle import ModelInfo

BLOCK_S = 10.0
WORST = 4
"""Clips whose logits are furthest from the reference's, of different recordings: kept to look at."""
CERTAIN = 1e-7
"""Scores nearer to 0 or 1 than this are as good as certain, and their logits would be infinite in single precision."""


@dataclass(frozen=True)
class Heard:
    """What a version made of one recording."""

    path: Path
    duration_s: float
    clipwise: FloatArray
    """(C,): the highest of all clips."""
    peak: FloatArray
    """(C,): the highest of all steps."""
    scores: FloatArray | None
    """(n, C), merged and smoothed, a row for each step; None where nobody asks for it: hours of it fill the memory."""
    events: list[Occurrence]


@dataclass(frozen=True)
class OddClip:
    """A clip that a version hears otherwise than the reference."""

    snr_db: float
    """Of its logits."""
    path: Path
    at_s: float
    log_mel: FloatArray
    """(T, F)."""

    @property
    def file(self) -> str:
        """The recording's name, as it can be written anywhere."""
        return os.fsencode(self.path.name).decode(errors="replace")


class Recorder:
    """A backend that passes everything on, and keeps it for a while."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.log_mels: list[FloatArray] = []
        self.scores: list[Scores] = []
        self.seconds: list[float] = []
        """Of each run, over all recordings."""

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips (B, T, F), and remember both."""
        begun = time.perf_counter()
        scores = self._backend.infer(log_mel)
        self.seconds.append(time.perf_counter() - begun)
        self.log_mels.append(log_mel)
        self.scores.append(scores)
        return scores

    def close(self) -> None:
        """Release the model."""
        self._backend.close()

    def forget(self) -> None:
        """Of what was scored so far, keep the times alone."""
        self.log_mels, self.scores = [], []


class Merged:
    """A backend with fewer classes: each scores as high as the highest of its own, as HTS-AT was judged on DESED."""

    def __init__(self, backend: Backend, columns: Sequence[Sequence[int]]) -> None:
        """Take, for each class, the outputs that belong to it."""
        self._backend = backend
        self._columns = columns

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips (B, T, F)."""
        scores = self._backend.infer(log_mel)

        def merge(x: FloatArray) -> FloatArray:
            return np.stack([x[..., own].max(axis=-1) for own in self._columns], axis=-1)

        return scores._replace(framewise=merge(scores.framewise), clipwise=merge(scores.clipwise))

    def close(self) -> None:
        """Release the model."""
        self._backend.close()


class Version:
    """A version of a model: one of the bundle's graphs, say. It keeps what it has heard."""

    def __init__(self, name: str, backend: Backend, info: ModelInfo, keep_scores: bool = True) -> None:
        self.name = name
        self._keep_scores = keep_scores
        self.heard: list[Heard] = []
        self._info = info
        self._recorder = Recorder(backend)
        self._signal = self._noise = 0.0
        self._odd: dict[Path, OddClip] = {}

    @property
    def clip_ms(self) -> float:
        """The median time that the model took for one clip."""
        return 1000 * float(np.median(self._recorder.seconds))

    @property
    def odd_clips(self) -> list[OddClip]:
        """Those that are furthest from the reference's, worst first."""
        return sorted(self._odd.values(), key=lambda clip: clip.snr_db)

    @property
    def snr_db(self) -> float:
        """How far the logits are from the reference's over all clips; infinite where they are the same."""
        return decibels(self._signal, self._noise)

    def begin(self, sample_rate: int) -> None:
        """A recording begins."""
        self._rows: list[FloatArray] = []
        self._peak: FloatArray | None = None
        self._events: list[Event] = []
        self._clipwise: list[FloatArray] = []
        self._clips = 0
        self._detector = Detector(self._info, self._recorder, sample_rate, watcher=self)

    def frames(self, log_mel: FloatArray) -> None:
        """Nothing is asked of the frames."""

    def scores(self, scores: FloatArray) -> None:
        """The next final scores (n, C), from the detector."""
        peak = scores.max(axis=0)
        self._peak = peak if self._peak is None else np.maximum(self._peak, peak)
        if self._keep_scores:
            self._rows.append(scores)

    def push(self, samples: FloatArray) -> None:
        """Samples (S,) of the recording."""
        self._events += self._detector.push(samples)

    def end(self) -> None:
        """The recording is over."""
        self._events += self._detector.close()

    def compare(self, reference: Version, path: Path) -> None:
        """Compare the clips since the last time with the reference's, which are the same."""
        step_s = self._detector.grid.hop_steps * self._info.step_s
        for log_mel, wanted, found in zip(
            self._recorder.log_mels, reference._recorder.scores, self._recorder.scores, strict=True
        ):
            signal, noise = powers(logits(wanted.framewise), logits(found.framewise))
            self._signal += signal
            self._noise += noise
            clip = OddClip(decibels(signal, noise), path, self._clips * step_s, log_mel[0])
            if path not in self._odd or clip.snr_db < self._odd[path].snr_db:
                self._odd[path] = clip
            self._clips += 1
        self._odd = {clip.path: clip for clip in self.odd_clips[:WORST]}

    def take(self) -> None:
        """Keep what detection needs of the clips since the last time, and forget the rest."""
        self._clipwise += [scores.clipwise[0] for scores in self._recorder.scores]
        self._recorder.forget()

    def keep(self, path: Path, duration_s: float) -> None:
        """Keep what was made of the recording."""
        events = [Occurrence(e.onset, e.offset, e.label) for e in self._events if e.offset is not None]
        assert self._peak is not None
        scores = np.concatenate(self._rows) if self._keep_scores else None
        # The last clip ends with the recording, wherever that is on the grid.
        latest_s = max(0.0, duration_s - self._info.steps * self._info.step_s)
        if path in self._odd:
            self._odd[path] = replace(self._odd[path], at_s=min(self._odd[path].at_s, latest_s))
        self.heard.append(Heard(path, duration_s, np.max(self._clipwise, axis=0), self._peak, scores, events))

    def close(self) -> None:
        """Release the model."""
        self._recorder.close()


def listen(path: Path, versions: Sequence[Version]) -> None:
    """Play a recording to every version, block by block; the first is what the others are compared with."""
    file, samples, reference = AudioFile(path), 0, versions[0]
    for version in versions:
        version.begin(file.sample_rate)

    def settle() -> None:
        for version in versions[1:]:
            version.compare(reference, path)
        for version in versions:
            version.take()

    for block in file.blocks(round(BLOCK_S * file.sample_rate)):
        samples += len(block)
        for version in versions:
            version.push(block)
        settle()
    try:
        for version in versions:
            version.end()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{path}: {error}") from None
    settle()
    for version in versions:
        version.keep(path, samples / file.sample_rate)


def logits(scores: FloatArray) -> FloatArray:
    """What the sigmoid was taken of."""
    sure = np.clip(scores, CERTAIN, 1 - CERTAIN)
    return np.log(sure / (1 - sure))
