"""Measure how soon sounds are reported at several operating points.

Each recording is played in small pieces, as a microphone would deliver it, so that it is known how much of it was heard
when a message came. Times are seconds of audio: the model's own time comes on top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import EventStream, WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.dsp.windows import Window, WindowGrid
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

PIECE_S = 0.02
"""Heard at a time: as exactly are latencies known."""
READ_S = 1.0
"""Read from a recording at a time."""
NEAR_S = 1.0
"""A start whose onset is so near to a sound of its class belongs to it."""
FIRST_S = 10.0
"""After a start or a gap: about as long as a window, so that none is full before."""
RECENT = 8
"""Windows of which the scores are kept: several hops and recordings see the same ones at the same time."""

Score = Callable[[Window], FloatArray]
"""Gives the scores (steps, C) of a window."""


@dataclass(frozen=True)
class Report:
    """An event as it was reported."""

    label: str
    start_s: float
    """Its onset, as the start says."""
    heard_s: float
    """Seconds of the recording that were heard when the start came."""
    event: Occurrence
    """As the end says."""


@dataclass(frozen=True)
class Outcome:
    """What became of a sound."""

    sound: Occurrence
    found: bool
    """Whether it was reported, by a start of its own or within the event of a sound of its class before it."""
    latency_s: float | None
    """From its onset to its own start."""


@dataclass(frozen=True)
class HeardRecording:
    """What was reported of one recording."""

    duration_s: float
    gap_s: float | None
    """Where the second half began; None where the recording is too short to be halved."""
    whole: list[list[Report]]
    """At each operating point."""
    after_gap: list[list[Report]]
    """The same of the second half, heard as after a gap."""


class _Playback:
    """Hears a recording, from `begin_s` on, at several operating points."""

    def __init__(
        self, info: ModelInfo, sample_rate: int, points: Sequence[Settings], score: Score, begin_s: float = 0.0
    ) -> None:
        self.reports: list[list[Report]] = [[] for _ in points]
        self._score, self._begin_s = score, begin_s
        self._started: list[dict[int, tuple[float, float]]] = [{} for _ in points]
        self._streams = [EventStream(info, point, origin_s=begin_s) for point in points]
        by_hop: dict[WindowGrid, list[int]] = defaultdict(list)  # nothing else changes the windows
        for i, point in enumerate(points):
            by_hop[point.grid(info)].append(i)
        self._windows = [(WindowStream(info, sample_rate, points[own[0]]), own) for own in by_hop.values()]

    def push(self, samples: FloatArray) -> None:
        for stream, numbers in self._windows:
            self._hear(stream.push(samples), numbers)

    def flush(self) -> None:
        for stream, numbers in self._windows:
            self._hear(stream.flush(), numbers)
            for i in numbers:
                self._note(i, self._streams[i].flush(), stream.duration_s)

    def _hear(self, windows: Sequence[Window], numbers: Sequence[int]) -> None:
        for window in windows:
            scores = self._score(window)
            for i in numbers:
                self._note(i, self._streams[i].push(window, scores), window.heard_s)

    def _note(self, i: int, events: Sequence[Event], heard_s: float) -> None:
        for event in events:
            if isinstance(event, EventEnd):
                whole = Occurrence(event.onset, event.offset, event.label)
                self.reports[i].append(Report(event.label, *self._started[i].pop(event.id), whole))
            else:
                self._started[i][event.id] = (event.onset, self._begin_s + heard_s)


def scorer(backend: Backend) -> Score:
    """Return a function that gives the scores (steps, C) of a window; it runs the model once for the same window."""

    @lru_cache(RECENT)
    def infer(log_mel: bytes, shape: tuple[int, ...]) -> FloatArray:
        return backend.infer(np.frombuffer(log_mel, np.float32).reshape(1, *shape)).framewise[0]

    return lambda window: infer(window.log_mel.astype(np.float32, copy=False).tobytes(), window.log_mel.shape)


def listen(
    path: Path,
    info: ModelInfo,
    points: Sequence[Settings],
    score: Score,
    block_s: float = READ_S,
    with_gap: bool = True,
) -> HeardRecording:
    """Play a recording, and its second half as after a gap, at several operating points.

    Parameters
    ----------
    path
        The recording; `block_s` seconds of it are read at a time.
    info, points, score
        The model, its operating points, and what gives its scores.
    with_gap
        Whether the second half is played again.

    Raises
    ------
    HtsatEdgeError
        The recording cannot be read, or is too short; or the settings do not fit the model.
    """
    file = AudioFile(path)
    length = round(PIECE_S * file.sample_rate)
    half = file.samples // length // 2
    gap_s = half * length / file.sample_rate
    gap = with_gap and gap_s >= FIRST_S
    whole = _Playback(info, file.sample_rate, points, score)
    second = _Playback(info, file.sample_rate, points, score, gap_s)
    samples = 0
    for number, piece in enumerate(_pieces(file.blocks(round(block_s * file.sample_rate)), length)):
        samples += len(piece)
        whole.push(piece)
        if gap and number >= half:
            second.push(piece)
    try:
        whole.flush()
        if gap:
            second.flush()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{path}: {error}") from None
    return HeardRecording(samples / file.sample_rate, gap_s if gap else None, whole.reports, second.reports)


def _pieces(blocks: Iterable[FloatArray], length: int) -> Iterator[FloatArray]:
    """Yield the samples of the blocks in pieces of `length`, the last one shorter."""
    rest: FloatArray = np.empty(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        whole = len(rest) // length * length
        yield from rest[:whole].reshape(-1, length)
        rest = rest[whole:]
    if len(rest):
        yield rest


def match(sounds: Sequence[Occurrence], reports: Sequence[Report]) -> tuple[list[Outcome], int]:
    """Return what became of each sound, and how many false alarms there were: starts that belong to no sound.

    A start belongs to the sound of its class that is nearest to its onset, if that is at most `NEAR_S` away; when it
    came does not matter, so that a slow operating point has no more false alarms than a fast one. A sound that has no
    start of its own is found nevertheless where the event of another sound of its class goes on into it: nobody wants
    two alarms then.
    """
    first: dict[Occurrence, Report] = {}
    true: list[Report] = []
    for report in sorted(reports, key=lambda report: report.heard_s):
        own = [sound for sound in sounds if sound.label == report.label]
        nearest = min(own, key=lambda sound: _distance(sound, report.start_s), default=None)
        if nearest is not None and _distance(nearest, report.start_s) <= NEAR_S:
            first.setdefault(nearest, report)
            true.append(report)
    outcomes = []
    for sound in sounds:
        start = first.get(sound)
        found = start is not None or any(_overlap(sound, report.event) for report in true)
        outcomes.append(Outcome(sound, found, None if start is None else start.heard_s - sound.onset_s))
    return outcomes, len(reports) - len(true)


def _distance(sound: Occurrence, at_s: float) -> float:
    return max(sound.onset_s - at_s, at_s - sound.offset_s, 0.0)


def _overlap(a: Occurrence, b: Occurrence) -> bool:
    return a.label == b.label and a.onset_s < b.offset_s and b.onset_s < a.offset_s
