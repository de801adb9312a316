"""The second half of a detector: the model's scores in, final scores and events out."""

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
from htsat_edge.runtime.models.classes import Classes
from htsat_edge.runtime.models.settings import Settings


class ScoreStream:
    """The model's scores of a recording's windows in, final scores out: each the median of merged ones."""

    def __init__(self, info: ModelInfo, settings: Settings, classes: Classes | None = None, step: int = 0) -> None:
        """Begin a recording.

        Parameters
        ----------
        info, settings
            The model, and settings that fit it.
        classes
            Those of the settings, where they are known already.
        step
            The windows that are pushed are those that hear beyond this step; the scores that come out begin with
            `begin`, and are the same as if all windows were pushed.
        """
        self.classes = settings.classes(info) if classes is None else classes
        self._grid = settings.grid(info)
        look_ahead, mirrored = settings.look_ahead_steps(info), self._grid.mirrored_steps
        self._timeline = Timeline(info.steps, look_ahead, mirrored, step)
        self._median = MedianFilter(self.classes.median_steps, within=step > 0)
        self.begin = step + self._median.delay if step > 0 else 0
        """The step of the first score that comes out."""

    def push(self, window: Window, framewise: FloatArray) -> FloatArray:
        """Take the scores (steps, C_model) of the next window; return those (n, C) that are final; refuse NaN."""
        if not np.isfinite(framewise).all():
            raise HtsatEdgeError("the model gives scores that are no numbers: is its file damaged?")
        scores = self.classes.merge(framewise)
        if window.whole_frames is None:
            return self._median.push(self._timeline.push(window.step, scores))
        return self._median.push(self._timeline.push_whole(untile(scores, self._grid, window.whole_frames)))

    @property
    def merged(self) -> tuple[int, FloatArray]:
        """The first step that is not merged from all its windows yet, and the scores (n, C) so far from it on."""
        return self._timeline.begin, self._timeline.newest

    @property
    def newest(self) -> FloatArray:
        """The scores (n, C) so far of the steps that were heard, after those that came out."""
        pending, newest = self._median.pending, self._timeline.newest
        return newest if pending is None or len(pending) == 0 else np.concatenate([pending, newest])

    def flush(self) -> Iterator[FloatArray]:
        """End the recording, of which all windows were pushed; yield the scores (n, C) that are left."""
        if (scores := self._timeline.flush()) is not None:
            yield self._median.push(scores)
        if (scores := self._median.flush()) is not None:
            yield scores


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
        self._info, self._observer, self._heard_s = info, observer, 0.0
        self._scores = ScoreStream(info, settings)
        self._tracker = EventTracker(
            self._scores.classes.labels,
            info.step_s,
            settings.rule(info),
            ids or itertools.count(1),
            source=source,
            origin_s=origin_s,
            time_of=time_of,
        )

    def push(self, window: Window, framewise: FloatArray) -> list[Event]:
        """Take the scores (steps, C) of the next window; return the events that they settle; raise where one is NaN."""
        final = self._scores.push(window, framewise)
        self._heard_s = window.heard_s
        return self._track(final) + self._tracker.push_newest(*self._scores.merged)

    @property
    def newest(self) -> FloatArray:
        """The scores (n, C) so far of the steps that were heard, after those that the observer was shown."""
        return self._scores.newest

    def retune(self, settings: Settings) -> list[Event]:
        """Have other settings decide what is an event, from the next final step on; return the ends of what goes on.

        Scores go on as they are: classes, hop, look-ahead and median stay those that the recording began with. An event
        whose start was reported before its scores were final goes on, and the new settings decide of it.
        """
        settings.validate(self._info)
        return self._tracker.retune(settings.rule(self._info), self._heard_s)

    def flush(self) -> list[Event]:
        """End the recording, of which all windows were pushed; return the events that are left."""
        events = [event for scores in self._scores.flush() for event in self._track(scores)]
        return events + self._tracker.flush(self._heard_s)

    def _track(self, scores: FloatArray) -> list[Event]:
        if len(scores) == 0:
            return []
        if self._observer is not None:
            self._observer.scores(scores)
        return self._tracker.push(scores, self._heard_s)
