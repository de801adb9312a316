"""One source's way through one run: from blocks and gaps to messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from operator import methodcaller

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import DECIMALS, Message
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import HealthConfig, LevelConfig
from htsat_edge.runtime.daemon.coverage import Coverage
from htsat_edge.runtime.daemon.health import HealthMonitor
from htsat_edge.runtime.daemon.level import LevelReporter
from htsat_edge.runtime.daemon.messages import (
    HopChanged,
    InputOk,
    Listening,
    SourceBack,
    SourceLost,
    SourcePaused,
    SourceResumed,
)
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.outputs.clip_names import ClipNamer
from htsat_edge.runtime.daemon.progress import SourceProgress
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.source_messages import SourceMessages
from htsat_edge.runtime.daemon.sources.feed import Feed, Notice
from htsat_edge.runtime.daemon.supervision import describe, kind_of, warnings
from htsat_edge.runtime.detector import EventStream, WindowStream
from htsat_edge.runtime.dsp.blocks import AudioBlock, Gap
from htsat_edge.runtime.dsp.events import Event, EventStart
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

PAUSED = "paused"
"""Why there is a gap."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Of audio that is not heard after detection has failed, twice as long each time."""


@dataclass
class SourceSession:
    """Turns what a feed gives into messages. The caller scores the windows, of many sources at once where it likes."""

    feed: Feed
    info: ModelInfo
    settings: Settings
    health: HealthConfig
    system: SystemClock
    observers: Sequence[SessionObserver] = ()
    rules: Rules = field(default_factory=Rules)
    level_settings: LevelConfig = field(default_factory=LevelConfig)
    progress: SourceProgress = field(default_factory=SourceProgress)
    """Where the source has come to before."""
    clips: ClipNamer | None = None
    """Gives events the name of their clip; None where there are no clips."""

    def __post_init__(self) -> None:
        self._say = SourceMessages(self.feed, self.system, self.progress)
        self._windows: WindowStream | None = None
        self._events: EventStream | None = None
        self.level = LevelReporter(self.level_settings, self.feed.name, self.progress.ids, self._say.moment)
        self._rate = 0
        self._framed_s = self._scored_s = 0.0
        self._unscored_s: float | None = None
        self._failed_s, self._pause_s = 0.0, FIRST_PAUSE_S

    @property
    def end_s(self) -> float:
        """Up to where the source was heard or lost, in seconds since it began."""
        return self.progress.end_s

    @property
    def coverage(self) -> Coverage:
        """How much of the present hour was heard."""
        return self.progress.coverage

    @property
    def all_time(self) -> Coverage:
        """How much of the source was heard."""
        return self.progress.all_time

    @property
    def failure(self) -> str | None:
        """Why detection does not work at present."""
        return self.progress.failure

    @property
    def lost(self) -> bool:
        """Whether nothing comes from the source at present, or what comes cannot be scored."""
        return self.feed.lost or self.failure is not None

    @property
    def paused(self) -> bool:
        """Whether somebody has asked not to listen to it; what comes then goes to `skip`."""
        return self.progress.paused_s is not None

    @property
    def faults(self) -> set[str]:
        """Names of the input faults at present; none of a source that nobody wants to hear."""
        return set() if self.paused or self.progress.monitor is None else self.progress.monitor.active

    @property
    def level_dbfs(self) -> float:
        """Level of the last second; minus infinity where it is not measured."""
        if self.paused:
            return float("-inf")
        if self.progress.monitor is not None:
            return self.progress.monitor.level_dbfs
        return float("-inf") if self.level.second is None else self.level.second.dbfs

    @property
    def hop_s(self) -> float:
        """Seconds from one run of the model to the next."""
        return round(self.settings.grid(self.info).hop_steps * self.info.step_s, DECIMALS)

    @property
    def latency_s(self) -> float:
        """Seconds from the onset of a sound to its start, without the model's own time."""
        return round(self.settings.latency_s(self.info), DECIMALS)

    @property
    def active(self) -> bool:
        """Whether there is a recording that is not finished."""
        return self._windows is not None

    def set_hop(self, hop_s: float, why: str) -> HopChanged:
        """Have the model run every `hop_s` seconds from the next window on; return the message of it."""
        self.settings = replace(self.settings, hop_s=hop_s)
        if self._windows is not None:
            self._windows.hop_steps = self.settings.grid(self.info).hop_steps
        name, onset = self.feed.name, round(self.end_s, DECIMALS)
        return HopChanged(
            source=name, time=self._say.now(), onset=onset, hop_s=self.hop_s, latency_s=self.latency_s, text=why
        )

    def retune(self, settings: Settings) -> list[Message]:
        """Have other settings decide what is an event, but for the hop; return the ends of what goes on.

        Scores go on as they are, so the classes must be the same.
        """
        self.settings, at_s, ends = replace(settings, hop_s=self.settings.hop_s), self.end_s, list[Message]()
        if self._events is not None:
            at_s, ends = self._scored_s, self._reported(self._events.retune(self.settings))
        self._observe(methodcaller("retuned", at_s))
        return ends

    def take(self, block: AudioBlock) -> tuple[list[Window], list[Message]]:
        """Take samples; return the windows that they complete, to be scored and settled in turn, and messages."""
        messages: list[Message] = []
        if self._unscored_s is not None:
            if block.start_s < self._failed_s + self._pause_s:
                return [], list(self._say.advance(block.end_s, heard=True))
            messages += self.end_pause()
        if self._windows is None or block.sample_rate != self._rate:
            messages += self._begin(block)
        assert self._windows is not None
        if self.progress.monitor is not None:
            messages += (self._say.health(change) for change in self.progress.monitor.push(block.samples))
        self.level.push(block.samples)
        self._observe(lambda observer: observer.audio(block))
        messages += self._say.advance(block.end_s, heard=True)
        return self._windows.push(block.samples), messages

    def settle(self, window: Window, framewise: FloatArray) -> list[Message]:
        """Take the scores (steps, C) of a window; return the messages that they settle."""
        assert self._windows is not None
        assert self._events is not None
        heard_s = (window.step + self.info.steps - self._windows.grid.mirrored_steps) * self.info.step_s
        stream, step_s = self._events, self.info.step_s
        events = stream.push(window, framewise)
        self._observe(lambda observer: observer.newest(self._scored_s, step_s, lambda: stream.newest))
        found = self._reported([*events, *self.level.settle(heard_s)])
        if self.failure is None:
            return found
        self.progress.failure, self._pause_s = None, FIRST_PAUSE_S
        return [SourceBack(source=self.feed.name, time=self._say.now(), text="detection works again"), *found]

    def lose(self, gap: Gap) -> list[Message]:
        """Take a gap; what came before must be finished."""
        before = self.end_pause()
        for coverage in (self.coverage, self.all_time):
            coverage.gaps += 1
        return [*before, self._say.gap(gap), *self._say.advance(gap.end_s, heard=False)]

    def abandon(self, error: Exception) -> list[Message]:
        """Give up the recording, of which something could not be scored for a reason that nobody expected.

        Detection begins anew after a pause; what is not scored until then becomes a gap.
        """
        reason, messages = describe(error), list[Message]()
        if self._events is not None:
            with suppress(Exception):  # which may have failed itself
                messages += self._reported(self._events.flush())
            messages += self._reported(self.level.end())
        if self._unscored_s is None:
            self._unscored_s = min(self._scored_s, self.end_s)
        self._failed_s = self.end_s
        self._interrupt()
        if self.failure is None:
            text = f"detection failed: {reason}; it is begun again"
            warnings.warn(f"{self.feed.name}: {kind_of(error)}", f"{self.feed.name}: {text}")
            messages.append(SourceLost(source=self.feed.name, time=self._say.now(), text=text))
        else:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.progress.failure = reason
        return messages

    def end_pause(self) -> list[Message]:
        """End the pause after a failure, if there is one; return the gap that it has left."""
        if self._unscored_s is None:
            return []
        gap, self._unscored_s = Gap(self._unscored_s, self.end_s, f"detection failed: {self.failure}"), None
        for coverage in (self.coverage, self.all_time):
            coverage.lose(gap.end_s - gap.start_s)
        return [self._say.gap(gap)]

    def pause(self, text: str) -> list[Message]:
        """Listen no more until `resume`; what came before must be finished."""
        before = self.end_pause()
        self.progress.begin_pause()
        return [*before, SourcePaused(source=self.feed.name, time=self._say.now(), text=text)]

    def still_paused(self) -> list[Message]:
        """Return that it was paused before this session, if it was; else nothing in the store would say so."""
        name, text = self.feed.name, "still paused, as before"
        return [SourcePaused(source=name, time=self._say.now(), text=text)] if self.paused else []

    def skip(self, item: AudioBlock | Gap) -> list[Message]:
        """Take what comes while it is paused, of which nothing is kept."""
        return list(self._say.advance(item.end_s, heard=False))

    def resume(self, text: str) -> list[Message]:
        """Listen again."""
        return [*self.end_skipping(), SourceResumed(source=self.feed.name, time=self._say.now(), text=text)]

    def end_skipping(self) -> list[Message]:
        """Return the gap of the time that was asked not to be listened to, up to now, if there is any."""
        since_s, self.progress.paused_s = self.progress.paused_s, None
        return [] if since_s is None else [self._say.gap(Gap(since_s, self.end_s, PAUSED))]

    def flush(self) -> list[Window]:
        """End the recording, since it is over or interrupted; return the windows that are left, to be settled."""
        assert self._windows is not None
        try:
            return self._windows.flush()
        except HtsatEdgeError:  # too short for the model
            return []

    def finish(self) -> list[Message]:
        """Return the messages that are left, after the windows of `flush` were settled."""
        assert self._events is not None
        left = self._reported([*self._events.flush(), *self.level.end()])
        self._interrupt()
        return left

    def notice(self, notice: Notice) -> Message:
        """Return the message of something that has happened to the source just now."""
        return notice.state(source=self.feed.name, time=self._say.now(), text=notice.text)

    def time_at(self, position_s: float) -> str | None:
        """Return the time of day at a position as messages have it; None where it is not known."""
        return self._say.time_at(position_s)

    # The observer of both streams

    def frames(self, log_mel: FloatArray) -> None:
        """Pass the next frames (T, F) on."""
        frame_s = self.info.front_end.frame_s
        self._observe(lambda observer: observer.frames(self._framed_s, frame_s, log_mel))
        self._framed_s += len(log_mel) * frame_s

    def scores(self, scores: FloatArray) -> None:
        """Pass the next final scores (n, C) on."""
        self._observe(lambda observer: observer.scores(self._scored_s, self.info.step_s, scores))
        self._scored_s += len(scores) * self.info.step_s

    def _begin(self, block: AudioBlock) -> Iterator[Message]:
        first = self._rate == 0
        self._rate = block.sample_rate
        self._framed_s = self._scored_s = block.start_s
        self._windows = WindowStream(self.info, block.sample_rate, self.settings, self)
        self._events = EventStream(
            self.info,
            self.settings,
            self,
            source=self.feed.name,
            ids=self.progress.ids,
            origin_s=block.start_s,
            time_of=self._say.moment,
        )
        self.level.begin(block.start_s, block.sample_rate)
        time_of_day = self.time_at(block.start_s)
        monitor = self.progress.monitor
        if monitor is None or (monitor.sample_rate, monitor.settings) != (block.sample_rate, self.health):
            for problem in sorted(self.faults):  # the new monitor does not know of them
                yield InputOk(source=self.feed.name, time=time_of_day, problem=problem)
            monitor = HealthMonitor(block.sample_rate, self.health) if self.health.enabled else None
            self.progress.monitor = monitor
        if monitor is not None:
            monitor.reset()
        if first:
            yield Listening(
                source=self.feed.name,
                time=time_of_day,
                sample_rate=block.sample_rate,
                hop_s=self.hop_s,
                latency_s=self.latency_s,
            )

    def _reported(self, messages: Sequence[Message]) -> list[Message]:
        """Return the events that the rules let through, which every observer sees, and what else there is."""
        chosen = self.rules.select([message for message in messages if isinstance(message, Event)])
        reported = chosen.reported if self.clips is None else [self.clips.name(event) for event in chosen.reported]
        self.progress.events.update(event.label for event in reported if isinstance(event, EventStart))
        for event in reported:
            self._observe(methodcaller("event", event))
        for left_out in chosen.left_out:
            self._observe(methodcaller("left_out", *left_out))
        return [*reported, *(message for message in messages if not isinstance(message, Event))]

    def _interrupt(self) -> None:
        """Give up the recording, after its last event."""
        self._windows = self._events = None
        self.rules.interrupt(self.end_s)
        self._observe(lambda observer: observer.interrupted(self.end_s))

    def _observe(self, show: Callable[[SessionObserver], None]) -> None:
        """Show something to every observer; what fails in one, such as for lack of memory, disturbs nothing else."""
        for observer in self.observers:
            try:
                show(observer)
            except Exception as error:
                observer.failed(describe(error))
