"""Recordings of events, with what came before; speech may be silenced."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.daemon.config import Clips as Settings
from htsat_edge.runtime.daemon.outputs import Line, Output
from htsat_edge.runtime.daemon.session import Heard, Told
from htsat_edge.runtime.daemon.sources import Piece

QUEUED = 50
MARGIN_S = 0.5
"""Around speech that is silenced, too: a step of the model is not sharp."""
FADE_S = 0.01
NAME = re.compile(r"[0-9T.]+_[A-Za-z0-9-]+_[A-Za-z0-9-]+(_\d+)?\.(flac|wav)")
"""Of clips; other files in their folder are not ours to delete."""


@dataclass
class Wanted:
    """A clip to be made once it is heard."""

    label: str
    onset_s: float
    name: str
    start_s: float
    end_s: float


class ClipWriter(Output):
    """Writes clips, and keeps their folder within its quota."""

    batch = 1

    def __init__(self, settings: Settings) -> None:
        super().__init__(f"clips {settings.folder}", QUEUED)
        self._settings = settings

    def start(self) -> None:
        """Begin; an HtsatEdgeError where the folder cannot be written to."""
        folder = self._settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.touch()
            probe.unlink()
            for part in folder.glob(".*.part"):  # of a clip that a power cut has torn
                part.unlink()
        except OSError as error:
            raise HtsatEdgeError(f"outputs.clips.folder: {folder}: cannot be written to: {error.strerror}") from None
        super().start()

    def send(self, lines: Sequence[Line]) -> None:
        """Write a clip."""
        (clip,) = lines
        samples: FloatArray = clip["samples"]
        path = self._settings.folder / f"{clip['name']}.{self._settings.format}"
        for number in itertools.count(2):  # positions begin anew with the program
            if not path.exists():
                break
            path = path.with_name(f"{clip['name']}_{number}.{self._settings.format}")
        self._make_room(samples.nbytes // 2)
        with replacing(path, soundfile.LibsndfileError) as part:
            soundfile.write(part, samples, clip["sample_rate"], format=self._settings.format, subtype="PCM_16")

    def _make_room(self, size: int) -> None:
        """Delete the oldest clips until so many bytes fit into the quota."""
        clips = sorted(
            (path.stat().st_mtime, path.stat().st_size, path)
            for path in self._settings.folder.iterdir()
            if NAME.fullmatch(path.name)
        )
        used = sum(length for _, length, _ in clips)
        for _, length, path in clips:
            if used + size <= 1e6 * self._settings.quota_mb:
                break
            path.unlink(missing_ok=True)
            used -= length


class ClipRecorder(Heard):
    """Remembers what a source has heard for as long as a clip may want it."""

    def __init__(
        self, settings: Settings, writer: ClipWriter, source: str, labels: Sequence[str], late_s: float
    ) -> None:
        """`late_s`: how long after a moment its scores are final."""
        self._settings, self._writer, self._source = settings, writer, source
        self._speech = labels.index(settings.speech_label) if settings.speech_label in labels else None
        if settings.privacy == "no_speech" and self._speech is None:
            raise HtsatEdgeError(f"outputs.clips.speech_label: {settings.speech_label}: the model knows no such class")
        self._keep_s = settings.pre_roll_s + settings.most_s + settings.post_roll_s + late_s + 2.0
        self._wanted: list[Wanted] = []
        self._clear()

    def tell(self, told: Told) -> None:
        """An event has started or ended."""
        event = told.event
        if event is None:
            return
        settings = self._settings
        if event.type == "start":
            day = re.sub(r"[^0-9T]", "", str(told.line["time"] or ""))[:15]
            name = f"{day or f'{event.onset:010.2f}'}_{plain(self._source)}_{plain(event.label)}"
            start_s = event.onset - settings.pre_roll_s
            end_s = event.onset + settings.most_s
            self._wanted.append(Wanted(event.label, event.onset, name, start_s, end_s))
            return
        for clip in self._wanted:
            if clip.label == event.label and clip.onset_s == event.onset and event.offset is not None:
                clip.end_s = min(event.offset, clip.end_s) + settings.post_roll_s

    def audio(self, piece: Piece) -> None:
        """The next samples."""
        self._pieces.append(piece)
        while self._pieces and self._pieces[0].end_s < piece.end_s - self._keep_s:
            self._pieces.popleft()

    def scores(self, start_s: float, step_s: float, scores: FloatArray) -> None:
        """The next final scores (n, C)."""
        self._settled_s = start_s + len(scores) * step_s
        if self._speech is not None:
            for number, row in enumerate(scores):
                if row[self._speech] >= self._settings.speech_score:
                    at = start_s + number * step_s
                    self._spoken.append((at - MARGIN_S, at + step_s + MARGIN_S))
        while self._spoken and self._spoken[0][1] < self._settled_s - self._keep_s:
            self._spoken.popleft()
        self._make(self._settled_s)

    def interrupted(self, at_s: float) -> None:
        """Nothing more is joined to this: clips end here at the latest."""
        self._settled_s = at_s
        self._make(float("inf"))
        self._clear()

    def _clear(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._spoken: deque[tuple[float, float]] = deque()
        self._settled_s = 0.0

    def _make(self, until_s: float) -> None:
        """Make the clips whose scores are final: a margin later, since speech may come just then."""
        for clip in list(self._wanted):
            if clip.end_s + MARGIN_S <= until_s:
                self._wanted.remove(clip)
                if (line := self._cut(clip)) is not None:
                    self._writer.offer(line)

    def _cut(self, clip: Wanted) -> Line | None:
        parts: list[FloatArray] = []
        start_s, rate = 0.0, 0
        for piece in self._pieces:
            rate = piece.sample_rate
            first = max(0, round((clip.start_s - piece.start_s) * rate))
            last = min(len(piece.samples), round((clip.end_s - piece.start_s) * rate))
            if first < last:
                start_s = start_s if parts else piece.start_s + first / rate
                parts.append(piece.samples[first:last])
        if not parts:
            return None
        samples = np.concatenate(parts)
        if self._settings.privacy == "no_speech":
            samples = silence(samples, rate, [(a - start_s, b - start_s) for a, b in self._spoken])
        return {"name": clip.name, "samples": samples, "sample_rate": rate}


def silence(samples: FloatArray, sample_rate: int, spans: Sequence[tuple[float, float]]) -> FloatArray:
    """Samples (S,) with nothing left between these times in seconds; fades are outside of them."""
    gain = np.ones(len(samples), np.float32)
    fade = max(1, round(FADE_S * sample_rate))
    for begin_s, end_s in spans:
        begin, end = round(begin_s * sample_rate), round(end_s * sample_rate)
        gain[max(0, begin) : max(0, end)] = 0
        for at, ramp in ((begin - fade, np.linspace(1, 0, fade)), (end, np.linspace(0, 1, fade))):
            low, high = max(0, at), min(len(gain), at + fade)
            if low < high:
                gain[low:high] = np.minimum(gain[low:high], ramp[low - at : high - at])
    return samples * gain


def plain(text: str) -> str:
    """What may stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40] or "x"
