"""The detector: samples in, events out.

It has two halves. `WindowStream` turns samples into windows of log-mel frames, `EventStream` turns the model's scores
of windows into events. `Detector` puts a backend between them; who scores several sources at once uses the halves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Channel
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.dsp.hysteresis import EventTracker
from htsat_edge.runtime.dsp.log_mel import LogMelStream, TooShortError
from htsat_edge.runtime.dsp.median import MedianFilter
from htsat_edge.runtime.dsp.observer import FrameObserver, Observer, ScoreObserver
from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.windows import Window, WindowCutter, untile
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

READ_S = 1.0
"""Of a recording, read at a time."""


class WindowStream:
    """Samples of one source in, windows for the model out; the same windows, to the bit, for any chunking."""

    def __init__(
        self, info: ModelInfo, sample_rate: int, settings: Settings = Settings(), observer: FrameObserver | None = None
    ) -> None:
        """Prepare for samples at `sample_rate` Hz; raise an HtsatEdgeError where the settings do not fit the model."""
        settings.validate(info)
        if not isinstance(sample_rate, int | np.integer) or sample_rate < 1:
            raise ValueError(f"want a sample rate in Hz, a whole number from 1 on, not {sample_rate!r}")
        self._rate, self._observer = sample_rate, observer
        self.grid = settings.grid(info)
        self._resampler = Resampler(sample_rate, info.front_end.sample_rate)
        self._log_mel = LogMelStream(info.front_end)
        self._cutter = WindowCutter(self.grid)
        self._samples, self._over = 0, False

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return self._samples / self._rate

    def push(self, samples: FloatArray) -> list[Window]:
        """Take samples (S,), floats in [-1, 1]; return the windows that they complete."""
        self._check_open()
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(f"want floats in [-1, 1] of shape (S,), not {samples.dtype} of shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise ValueError("samples must be finite numbers")
        samples = samples.astype(np.float32, copy=False)
        self._samples += len(samples)
        return self._cut(self._log_mel.push(self._resampler.push(samples)))

    def flush(self) -> list[Window]:
        """End the recording; return the windows that are left. Raise an HtsatEdgeError where it is too short."""
        self._check_open()
        self._over = True
        windows = self._cut(self._log_mel.push(self._resampler.flush()))
        try:
            windows += self._cut(self._log_mel.flush())
        except TooShortError:
            raise HtsatEdgeError(f"{self.duration_s * 1000:.1f} ms are too short for the model") from None
        if (window := self._cutter.flush()) is not None:
            windows.append(replace(window, heard_s=self.duration_s))
        return windows

    def reset(self) -> None:
        """Begin a new recording, whatever became of the last."""
        for stage in (self._resampler, self._log_mel, self._cutter):
            stage.reset()
        self._samples, self._over = 0, False

    def _check_open(self) -> None:
        if self._over:
            raise ValueError("the recording is over: reset begins another")

    def _cut(self, log_mel: FloatArray) -> list[Window]:
        if len(log_mel) == 0:
            return []
        if self._observer is not None:
            self._observer.frames(log_mel)
        return [replace(window, heard_s=self.duration_s) for window in self._cutter.push(log_mel)]


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
        time_of: Callable[[float], str | None] = lambda _: None,
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
        self._grid, self._observer = settings.grid(info), observer
        self._heard_s = 0.0
        self._timeline = Timeline(info.steps, settings.look_ahead_steps(info))
        self._median = MedianFilter([info.median_steps.get(label, 1) for label in info.labels])
        self._tracker = EventTracker(
            info.labels,
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
        if window.tiled_frames is not None:
            return self._track(self._median.push(untile(framewise, self._grid, window.tiled_frames)))
        return self._track(self._median.push(self._timeline.push(window.step, framewise)))

    def flush(self) -> list[Event]:
        """End the recording, of which all windows were pushed; return the events that are left."""
        events: list[Event] = []
        if (scores := self._timeline.flush()) is not None:
            events += self._track(self._median.push(scores))
        if (scores := self._median.flush()) is not None:
            events += self._track(scores)
        return events + self._tracker.flush(self._heard_s)

    def _track(self, scores: FloatArray) -> list[Event]:
        if self._observer is not None and len(scores):
            self._observer.scores(scores)
        return self._tracker.push(scores, self._heard_s)


class Detector:
    """Samples of one source in, events out; the same events, to the bit, for any chunking.

    Examples
    --------
    >>> from htsat_edge import Detector
    >>> with Detector.from_bundle(sample_rate=48_000) as detector:
    ...     for samples in microphone:  # (S,), any length
    ...         for event in detector.push(samples):
    ...             print(event)
    """

    def __init__(
        self,
        info: ModelInfo,
        backend: Backend,
        sample_rate: int,
        settings: Settings = Settings(),
        observer: Observer | None = None,
        source: str = "",
        time_of: Callable[[float], str | None] = lambda _: None,
    ) -> None:
        """Prepare for samples at `sample_rate` Hz.

        Parameters
        ----------
        info, backend
            The model, and what runs it.
        sample_rate
            Of the samples, in Hz; any.
        settings
            When scores are an event.
        observer
            Gets the frames and the final scores.
        source
            Name that the events get.
        time_of
            Gives the time of day of a moment in seconds since the recording began.

        Raises
        ------
        HtsatEdgeError
            The settings do not fit the model.
        """
        self._backend, self._closed = backend, False
        self._windows = WindowStream(info, sample_rate, settings, observer)
        self._new_events = partial(EventStream, info, settings, observer, source=source, time_of=time_of)
        self._events = self._new_events()

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle | Path | str = BUNDLED,
        *,
        sample_rate: int,
        settings: Settings = Settings(),
        threads: int | None = None,
        source: str = "",
    ) -> Detector:
        """Open a model, by default the bundled one, on the best backend that this machine has.

        The arguments are those of `Detector`; `threads` are onnxruntime's, by default one for each core.

        Raises
        ------
        HtsatEdgeError
            The bundle cannot be read, or the settings do not fit the model.
        """
        if not isinstance(bundle, Bundle):
            bundle = load_bundle(bundle)
        with ExitStack() as opened:
            backend = open_backend(bundle, threads=threads)
            opened.callback(backend.close)
            detector = cls(bundle.info, backend, sample_rate, settings, source=source)
            opened.pop_all()
        return detector

    def push(self, samples: FloatArray) -> list[Event]:
        """Take samples (S,), floats in [-1, 1]; return the events that they settle, `EventStart` and `EventEnd`.

        Raises
        ------
        ValueError
            The samples have another shape, are no floats, or are not finite; or the recording or the detector is over.
        """
        self._check_open()
        return self._score(self._windows.push(samples))

    def flush(self) -> list[Event]:
        """End the recording; return the events that are left. Another may begin after `reset`.

        Raises
        ------
        HtsatEdgeError
            The recording is too short for a single frame, about 16 ms.
        """
        self._check_open()
        return self._score(self._windows.flush()) + self._events.flush()

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return self._windows.duration_s

    def reset(self) -> None:
        """Begin a new recording, whatever became of the last."""
        self._windows.reset()
        self._events = self._new_events()

    def close(self) -> None:
        """Release the model; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._backend.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the detector is closed")

    def _score(self, windows: Iterable[Window]) -> list[Event]:
        return [
            event
            for window in windows
            for event in self._events.push(window, self._backend.infer(window.log_mel[None]).framewise[0])
        ]


def detect_file(
    path: Path | str,
    *,
    bundle: Bundle | Path | str = BUNDLED,
    settings: Settings = Settings(),
    channel: Channel = "mix",
) -> list[EventEnd]:
    """Return the events of a recording, in the order of their onsets.

    Parameters
    ----------
    path
        A wav, flac, ogg or mp3 file, or any that ffmpeg decodes where that is installed; at any sample rate, with any
        number of channels.
    bundle, settings
        The model, or its folder, by default the bundled one; and when scores are an event.
    channel
        The mix of all channels, the first, the loudest, or one of them, counted from 1.

    Raises
    ------
    HtsatEdgeError
        The recording or the bundle cannot be read, the recording is damaged or breaks off, it has no such channel, or
        the settings do not fit the model. `htsat-edge detect` reports what comes before the damage.

    Examples
    --------
    >>> from htsat_edge import detect_file
    >>> for event in detect_file("tests/data/recordings/farmyard.flac"):
    ...     print(f"{event.onset:5.2f} to {event.offset:5.2f} s: {event.label} ({event.score:.2f})")
    """
    file = AudioFile(Path(path))
    with Detector.from_bundle(bundle, sample_rate=file.sample_rate, settings=settings, source=str(path)) as detector:
        events: list[Event] = []
        for block in file.blocks(max(1, round(READ_S * file.sample_rate)), channel):
            events += detector.push(block)
        try:
            events += detector.flush()
        except HtsatEdgeError as error:
            raise HtsatEdgeError(f"{path}: {error}") from None
    return sorted((e for e in events if isinstance(e, EventEnd)), key=lambda event: (event.onset, event.label))
