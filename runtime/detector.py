"""The detector: samples in, events out.

It has two halves. `WindowStream` (window_stream.py) turns samples into windows of log-mel frames, `EventStream`
(event_stream.py) turns the model's scores of windows into events. `Detector` puts a backend between them; who scores
several sources at once uses the halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Channel
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.dsp.observer import Observer
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.event_stream import EventStream
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.window_stream import WindowStream

__all__ = ["Detector", "EventStream", "WindowStream", "detect_file"]

READ_S = 1.0
"""Of a recording, read at a time."""


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
        time_of: Callable[[float], datetime | None] = lambda _: None,
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
        sounds: Path | None = None,
    ) -> Detector:
        """Open a model, by default the bundled one, on the best backend that this machine has.

        The arguments are those of `Detector`; `threads` are onnxruntime's, by default one for each core; `sounds` is
        the folder of the sounds that were enrolled, by default the bundle's own.

        Raises
        ------
        HtsatEdgeError
            The bundle cannot be read, or the settings do not fit the model.
        """
        model = load_model(bundle, sounds)
        with ExitStack() as opened:
            backend = model.open(threads=threads)
            opened.callback(backend.close)
            detector = cls(model.info, backend, sample_rate, settings, source=source)
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
    sounds: Path | None = None,
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
    sounds
        The folder of the sounds that were enrolled (`htsat-edge enroll`), by default the bundle's own.

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
    with Detector.from_bundle(
        bundle, sample_rate=file.sample_rate, settings=settings, source=str(path), sounds=sounds
    ) as detector:
        events: list[Event] = []
        for block in file.blocks(max(1, round(READ_S * file.sample_rate)), channel):
            events += detector.push(block)
        try:
            events += detector.flush()
        except HtsatEdgeError as error:
            raise HtsatEdgeError(f"{path}: {error}") from None
    return sorted((e for e in events if isinstance(e, EventEnd)), key=lambda event: (event.onset, event.label))
