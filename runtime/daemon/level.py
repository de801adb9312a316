"""The sound level of a source as messages, and as events where it is above a limit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import DECIMALS, Message, format_time
from htsat_edge.runtime.daemon.config import LevelConfig
from htsat_edge.runtime.daemon.messages import LevelStatus
from htsat_edge.runtime.dsp.hysteresis import Rule
from htsat_edge.runtime.dsp.sound_level import STEP_S, STEPS, LevelMeter, LevelStep, SoundLevel, power_db
from htsat_edge.runtime.dsp.tracker import EventTracker

MINUTE_S = 60
PASSED, NEAR = 1.0, 0.5
"""Scores of a step whose level is above the limit, and of one that is at most `release_db` below it."""
LEVEL_DECIMALS = 2


def with_level_label(labels: Sequence[str], settings: LevelConfig) -> list[str]:
    """Return these labels and that of a level's event; raise an HtsatEdgeError where it is one of them."""
    if settings.event is None:
        return [*labels]
    if settings.event.label in labels:
        raise HtsatEdgeError(f"level.event.label: {settings.event.label} is a class, too; give another")
    return [*labels, settings.event.label]


class LevelReporter:
    """Measures a source's level; what comes of it is given out when the windows that heard the same are settled.

    So its messages and the numbers of its events come in the same order beside those of other sounds, however the
    samples were cut.
    """

    def __init__(
        self, settings: LevelConfig, source: str, ids: Iterator[int], time_of: Callable[[float], datetime | None]
    ) -> None:
        """Prepare for a source.

        Parameters
        ----------
        settings
            What is in force for the source.
        source
            Its name.
        ids
            Where the numbers of its events come from.
        time_of
            Gives the time of day of a moment in seconds since the source began.
        """
        self.settings = settings
        self._source, self._ids, self._time_of = source, ids, time_of
        self.span_s = settings.every_s or MINUTE_S
        """Seconds that `span` is of."""
        self.second: SoundLevel | None = None
        """The last one."""
        self.span: SoundLevel | None = None
        """The last whole one."""
        self._meter: LevelMeter | None = None
        self._tracker: EventTracker | None = None
        self._waiting: deque[LevelStep] = deque()
        self._seconds: list[SoundLevel] = []
        """Of the span that has begun."""
        self._start_s, self._count = 0.0, 0
        """Where the recording began, and how many steps of it are settled."""

    def begin(self, start_s: float, sample_rate: int) -> None:
        """Begin a recording at a position in seconds since the source began, with a sample rate in Hz."""
        self._start_s, self._count = start_s, 0
        if self.settings.enabled:
            self._meter, self._tracker = LevelMeter(sample_rate), self._make_tracker()

    def push(self, samples: FloatArray) -> None:
        """Take samples (S,)."""
        if self._meter is not None:
            self._waiting += self._meter.push(samples)

    def settle(self, heard_s: float) -> list[Message]:
        """Return the messages of the first `heard_s` seconds of the recording, of which the samples were taken."""
        messages: list[Message] = []
        while self._waiting and (self._count + 1) * STEP_S <= heard_s:
            step = self._waiting.popleft()
            self._count += 1
            if self._tracker is not None:
                messages += self._tracker.push(self._score(step))
            if step.second is not None:
                self.second = step.second
                self._seconds.append(step.second)
                if len(self._seconds) == self.span_s:
                    self.span = SoundLevel.of(self._seconds)
                    messages += self._report()
        return messages

    def end(self) -> list[Message]:
        """End the recording; return the messages that are left: a span that was begun is of its whole seconds."""
        messages = self.settle(float("inf"))
        if self._tracker is not None:
            messages += self._tracker.flush()
        messages += self._report()
        self._meter = self._tracker = None
        return messages

    def spans(self) -> dict[int, SoundLevel]:
        """Return the levels of the last second and of the last whole span, by their lengths in seconds."""
        levels = {self.span_s: self.span, 1: self.second}
        return {seconds: level for seconds, level in levels.items() if level is not None}

    def _make_tracker(self) -> EventTracker | None:
        event = self.settings.event
        if event is None:
            return None
        rule = Rule(
            np.array([PASSED], np.float32),
            np.array([NEAR], np.float32),
            max(1, round(event.min_length_s / STEP_S)),
            round(event.merge_gap_s / STEP_S),
        )
        return EventTracker(
            [event.label],
            STEP_S,
            rule,
            self._ids,
            source=self._source,
            origin_s=self._start_s,
            time_of=self._time_of,
        )

    def _score(self, step: LevelStep) -> FloatArray:
        event = self.settings.event
        assert event is not None
        over_db = power_db(step.fast) + (self.settings.offset_db or 0.0) - event.above_db
        score = PASSED if over_db >= 0 else NEAR if over_db >= -event.release_db else 0.0
        return np.array([[score]], np.float32)

    def _report(self) -> list[LevelStatus]:
        """Return the message of the seconds since the last one, where there are any and messages are wanted."""
        seconds, self._seconds = self._seconds, []
        if not seconds or self.settings.every_s is None:
            return []
        level, offset_db = SoundLevel.of(seconds), self.settings.offset_db
        last = self._count // STEPS * STEPS
        onset = self._position(last - len(seconds) * STEPS)
        moment = self._time_of(onset)
        return [
            LevelStatus(
                source=self._source,
                time=None if moment is None else format_time(moment),
                onset=onset,
                offset=self._position(last),
                dbfs=round(level.dbfs, LEVEL_DECIMALS),
                laeq_db=None if offset_db is None else round(level.laeq + offset_db, LEVEL_DECIMALS),
                lamax_db=None if offset_db is None else round(level.lamax + offset_db, LEVEL_DECIMALS),
            )
        ]

    def _position(self, steps: int) -> float:
        """Return a number of steps since the recording began as seconds since the source began."""
        return round(self._start_s + steps * STEP_S, DECIMALS)
