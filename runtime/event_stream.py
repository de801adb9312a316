"""The second half of a detector: the model's scores in, events out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.dsp.median import MedianFilter
from htsat_edge.runtime.dsp.observer import ScoreObserver
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.tracker import EventTracker
from htsat_edge.runtime.dsp.windows import Window, untile
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings


class EventStream:
    """The model's scores of a recording's windows in, events out."""

    def __init__(
        self,
        info: ModelInfo,
        settings: Settings = Settings(),
        observer: ScoreObserver | None = None,
        *,
        source: str = "",
        ids: Iterator[int] | None = None,
        origin_s: float = 0.0,
        time_of: Callable[[float], datetime | None] = lambda _: None,
    ) -> None:
        """Begin a recording.

        Parameters
        ----------
        info, settings
            The model, and when its scores are an event; an HtsatEdgeError is raised where they do not fit.
        observer
            Gets the final scores.
        source
            Name that the events get.
        ids
            Where the numbers of events come from; by default they begin with 1.
        origin_s
            Seconds from the beginning of the source to the first sample of the recording.
        time_of
            Gives the time of day of a moment in seconds since the source began.
        """
        settings.validate(info)
        self._info = info
        self._classes, self._observer = settings.classes(info), observer
        self._grid, self._heard_s = settings.grid(info), 0.0
        self._timeline = Timeline(info.steps, settings.look_ahead_steps(info), self._grid.mirrored_steps)
        self._median = MedianFilter(self._classes.median_steps)
        self._tracker = EventTracker(
            self._classes.labels,
            info.step_s,
            settings.rule(info),
            ids or itertools.count(1),
            source=source,
            origin_s=origin_s,
            time_of=time_of,
        )

    def push(self, window: Window, framewise: FloatArray) -> list[Event]:
        """Take the scores (steps, C) of the next window; return the events that they settle; raise where one is NaN."""
        if not np.isfinite(framewise).all():
            raise HtsatEdgeError("the model gives scores that are no numbers: is its file damaged?")
        self._heard_s = window.heard_s
        scores = self._classes.merge(framewise)
        if window.whole_frames is None:
            final = self._timeline.push(window.step, scores)
        else:
            final = self._timeline.push_whole(untile(scores, self._grid, window.whole_frames))
        events = self._track(self._median.push(final))
        return events + self._tracker.push_newest(self._timeline.begin, self._timeline.newest)

    @property
    def newest(self) -> FloatArray:
        """The scores (n, C) so far of the steps that were heard, after those that the observer was shown."""
        pending, newest = self._median.pending, self._timeline.newest
        return newest if pending is None or len(pending) == 0 else np.concatenate([pending, newest])

    def retune(self, settings: Settings) -> list[Event]:
        """Have other settings decide what is an event, from the next final step on; return the ends of what goes on.

        Scores go on as they are: classes, hop, look-ahead and median stay those that the recording began with. An event
        whose start was reported before its scores were final goes on, and the new settings decide of it.
        """
        settings.validate(self._info)
        return self._tracker.retune(settings.rule(self._info), self._heard_s)

    def flush(self) -> list[Event]:
        """End the recording, of which all windows were pushed; return the events that are left."""
        events: list[Event] = []
        if (scores := self._timeline.flush()) is not None:
            events += self._track(self._median.push(scores))
        if (scores := self._median.flush()) is not None:
            events += self._track(scores)
        return events + self._tracker.flush(self._heard_s)

    def _track(self, scores: FloatArray) -> list[Event]:
        if len(scores) == 0:
            return []
        if self._observer is not None:
            self._observer.scores(scores)
        return self._tracker.push(scores, self._heard_s)
