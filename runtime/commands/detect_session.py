"""Play recordings through the daemon's own sessions, as fast as the model is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from htsat_edge.runtime.commands.detect_config import Hearing
from htsat_edge.runtime.commands.report import Detections
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import printable
from htsat_edge.runtime.common.errors import HtsatEdgeError, ServerError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.progress import progress
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, HealthConfig
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.channels import Channel
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.dsp.formats.pipe import STDIN
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.bundle import ModelInfo

BLOCK_S = 1.0


@dataclass(frozen=True)
class Player:
    """What plays recordings: a model, and the configuration of a daemon of which no output is there."""

    info: ModelInfo
    scorer: Scorer
    config: DaemonConfig

    def play(
        self,
        file: AudioFile,
        hearing: Hearing,
        start: datetime | None = None,
        channel: Channel | Literal["each"] = "mix",
        traced: bool = False,
    ) -> list[Detections]:
        """Play a recording, which began at `start`, and show how far it is.

        Return what was found in the channel, or in each of them, which are then named as those of a microphone: up to
        where the recording is damaged. Raise an HtsatEdgeError where nothing of it can be heard, a ServerError where
        the server that runs the model does not do so.
        """
        name = "stdin" if file.path == STDIN else printable(file.path)
        channels: dict[str, Channel] = {name: channel} if channel != "each" else {}
        if channel == "each":
            channels = {f"{name}/{number}": number for number in range(1, file.channels + 1)}
        heard = [HeardChannel(self, one, file.sample_rate, hearing, start, traced) for one in channels]
        failure: HtsatEdgeError | None = None
        block = max(1, round(BLOCK_S * file.sample_rate))
        try:
            with progress(visible(file.path.name), file.samples, in_percent=True) as show:
                for number, blocks in enumerate(file.split(block, list(channels.values())), 1):
                    for one, samples in zip(heard, blocks, strict=True):
                        one.push(samples)
                    show(number * block)
        except HtsatEdgeError as error:
            if heard[0].samples == 0 or isinstance(error, ServerError):
                raise
            failure = error
        try:
            for one in heard:
                one.finish()
        except ServerError:
            raise
        except HtsatEdgeError as error:
            raise failure or HtsatEdgeError(f"{file.path}: {error}") from None
        return [
            Detections(one.name, one.duration_s, one.events, one.trace, failure, hearing.source, start, one.left_out)
            for one in heard
        ]


class HeardChannel:
    """One channel of a recording, on its way through a session."""

    def __init__(
        self, player: Player, name: str, sample_rate: int, hearing: Hearing, start: datetime | None, traced: bool
    ) -> None:
        """Begin; `traced` keeps what the model sees."""
        self.name, self.samples, self._rate, self._scored = name, 0, sample_rate, 0
        self.events: list[Event] = []
        """Those that are shown."""
        self.trace = Trace() if traced else None
        self._scorer, self._shown = player.scorer, hearing.shown
        feed = Feed(name, threading.Event(), live=start is not None)
        feed.clock.observe(0.0, 0.0)
        self._session = SourceSession(
            feed,
            player.info,
            hearing.settings,
            HealthConfig(enabled=False),
            RecordingClock(start),
            [] if self.trace is None else [TraceObserver(self.trace)],
            Rules(player.config.rules, hearing.source),
            player.config.level_of(hearing.source),
        )

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return self.samples / self._rate

    @property
    def left_out(self) -> dict[str, int]:
        """How many events of each sound that is shown a rule did not let through."""
        counts = Counter[str]()
        for (_, label), count in self._session.rules.suppressed.items():
            if label in self._shown:
                counts[label] += count
        return counts

    def push(self, samples: FloatArray) -> None:
        """Take the next samples (S,)."""
        if len(samples) == 0:
            return
        block = AudioBlock(self.duration_s, self._rate, samples)
        self.samples += len(samples)
        windows, _ = self._session.take(block)
        self._settle(windows)

    def finish(self) -> None:
        """End the recording; raise an HtsatEdgeError where it was too short for the model."""
        if self._session.active:
            self._settle(self._session.flush())
            self._keep(self._session.finish())
        if self._scored == 0:
            raise HtsatEdgeError(f"{self.duration_s * 1000:.1f} ms are too short for the model")

    def _settle(self, windows: Sequence[Window]) -> None:
        for window in windows:
            (framewise,) = self._scorer([window])
            self._keep(self._session.settle(window, framewise))
        self._scored += len(windows)

    def _keep(self, messages: Sequence[Message]) -> None:
        self.events += (one for one in messages if isinstance(one, Event) and one.label in self._shown)


class TraceObserver(SessionObserver):
    """Has a trace see what goes by in a session."""

    def __init__(self, trace: Trace) -> None:
        """Show it to `trace`."""
        self._trace = trace

    def frames(self, start_s: float, frame_s: float, log_mel: FloatArray) -> None:  # noqa: ARG002
        """Take the next frames (T, F)."""
        self._trace.frames(log_mel)

    def scores(self, start_s: float, step_s: float, scores: FloatArray) -> None:  # noqa: ARG002
        """Take the next final scores (n, C)."""
        self._trace.scores(scores)


class RecordingClock(SystemClock):
    """The time of day in a recording, whose seconds are its monotonic clock, in the zone of its start."""

    def __init__(self, start: datetime | None) -> None:
        """Begin at `start`; without it nobody asks."""
        super().__init__(0.0, 0.0)
        self._start = start

    def wall(self, monotonic_s: float) -> datetime:
        """Return the time of day."""
        if self._start is None:
            return super().wall(monotonic_s)
        return self._start + timedelta(seconds=monotonic_s)
