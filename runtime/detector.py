"""The whole path, from samples to events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp import hysteresis as events
from htsat_edge.runtime.dsp.audio import Resampler
from htsat_edge.runtime.dsp.log_mel import BLOCK, LogMelStream, TooShortError
from htsat_edge.runtime.dsp.median import MedianFilter
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.windows import Clip, ClipStream, Grid, untile
from htsat_edge.runtime.models.backends import Backend
from htsat_edge.runtime.models.bundle import DEFAULT_THRESHOLD, ModelInfo

DECIMALS = 4
"""Of the scores and times that are told."""


@dataclass(frozen=True)
class Settings:
    """What a user may choose; seconds become whole steps of the model."""

    hop_s: float | None = None
    """From one run of the model to the next; by default an eighth of a clip: 1.28 s for 10.24 s."""
    look_ahead_s: float | None = None
    """How much is heard after a moment before its scores are final; by default a quarter of a clip: 2.56 s."""
    threshold: float | None = None
    """For every class, in place of the model's own."""
    release: float = 0.6
    """An event goes on while its score is at least this share of the threshold."""
    min_length_s: float = 0.3
    merge_gap_s: float = 0.7


@dataclass(frozen=True)
class Event:
    """A sound has started or ended; times are seconds of audio since the source started."""

    type: Literal["start", "end"]
    label: str
    onset: float
    offset: float | None
    """None at the start."""
    score: float
    """The peak so far."""

    def line(self, source: str, started: datetime | None) -> dict[str, Any]:
        """The event as an object for JSON Lines. `time` is null where it is not known when the source started."""
        time = None if started is None else (started + timedelta(seconds=self.onset)).isoformat()
        line = {"type": self.type, "source": source, "label": self.label, "onset": self.onset}
        if self.offset is not None:
            line["offset"] = self.offset
        return {**line, "time": time, "score": self.score}


class Watcher(Protocol):
    """Sees what goes by, for a picture or to tell why nothing was found."""

    def frames(self, log_mel: FloatArray) -> None:
        """The next frames (T, F)."""

    def scores(self, scores: FloatArray) -> None:
        """The next final scores (n, C), smoothed, as they are compared with the thresholds."""


class Detector:
    """Samples of one source in, events out. Chunks may have any length: the events are the same to the bit."""

    def __init__(
        self,
        info: ModelInfo,
        backend: Backend,
        sample_rate: int,
        settings: Settings = Settings(),
        watcher: Watcher | None = None,
    ) -> None:
        self._info, self._backend, self._rate, self._watcher = info, backend, sample_rate, watcher
        self.grid = make_grid(info, settings)
        self._rule = make_rule(info, settings)
        look_ahead = make_look_ahead(info, settings)
        self._resampler = Resampler(sample_rate, info.front_end.sample_rate)
        self._features = LogMelStream(info.front_end)
        self._clips = ClipStream(self.grid)
        self._timeline = Timeline(info.steps, look_ahead)
        self._median = MedianFilter([info.median_steps.get(label, 1) for label in info.labels])
        self.latency_s = latency(
            info, self.grid.hop_steps + look_ahead + self._median.delay + self._rule.min_length - 1
        )
        """From the onset of a sound to its event at the latest, once a clip was heard; inference comes on top."""
        self.reset()

    def reset(self) -> None:
        """Begin a new recording, whatever became of the last."""
        for stage in (self._resampler, self._features, self._clips, self._timeline, self._median):
            stage.reset()
        self._state = events.quiet(len(self._info.labels))
        self._samples = 0

    def push(self, samples: FloatArray) -> list[Event]:
        """Take samples (S,), floats in [-1, 1]; return the events that they settle."""
        return self._infer(self.feed(samples))

    def feed(self, samples: FloatArray) -> list[Clip]:
        """Take samples as `push` does; return the clips that they complete, each of which wants to be settled in turn.

        So the clips of several detectors can be scored in one go.
        """
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(f"want floats in [-1, 1] of shape (S,), not {samples.dtype} of shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise ValueError("samples must be finite numbers")
        samples = samples.astype(np.float32, copy=False)
        self._samples += len(samples)
        return self._cut(self._features.push(self._resampler.push(samples)))

    def settle(self, clip: Clip, framewise: FloatArray) -> list[Event]:
        """Take the scores (steps, C) of a clip that `feed` gave; return the events that they settle."""
        if self._clips.total < self.grid.frames:
            return self._final(untile(framewise, self.grid, self._clips.total))
        return self._final(self._timeline.push(clip.step, framewise))

    def close(self) -> list[Event]:
        """The recording is over: return the events that are left. Another may begin after `reset`."""
        clips = self._cut(self._features.push(self._resampler.flush()))
        try:
            clips += self._cut(self._features.flush())
        except TooShortError:
            raise HtsatEdgeError(f"{self._samples / self._rate * 1000:.1f} ms are too short to hear anything") from None
        if (clip := self._clips.flush()) is not None:
            clips.append(clip)
        found = self._infer(clips)
        if (scores := self._timeline.flush()) is not None:
            found += self._final(scores)
        if (scores := self._median.flush()) is not None:
            found += self._track(scores)
        return found + self._tell(events.finish(self._state))

    def _cut(self, log_mel: FloatArray) -> list[Clip]:
        if len(log_mel) == 0:
            return []
        if self._watcher is not None:
            self._watcher.frames(log_mel)
        return list(self._clips.push(log_mel))

    def _infer(self, clips: list[Clip]) -> list[Event]:
        return [
            event for clip in clips for event in self.settle(clip, self._backend.infer(clip.log_mel[None]).framewise[0])
        ]

    def _final(self, scores: FloatArray) -> list[Event]:
        return self._track(self._median.push(scores))

    def _track(self, scores: FloatArray) -> list[Event]:
        if self._watcher is not None and len(scores):
            self._watcher.scores(scores)
        self._state, changes = events.track(self._state, scores, self._rule)
        return self._tell(changes)

    def _tell(self, changes: list[events.Change]) -> list[Event]:
        duration, step_s = self._samples / self._rate, self._info.step_s
        return [
            Event(
                change.type,
                self._info.labels[change.label],
                round(change.onset * step_s, DECIMALS),
                # The last step may reach past the end of the recording.
                round(min(change.offset * step_s, duration), DECIMALS) if change.type == "end" else None,
                round(change.score, DECIMALS),
            )
            for change in changes
        ]


def steps(seconds: float, info: ModelInfo) -> int:
    """Seconds as the nearest whole number of the model's steps."""
    return round(seconds / info.step_s)


def make_grid(info: ModelInfo, settings: Settings) -> Grid:
    """How the model's clips lie on a recording."""
    if settings.hop_s is None:
        hop = max(1, info.steps // 8)
    else:
        hop = steps(settings.hop_s, info)
        if not 1 <= hop <= info.steps:
            longest = info.steps * info.step_s
            raise HtsatEdgeError(f"hop of {settings.hop_s:g} s: want between {info.step_s:g} and {longest:g} s")
    return Grid(info.frames, info.steps, info.step_frames, hop)


def make_look_ahead(info: ModelInfo, settings: Settings) -> int:
    """The look-ahead in steps."""
    if settings.look_ahead_s is None:
        return info.steps // 4
    look_ahead = steps(settings.look_ahead_s, info)
    if not 0 <= look_ahead < info.steps:
        raise HtsatEdgeError(f"look-ahead of {settings.look_ahead_s:g} s is not shorter than a clip of the model")
    return look_ahead


def latency(info: ModelInfo, waiting_steps: int) -> float:
    """Seconds that a sound waits for its steps to be settled, and for the frames and samples around them."""
    front_end = info.front_end
    around_s = front_end.n_fft / 2 / front_end.sample_rate
    return waiting_steps * info.step_s + BLOCK * front_end.frame_s + around_s


def make_rule(info: ModelInfo, settings: Settings) -> events.Rule:
    """Thresholds and lengths for each class."""
    if settings.threshold is not None:
        threshold = np.full(len(info.labels), settings.threshold, np.float32)
    else:
        threshold = np.array([info.thresholds.get(label, DEFAULT_THRESHOLD) for label in info.labels], np.float32)
    return events.Rule(
        threshold=threshold,
        release=(threshold * settings.release).astype(np.float32),
        min_length=max(1, steps(settings.min_length_s, info)),
        merge_gap=steps(settings.merge_gap_s, info),
    )
