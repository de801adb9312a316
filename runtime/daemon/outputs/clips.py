"""Recordings of events, with what came before; speech may be silenced."""

from __future__ import annotations

import io
import itertools
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import begin_part, is_part, place_part
from htsat_edge.runtime.common.folders import try_folder
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import ClipsConfig
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.outputs.clip_names import NAME, clip_stem
from htsat_edge.runtime.daemon.outputs.sender import RefusedError, Sender
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart
from htsat_edge.runtime.store.database import moved_time
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

QUEUED = 50
MARGIN_S = 0.5
"""Around speech that is silenced, too: a step of the model is not sharp."""
FADE_S = 0.01
SLACK_S = 2.0
"""Of audio that is kept longer than a clip can want it."""
DAY_S = 86_400.0
MOST_HEAD = 512
"""Bytes of a clip within which the name of the program stands."""


@runtime_checkable
class ClipListener(Protocol):
    """An output that takes what has become of clips, too."""

    def record(self, clip: SavedClip | RemovedClip) -> None:
        """Take it, without waiting; from any thread."""
        ...


@dataclass(frozen=True)
class Clip:
    """A recording of an event, to be saved."""

    name: str
    """Of the file, without its suffix."""
    samples: FloatArray
    """(S,)."""
    sample_rate: int
    """Hz."""
    source: str = ""
    number: int = 0
    """The event's id."""
    onset: float = 0.0
    """Of the first sample, in seconds since the source began."""
    time: str | None = None
    """Of the first sample, ISO 8601; None where unknown."""


@dataclass
class PendingClip:
    """A clip to be made once it is heard."""

    event: EventStart
    start_s: float
    end_s: float


class ClipWriter(Sender[Clip]):
    """Writes clips, and keeps their folder within its quota."""

    batch = 1

    def __init__(
        self,
        settings: ClipsConfig,
        record: Callable[[SavedClip | RemovedClip], None] = lambda _: None,
        locked: Callable[[], set[str]] = set,
    ) -> None:
        """Prepare to write into a folder.

        Parameters
        ----------
        settings
            They name it.
        record
            Is told which clips were written, and which were deleted.
        locked
            Returns the names of clips that must not be deleted; where it raises an HtsatEdgeError, those of the last
            time count, and before the first time none is deleted.
        """
        super().__init__(f"clips {settings.folder}", QUEUED)
        self.settings = settings
        self._record, self._locked = record, locked
        self._kept: set[str] | None = None
        """Clips that must not be deleted, as far as is known; None before that was read once."""
        self._seen: dict[tuple[str, int, int], bool] = {}
        """Whether files with the name of a clip carry our mark."""
        self._written: dict[str, int] = {}
        """In which order this run has written clips; their times are of a clock that may be set in between."""

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where the folder cannot be written to."""
        folder = self.settings.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            begin_part(folder / "clip")[0].unlink()
            for part in folder.iterdir():
                if is_part(part):  # of a clip that a power cut has torn
                    part.unlink()
        except OSError as error:
            raise HtsatEdgeError(f"outputs.clips.folder: {folder}: cannot be written to: {error.strerror}") from None
        super().start()

    def check(self) -> str:
        """Try to write into the folder; return the room in it."""
        return try_folder(self.settings.folder)

    def send(self, batch: Sequence[Clip]) -> None:
        """Write a clip."""
        (clip,) = batch
        content = encode(clip, self.settings.format)
        if len(content) > 1e6 * self.settings.quota_mb:
            raise RefusedError(f"a clip of {len(content) / 1e6:.1f} MB is larger than quota_mb")
        self._make_room(len(content))
        path = self.settings.folder / f"{clip.name}.{self.settings.format}"
        part, _ = begin_part(path)
        try:
            part.write_bytes(content)
            for number in itertools.count(2):  # positions begin anew with the program
                if place_part(part, path):
                    break
                path = path.with_name(f"{clip.name}_{number}.{self.settings.format}")
        finally:
            part.unlink(missing_ok=True)
        self._written[path.name] = self.sent + 1
        offset = round(clip.onset + len(clip.samples) / clip.sample_rate, DECIMALS)
        self._record(SavedClip(clip.source, clip.number, path.name, clip.onset, offset, clip.time))

    def _make_room(self, size: int) -> None:
        """Delete the oldest clips until so many bytes fit into the quota.

        Raises
        ------
        RefusedError
            None of them may go.
        HtsatEdgeError
            Which may go is not known yet.
        """
        clips, most = sorted(self._list_clips()), 1e6 * self.settings.quota_mb
        used = sum(length for *_, length, _ in clips)
        if used + size <= most:
            return
        try:
            self._kept = self._locked()
        except HtsatEdgeError as error:  # an unreadable store must not fill the disk
            if self._kept is None:
                raise HtsatEdgeError(f"to make room, it must be known which clips are locked: {error}") from None
        for *_, length, path in clips:
            if path.name not in self._kept:
                path.unlink(missing_ok=True)
                self._record(RemovedClip(path.name))
                used -= length
                if used + size <= most:
                    return
        raise RefusedError("clips that are locked fill quota_mb: unlock some, or raise it; a new clip is lost")

    def _list_clips(self) -> list[tuple[int, float, int, Path]]:
        """Return when each clip of ours was written, its size, and its path; each file is looked into once.

        When is a number in this run, 0 before it, and a time. A clip of a clock that was wrong counts as just written.
        """
        clips, seen, now = [], {}, time.time()
        for path in self.settings.folder.iterdir():
            if not NAME.fullmatch(path.name):
                continue
            with suppress(FileNotFoundError):  # somebody has just deleted it
                status = path.lstat()
                key = (path.name, status.st_ino, status.st_mtime_ns)
                known = self._seen.get(key)
                seen[key] = ours = stat.S_ISREG(status.st_mode) and has_mark(path) if known is None else known
                if ours:
                    number, written = self._written.get(path.name, 0), status.st_mtime
                    if not number and now >= CLOCK_SET and not CLOCK_SET <= written <= now + DAY_S:
                        written = now
                        os.utime(path, (now, now), follow_symlinks=False)
                    clips.append((number, written, status.st_size, path))
        self._seen, self._written = seen, {path.name: number for number, *_, path in clips if number}
        return clips


class ClipRecorder(SessionObserver):
    """An observer of a session that remembers what it heard for as long as a clip may want it."""

    def __init__(self, writer: ClipWriter, source: str, speech: Sequence[int], late_s: float) -> None:
        """Prepare to cut clips of a source.

        Parameters
        ----------
        writer, source
            Where clips go, and what they are of.
        speech
            The columns of its scores that are speech.
        late_s
            How long after a moment its scores are final.
        """
        self._writer, self._source, settings = writer, source, writer.settings
        self._settings, self._speech = settings, list(speech)
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
        if self._speech:
            for number, row in enumerate(scores):
                if row[self._speech].max() >= self._settings.speech_score:
                    at = start_s + number * step_s
                    self._spoken.append((at - MARGIN_S, at + step_s + MARGIN_S))
        while self._spoken and self._spoken[0][1] < self._settled_s - self._keep_s:
            self._spoken.popleft()
        self._make(self._settled_s)

    def event(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case EventStart():
                start_s, end_s = event.onset - self._settings.pre_roll_s, event.onset + self._settings.most_s
                self._pending.append(PendingClip(event, start_s, end_s))
            case EventEnd():
                for clip in self._pending:
                    if clip.event.id == event.id:
                        clip.end_s = min(event.offset, clip.end_s) + self._settings.post_roll_s

    def interrupted(self, at_s: float) -> None:
        """Make all clips now, since what follows is not joined to what came before `at_s`."""
        self._settled_s = at_s
        self._make(float("inf"))
        self._clear()

    def failed(self, reason: str) -> None:
        """Give up the clips that were to be made, and report it."""
        count = max(1, len(self._pending))
        self._pending.clear()
        self._clear()
        self._writer.lose(count, f"{reason}; the clip is lost")

    def _clear(self) -> None:
        self._blocks: deque[AudioBlock] = deque()
        self._spoken: deque[tuple[float, float]] = deque()
        self._settled_s = 0.0

    def _make(self, until_s: float) -> None:
        """Make the clips whose scores are final: a margin later, since speech may come just then."""
        for pending in list(self._pending):
            if pending.end_s + MARGIN_S <= until_s:
                self._pending.remove(pending)
                try:
                    clip = self._cut(pending)
                except MemoryError:
                    self._writer.lose(1, "there is not enough memory for a clip; it is lost")
                    continue
                if clip is not None:
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
        event, onset = pending.event, round(start_s, DECIMALS)
        time = event.time and moved_time(event.time, onset - event.onset)
        return Clip(clip_stem(event), samples, rate, self._source, event.id, onset, time)


def encode(clip: Clip, kind: str) -> bytes:
    """Return a clip as a file of 16 bits, FLAC or WAV, with the name of the program and its time in it."""
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", clip.sample_rate, 1, "PCM_16", format=kind.upper()) as file:
        file.software = PROGRAM
        if clip.time is not None:
            file.date = clip.time
        file.write(clip.samples)
    return content.getvalue()


def has_mark(path: Path) -> bool:
    """Return whether a file is a clip that htsat-edge has written."""
    try:
        with path.open("rb") as file:
            head = file.read(MOST_HEAD)
    except OSError:
        return False
    return head.startswith((b"fLaC", b"RIFF")) and f"{PROGRAM} (".encode() in head


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
