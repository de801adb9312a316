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
from htsat_edge.runtime.daemon.config import ClipsConfig
from htsat_edge.runtime.daemon.outputs.sender import Sender
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart

QUEUED = 50
MARGIN_S = 0.5
"""Around speech that is silenced, too: a step of the model is not sharp."""
FADE_S = 0.01
SLACK_S = 2.0
"""Of audio that is kept longer than a clip can want it."""
NAME = re.compile(r"[0-9T.]+_[A-Za-z0-9-]+_[A-Za-z0-9-]+(_\d+)?\.(flac|wav)")
"""Of clips; other files in their folder are not ours to delete."""


@dataclass(frozen=True)
class Clip:
    """A recording of an event, to be saved."""

    name: str
    """Of the file, without its suffix."""
    samples: FloatArray
    """(S,)."""
    sample_rate: int
    """Hz."""


@dataclass
class PendingClip:
    """A clip to be made once it is heard."""

    event: EventStart
    name: str
    start_s: float
    end_s: float


class ClipWriter(Sender[Clip]):
    """Writes clips, and keeps their folder within its quota."""

    batch = 1

    def __init__(self, settings: ClipsConfig) -> None:
        """Prepare to write into the folder that the settings name."""
        super().__init__(f"clips {settings.folder}", QUEUED)
        self.settings = settings

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where the folder cannot be written to."""
        folder = self.settings.folder
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

    def send(self, batch: Sequence[Clip]) -> None:
        """Write a clip."""
        (clip,) = batch
        path = self.settings.folder / f"{clip.name}.{self.settings.format}"
        for number in itertools.count(2):  # positions begin anew with the program
            if not path.exists():
                break
            path = path.with_name(f"{clip.name}_{number}.{self.settings.format}")
        self._make_room(clip.samples.nbytes // 2)
        with replacing(path, soundfile.LibsndfileError) as part:
            soundfile.write(part, clip.samples, clip.sample_rate, format=self.settings.format, subtype="PCM_16")

    def _make_room(self, size: int) -> None:
        """Delete the oldest clips until so many bytes fit into the quota."""
        clips = sorted(
            (path.stat().st_mtime, path.stat().st_size, path)
            for path in self.settings.folder.iterdir()
            if NAME.fullmatch(path.name)
        )
        used = sum(length for _, length, _ in clips)
        for _, length, path in clips:
            if used + size <= 1e6 * self.settings.quota_mb:
                break
            path.unlink(missing_ok=True)
            used -= length


class ClipRecorder:
    """An observer of a session that remembers what it heard for as long as a clip may want it."""

    def __init__(self, writer: ClipWriter, source: str, labels: Sequence[str], late_s: float) -> None:
        """Prepare to cut clips of a source; `late_s` is how long after a moment its scores are final."""
        self._writer, self._source, settings = writer, source, writer.settings
        self._settings = settings
        self._speech = labels.index(settings.speech_label) if settings.speech_label in labels else None
        if settings.privacy == "no_speech" and self._speech is None:
            raise HtsatEdgeError(f"outputs.clips.speech_label: {settings.speech_label}: the model knows no such class")
        self._keep_s = settings.pre_roll_s + settings.most_s + settings.post_roll_s + late_s + SLACK_S
        self._pending: list[PendingClip] = []
        self._clear()

    @property
    def kept_s(self) -> float:
        """Seconds of audio in memory."""
        return self._blocks[-1].end_s - self._blocks[0].start_s if self._blocks else 0.0

    def audio(self, block: AudioBlock) -> None:
        """Take the next samples; forget what no clip can want any more."""
        self._blocks.append(block)
        while self._blocks[0].end_s < block.end_s - self._keep_s:
            self._blocks.popleft()

    def scores(self, start_s: float, step_s: float, scores: FloatArray) -> None:
        """Take the next final scores (n, C), of steps of `step_s` seconds from `start_s` on."""
        self._settled_s = start_s + len(scores) * step_s
        if self._speech is not None:
            for number, row in enumerate(scores):
                if row[self._speech] >= self._settings.speech_score:
                    at = start_s + number * step_s
                    self._spoken.append((at - MARGIN_S, at + step_s + MARGIN_S))
        while self._spoken and self._spoken[0][1] < self._settled_s - self._keep_s:
            self._spoken.popleft()
        self._make(self._settled_s)

    def event(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case EventStart():
                day = re.sub(r"[^0-9T]", "", event.time or "")[:15]
                name = f"{day or f'{event.onset:010.2f}'}_{plain(self._source)}_{plain(event.label)}"
                start_s, end_s = event.onset - self._settings.pre_roll_s, event.onset + self._settings.most_s
                self._pending.append(PendingClip(event, name, start_s, end_s))
            case EventEnd():
                for clip in self._pending:
                    if clip.event.id == event.id:
                        clip.end_s = min(event.offset, clip.end_s) + self._settings.post_roll_s

    def interrupted(self, at_s: float) -> None:
        """Make all clips now, since what follows is not joined to what came before `at_s`."""
        self._settled_s = at_s
        self._make(float("inf"))
        self._clear()

    def _clear(self) -> None:
        self._blocks: deque[AudioBlock] = deque()
        self._spoken: deque[tuple[float, float]] = deque()
        self._settled_s = 0.0

    def _make(self, until_s: float) -> None:
        """Make the clips whose scores are final: a margin later, since speech may come just then."""
        for pending in list(self._pending):
            if pending.end_s + MARGIN_S <= until_s:
                self._pending.remove(pending)
                if (clip := self._cut(pending)) is not None:
                    self._writer.put(clip)

    def _cut(self, pending: PendingClip) -> Clip | None:
        parts: list[FloatArray] = []
        start_s, rate = 0.0, 0
        for block in self._blocks:
            rate = block.sample_rate
            first = max(0, round((pending.start_s - block.start_s) * rate))
            last = min(len(block.samples), round((pending.end_s - block.start_s) * rate))
            if first < last:
                start_s = start_s if parts else block.start_s + first / rate
                parts.append(block.samples[first:last])
        if not parts:
            return None
        samples = np.concatenate(parts)
        if self._settings.privacy == "no_speech":
            samples = silence(samples, rate, [(a - start_s, b - start_s) for a, b in self._spoken])
        return Clip(pending.name, samples, rate)


def silence(samples: FloatArray, sample_rate: int, spans: Sequence[tuple[float, float]]) -> FloatArray:
    """Return samples (S,) with nothing left within these spans in seconds; fades are outside of them."""
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
    """Return a text as it may stand in the name of a file."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40] or "x"
