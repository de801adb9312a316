"""What the live view knows: what was heard last, from the messages that go by."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveFrame, NewestScores
from htsat_edge.runtime.daemon.messages import GapMessage, InputFault, InputOk, Listening, SourceBack, SourceNotice
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.dsp.events import Event, is_early
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.score_codes import FLOOR

MOST_EVENTS, MOST_NOTES = 200, 50
"""That are kept; the oldest go first."""
NOW_S = 1.0
"""A class counts with the highest score of so long."""
STALE_S = 3.0
"""Scores are shown for so long at most, where the model does not run any more."""
FALL_DB = 10.0
"""By which a level falls at most from one picture to the next."""
RECENT = 5
"""Notes among which none is there twice: some of the log's lines are messages, too."""


@dataclass(frozen=True)
class EventRow:
    """An event, which may go on."""

    source: str
    id: int
    label: str
    onset: float
    offset: float | None
    """None while it goes on."""
    time: datetime | None
    """Of the onset, where the device is; None in a recording."""
    score: float
    early: bool = False
    """Whether it was reported early, and has ended with final scores that stay below the threshold."""


class ViewNote(NamedTuple):
    """A line of the log, or something that has happened to a source."""

    time: datetime
    level: int
    """As `logging` has them."""
    text: str


class ScoreNow(NamedTuple):
    """How high a class scores now."""

    score: float
    threshold: float
    label: str
    source: str


@dataclass
class SourceView:
    """What is known of a source."""

    name: str
    what: str
    """What it is, for people, such as "the default microphone"."""
    live: bool = True
    """Whether it is heard as it sounds; what waits of a recording is not late."""
    device: str = ""
    """What the system calls it."""
    settings: Settings | None = None
    """That are in force."""
    latency_s: float = 0.0
    """Seconds from the onset of a sound to its start."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Of the classes that are reported."""
    sample_rate: int | None = None
    """Hz; None until the first samples have come."""
    lost: str = ""
    """Why it was lost the last time."""
    level_dbfs: float = float("-inf")
    """Of the last moment; it falls slowly, to be seen."""
    scores: dict[str, float] = field(default_factory=dict)
    scored_s: float = float("-inf")
    """When they came, on a monotonic clock."""


class ViewState:
    """All that the view shows; one thread changes and draws it."""

    def __init__(self, begun_s: float) -> None:
        """Begin at a time of a monotonic clock."""
        self.begun_s = begun_s
        self.sources: dict[str, SourceView] = {}
        """By name; none until the model was opened."""
        self.status: DeviceStatus | None = None
        self.events: deque[EventRow] = deque(maxlen=MOST_EVENTS)
        self.notes: deque[ViewNote] = deque(maxlen=MOST_NOTES)
        self.kept = True
        """Whether events are still somewhere when they have left the screen."""
        self.ending = False
        """Whether the daemon sends what waits, and ends."""
        self.count = 0
        """Of all events."""

    def take(self, message: Message, now_s: float) -> None:
        """Take a message that has come at a time of the monotonic clock."""
        match message:
            case Event():
                self._take_event(message)
            case LiveFrame(source=name, newest=newest) if name in self.sources:
                self.sources[name].scores, self.sources[name].scored_s = peaks(newest), now_s
            case DeviceStatus():
                self.status = message
            case Listening(source=name, sample_rate=rate) if name in self.sources:
                self.sources[name].sample_rate = rate
            case GapMessage(source=name, onset=onset, offset=offset, reason=reason):
                self.note(logging.WARNING, f"{name}: {offset - onset:.2f} s lost: {reason}")
            case SourceBack(source=name, text=text):
                self.note(logging.INFO, f"{name}: {text}")
            case SourceNotice(source=name, text=text):
                if name in self.sources:
                    self.sources[name].lost = shown(text)
                self.note(logging.WARNING, f"{name}: {text}")
            case InputFault(source=name, problem=problem, advice=advice):
                self.note(logging.WARNING, f"{name}: {problem}: {advice}")
            case InputOk(source=name, problem=problem):
                self.note(logging.INFO, f"{name}: {problem} is over")
            case _:  # the log says it, or the status does
                pass

    def tune(self, session: SourceSession) -> None:
        """Look what a session hears, and which settings of detection are in force in it."""
        source = self.sources[session.feed.name]
        source.device = session.feed.device
        if session.settings is source.settings:
            return
        source.settings, source.latency_s = session.settings, session.latency_s
        classes = source.settings.classes(session.info)
        pairs = zip(classes.labels, classes.thresholds.tolist(), strict=True)
        source.thresholds = {label: threshold for label, threshold in pairs if threshold <= 1}

    def set_level(self, source: str, dbfs: float) -> None:
        """Take the level of what has come since the last picture."""
        view = self.sources[source]
        view.level_dbfs = max(dbfs, view.level_dbfs - FALL_DB)

    def note(self, level: int, text: str) -> None:
        """Take a line of the log, or one like it."""
        text = shown(text)
        if all(text != note.text for note in list(self.notes)[-RECENT:]):
            self.notes.append(ViewNote(datetime.now(), level, text))

    def top(self, now_s: float) -> list[ScoreNow]:
        """Return the classes that score highest now, the highest first."""
        return sorted(self._scores(now_s), reverse=True)

    def _scores(self, now_s: float) -> Iterator[ScoreNow]:
        for source in self.sources.values():
            if now_s - source.scored_s > STALE_S:
                continue
            for label, score in source.scores.items():
                if score >= FLOOR and label in source.thresholds:
                    yield ScoreNow(score, source.thresholds[label], label, source.name)

    def _take_event(self, event: Event) -> None:
        time = None if event.time is None else datetime.fromisoformat(event.time).astimezone()
        limit = self.sources[event.source].thresholds.get(event.label, 0.0) if event.source in self.sources else 0.0
        early = is_early(event, limit)
        row = EventRow(event.source, event.id, event.label, event.onset, event.offset, time, event.score, early)
        for at in range(len(self.events) - 1, -1, -1):
            begun = self.events[at]
            if begun.offset is None and (begun.source, begun.id) == (row.source, row.id):
                self.events[at] = row
                return
        self.events.append(row)
        self.count += 1


def peaks(newest: NewestScores) -> dict[str, float]:
    """Return the highest score of each class in the last moment."""
    count = max(1, round(NOW_S / newest.step_s))
    return {label: max(scores[-count:]) for label, scores in newest.scores.items()}
