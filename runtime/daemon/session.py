"""One source's way from samples to lines: detection, gaps, health, and clips of what was heard."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import Health
from htsat_edge.runtime.daemon.health import Finding, HealthMonitor
from htsat_edge.runtime.daemon.sources import Feed, Lost, Notice, Piece
from htsat_edge.runtime.detector import DECIMALS, Detector, Event, Settings
from htsat_edge.runtime.dsp.windows import Clip
from htsat_edge.runtime.models.backends import Backend
from htsat_edge.runtime.models.bundle import ModelInfo

Line = dict[str, Any]
HOUR_S = 3600.0


@dataclass
class Coverage:
    """How much of a source was heard."""

    heard_s: float = 0.0
    lost_s: float = 0.0
    gaps: int = 0

    @property
    def share(self) -> float:
        """Of the time that has passed."""
        whole = self.heard_s + self.lost_s
        return self.heard_s / whole if whole else 1.0


@dataclass(frozen=True)
class Told:
    """A line, and what it is of."""

    line: Line
    event: Event | None = None


class Heard:
    """Sees the audio and the final scores of a source go by, for clips; times are seconds since the source began."""

    def audio(self, piece: Piece) -> None:
        """The next samples."""

    def scores(self, start_s: float, step_s: float, scores: FloatArray) -> None:
        """The next final scores (n, C)."""

    def interrupted(self, at_s: float) -> None:
        """What follows is not joined to what came before."""


@dataclass
class Listener:
    """Turns what a feed gives into lines. Scoring is left to the caller, who may score many sources at once."""

    feed: Feed
    info: ModelInfo
    backend: Backend
    settings: Settings
    labels: frozenset[str]
    health: Health
    system: SystemClock
    watcher: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.coverage, self.all_time = Coverage(), Coverage()
        self.level_dbfs = float("-inf")
        self._detector: Detector | None = None
        self._monitor: HealthMonitor | None = None
        self._rate = 0
        self._base_s = 0.0
        self.end_s = 0.0
        self._scored_s = 0.0
        self._times: dict[str, str | None] = {}
        self._hour_s = HOUR_S

    @property
    def problems(self) -> set[str]:
        """What is wrong with the source's sound at present."""
        return self._monitor.active if self._monitor is not None else set()

    def take(self, piece: Piece) -> tuple[list[Clip], list[Told]]:
        """Samples have come: the clips that they complete, to be scored and settled in turn, and lines."""
        if self._detector is None or piece.sample_rate != self._rate:
            self._begin(piece)
        assert self._detector is not None
        told: list[Told] = []
        if self._monitor is not None:
            told += (Told(self._health_line(finding)) for finding in self._monitor.push(piece.samples))
            self.level_dbfs = self._monitor.level_dbfs
        self.watcher.audio(piece)
        clips = self._detector.feed(piece.samples)
        return clips, told + list(self._pass(piece.end_s, heard=True))

    def settle(self, clip: Clip, framewise: FloatArray) -> list[Told]:
        """A clip was scored."""
        assert self._detector is not None
        return self._tell(self._detector.settle(clip, framewise))

    def lose(self, lost: Lost) -> list[Told]:
        """A gap; what came before must be finished."""
        self.coverage.gaps += 1
        self.all_time.gaps += 1
        line = {
            "type": "gap",
            "source": self.feed.name,
            "onset": round(lost.start_s, DECIMALS),
            "offset": round(lost.end_s, DECIMALS),
            "time": self._time(lost.start_s),
            "reason": lost.reason,
        }
        return [Told(line), *self._pass(lost.end_s, heard=False)]

    def finish(self) -> list[Told]:
        """The recording is over, or interrupted: the events that are left."""
        if self._detector is None:
            return []
        try:
            told = self._tell(self._detector.close())
        except HtsatEdgeError:  # too short to hear anything
            told = []
        self._detector = None
        return told

    @property
    def hearing(self) -> bool:
        """There is something to be finished."""
        return self._detector is not None

    def notice(self, notice: Notice) -> Told:
        """Something is to be told of the source, as of now."""
        now = told_time(self.system.wall(time.monotonic())) if self.feed.live else None
        return Told({**self._status(notice.state, text=notice.text), "time": now})

    # The detector's watcher

    def frames(self, log_mel: FloatArray) -> None:
        """Nothing is asked of the frames."""

    def scores(self, scores: FloatArray) -> None:
        """The next final scores (n, C), from the detector."""
        self.watcher.scores(self._scored_s, self.info.step_s, scores)
        self._scored_s += len(scores) * self.info.step_s

    def _begin(self, piece: Piece) -> None:
        self._rate = piece.sample_rate
        self._base_s = self._scored_s = piece.start_s
        self._detector = Detector(self.info, self.backend, piece.sample_rate, self.settings, self)
        if not self.health.enabled:
            return
        if self._monitor is None or self._monitor.sample_rate != piece.sample_rate:
            self._monitor = HealthMonitor(piece.sample_rate, self.health)
        self._monitor.reset()

    def _tell(self, events: Sequence[Event]) -> list[Told]:
        told = []
        for event in events:
            if event.label not in self.labels:
                continue
            onset = round(self._base_s + event.onset, DECIMALS)
            offset = None if event.offset is None else round(self._base_s + event.offset, DECIMALS)
            event = Event(event.type, event.label, onset, offset, event.score)
            if event.type == "start":
                self._times[event.label] = self._time(onset)
            line = event.line(self.feed.name, None)
            line["time"] = self._times[event.label] if event.type == "start" else self._times.pop(event.label)
            told.append(Told(line, event))
        return told

    def _pass(self, until_s: float, heard: bool) -> Iterator[Told]:
        """Time passes, heard or lost; each hour its coverage is told."""
        while self.end_s < until_s:
            part_s = min(until_s, self._hour_s) - self.end_s
            for coverage in (self.coverage, self.all_time):
                coverage.heard_s += part_s if heard else 0.0
                coverage.lost_s += 0.0 if heard else part_s
            if until_s < self._hour_s:
                self.end_s = until_s
                return
            self.end_s = self._hour_s
            line = self._status("coverage", share=round(self.coverage.share, 6), gaps=self.coverage.gaps)
            yield Told({**line, "onset": self._hour_s - HOUR_S, "offset": self._hour_s})
            self._hour_s += HOUR_S
            self.coverage = Coverage()

    def _health_line(self, finding: Finding) -> Line:
        if finding.begins:
            return self._status("deaf", problem=finding.problem.name, advice=finding.problem.advice)
        return self._status("hears again", problem=finding.problem.name)

    def _status(self, state: str, **more: Any) -> Line:
        at = self._time(self.end_s)
        return {"type": "status", "source": self.feed.name, "state": state, "time": at, **more}

    def _time(self, position_s: float) -> str | None:
        if not self.feed.live:
            return None
        moment = self.feed.clock.at(position_s)
        return told_time(self.system.wall(moment)) if moment == moment else None


def told_time(moment: datetime) -> str:
    """A time of day as lines have it."""
    return moment.isoformat(timespec="milliseconds")
