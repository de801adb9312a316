"""Play the same recordings to several versions of a model side by side, over the whole path of the runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.metrics import decibels, powers
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import printable
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import EventStream, WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.backends.backend import Backend, Scores
from htsat_edge.runtime.models.bundle import ModelInfo

BLOCK_S = 10.0
"""Read from a recording at a time."""
WORST = 4
"""Windows whose logits are furthest from the reference's, of different recordings: kept to look at."""
CERTAIN = 1e-7
"""Scores nearer to 0 or 1 than this are as good as certain, and their logits would be infinite in single precision."""


@dataclass(frozen=True)
class RecordingResult:
    """The output of a version for one recording."""

    path: Path
    duration_s: float
    clipwise: FloatArray
    """(C,): the highest of all windows."""
    peak: FloatArray
    """(C,): the highest of all steps."""
    scores: FloatArray | None
    """(n, C), merged and smoothed, a row for each step; None where they are not kept: hours of them fill the memory."""
    events: list[Occurrence]


@dataclass(frozen=True)
class OddWindow:
    """A window for which the logits of a version are far from the reference's."""

    snr_db: float
    """Of its logits."""
    path: Path
    at_s: float
    """Where it begins; 0 while too little was heard to fill it."""
    log_mel: FloatArray
    """(T, F)."""

    @property
    def file(self) -> str:
        """Name of the recording, such that it can be written anywhere."""
        return printable(Path(self.path.name))


class Merged:
    """A backend with fewer classes: each scores as high as the highest of its own, as HTS-AT was measured on DESED."""

    def __init__(self, backend: Backend, columns: Sequence[Sequence[int]]) -> None:
        """Take, for each class, the outputs that belong to it."""
        self._backend = backend
        self._columns = columns

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows (B, T, F)."""
        scores = self._backend.infer(log_mel)

        def merge(x: FloatArray) -> FloatArray:
            return np.stack([x[..., own].max(axis=-1) for own in self._columns], axis=-1)

        return scores._replace(framewise=merge(scores.framewise), clipwise=merge(scores.clipwise))

    def close(self) -> None:
        """Release the model."""
        self._backend.close()


class Version:
    """A version of a model, such as one of a bundle's graphs, with its results for every recording played to it."""

    def __init__(self, name: str, backend: Backend, info: ModelInfo, keep_scores: bool = True) -> None:
        """Take a model; `keep_scores` says whether results hold the scores of every step."""
        self.name = name
        self.info = info
        self.results: list[RecordingResult] = []
        self._backend = backend
        self._keep_scores = keep_scores
        self._seconds: list[float] = []
        self._signal = self._noise = 0.0
        self._odd: dict[Path, OddWindow] = {}

    @property
    def window_ms(self) -> float:
        """Median time of the model for one window."""
        return 1000 * float(np.median(self._seconds))

    @property
    def odd_windows(self) -> list[OddWindow]:
        """The windows that are furthest from the reference's, worst first."""
        return sorted(self._odd.values(), key=lambda window: window.snr_db)

    @property
    def snr_db(self) -> float:
        """SNR of the logits to the reference's over all windows; infinite where they are the same."""
        return decibels(self._signal, self._noise)

    def begin(self) -> None:
        """Begin a recording."""
        self._rows: list[FloatArray] = []
        self._peak: FloatArray | None = None
        self._events: list[Event] = []
        self._clipwise: list[FloatArray] = []
        self._stream = EventStream(self.info, observer=self)

    def scores(self, scores: FloatArray) -> None:
        """Take the next final scores (n, C), from the event stream."""
        peak = scores.max(axis=0)
        self._peak = peak if self._peak is None else np.maximum(self._peak, peak)
        if self._keep_scores:
            self._rows.append(scores)

    def score(self, window: Window) -> Scores:
        """Score the next window of the recording."""
        begun = time.perf_counter()
        found = self._backend.infer(window.log_mel[None])
        self._seconds.append(time.perf_counter() - begun)
        if not window.is_filled:
            self._clipwise.append(found.clipwise[0])
        # A score that is no number is no event here, and `compare` finds the model broken.
        self._events += self._stream.push(window, np.nan_to_num(found.framewise[0], nan=0, posinf=0, neginf=0))
        return found

    def compare(self, window: Window, path: Path, wanted: Scores, found: Scores) -> None:
        """Take this version's scores of a window, and those of the reference, which are wanted."""
        signal, noise = powers(logits(wanted.framewise), logits(found.framewise))
        self._signal += signal
        self._noise += noise
        snr_db = decibels(signal, noise)
        if path not in self._odd or snr_db < self._odd[path].snr_db:
            self._odd[path] = OddWindow(snr_db, path, max(window.step, 0) * self.info.step_s, window.log_mel)
            self._odd = {odd.path: odd for odd in self.odd_windows[:WORST]}

    def end(self, path: Path, duration_s: float) -> None:
        """End the recording, and keep its result."""
        self._events += self._stream.flush()
        assert self._peak is not None
        self.results.append(
            RecordingResult(
                path,
                duration_s,
                clipwise=np.max(self._clipwise, axis=0),
                peak=self._peak,
                scores=np.concatenate(self._rows) if self._keep_scores else None,
                events=[Occurrence(e.onset, e.offset, e.label) for e in self._events if isinstance(e, EventEnd)],
            )
        )

    def close(self) -> None:
        """Release the model."""
        self._backend.close()


def play(path: Path, versions: Sequence[Version]) -> None:
    """Play a recording to all versions of a model, window by window; the first is the reference for the others.

    Raises
    ------
    HtsatEdgeError
        The recording cannot be read, or is too short for a single frame.
    """
    file, reference = AudioFile(path), versions[0]
    stream = WindowStream(reference.info, file.sample_rate)
    for version in versions:
        version.begin()

    def score(windows: Sequence[Window]) -> None:
        for window in windows:
            wanted = reference.score(window)
            for version in versions[1:]:
                version.compare(window, path, wanted, version.score(window))

    for block in file.blocks(round(BLOCK_S * file.sample_rate)):
        score(stream.push(block))
    try:
        rest = stream.flush()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{path}: {error}") from None
    score(rest)
    for version in versions:
        version.end(path, stream.duration_s)


def logits(scores: FloatArray) -> FloatArray:
    """Return the inverse of the sigmoid, finite for scores of 0 and 1 as well."""
    sure = np.clip(scores, CERTAIN, 1 - CERTAIN)
    return np.log(sure / (1 - sure))
