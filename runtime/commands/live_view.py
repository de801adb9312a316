"""The live view of `htsat-edge listen` on a terminal: what is heard now, and what was; in place of messages on stdout.

A thread of its own draws it. Whoever listens only leaves what comes where this thread finds it, and never waits.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live

from htsat_edge.runtime.commands.live_view_drawing import LivePicture, leave
from htsat_edge.runtime.commands.live_view_state import SourceView, ViewState
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.daemon.config import DaemonConfig, SourceConfig
from htsat_edge.runtime.daemon.config.sources import names_of
from htsat_edge.runtime.daemon.live.observer import LiveObserver
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.parts import Parts
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.supervision import SupervisedThread
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.level import deviation_dbfs

DRAW_S, STATUS_S = 0.25, 1.0
"""The view is drawn so often, and looks so often how the daemon gets on."""
MOST_QUEUED = 2000
"""Messages that wait while the terminal takes nothing; the oldest go first."""
CLOSE_S = 2.0
"""For the last picture; a terminal that takes nothing does not hold up the end."""


class SourceTap(LiveObserver):
    """Keeps what a session has heard last, until the view takes it."""

    connected = True

    def __init__(self, session: SourceSession) -> None:
        """Keep what a session hears."""
        super().__init__(self, session)
        self.session = session
        self._newest: Callable[[], Message] | None = None
        self._loudest_dbfs = -np.inf

    def put(self, make: Callable[[], Message]) -> None:
        """Take a frame in place of the one before."""
        self._newest = make

    def audio(self, block: AudioBlock) -> None:
        """Note the level of the next samples."""
        self._loudest_dbfs = max(self._loudest_dbfs, deviation_dbfs(block.samples))

    def take_frame(self) -> Message | None:
        """Return the newest frame; None where there was none since the last time."""
        make, self._newest = self._newest, None
        return None if make is None else make()

    def take_level(self) -> float:
        """Return the level of the loudest block since the last time, in dBFS; minus infinity where there was none."""
        level, self._loudest_dbfs = self._loudest_dbfs, -np.inf
        return level


class ViewHandler(logging.Handler):
    """Passes on what is logged."""

    def __init__(self, take: Callable[[int, str], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, without waiting."""
        self._take(record.levelno, record.getMessage())


class LiveView:
    """A context that shows what the daemon hears; afterwards the terminal is as before, with the last events on it."""

    def __init__(self, console: Console, gone: Callable[[], None], advice: str = "") -> None:
        """Prepare to show it on a console's terminal.

        `gone` is called where that is no more; `advice` is left as the last line.
        """
        self._console, self._gone, self._advice = console, gone, advice
        self._state = ViewState(time.monotonic())
        self._queue: deque[Callable[[], None]] = deque(maxlen=MOST_QUEUED)
        """What changes the state, in turn."""
        self._taps: list[SourceTap] = []
        self._status: StatusReader | None = None
        self._looked_s = -STATUS_S
        self._stop = threading.Event()
        self._thread = SupervisedThread("live view", self._show, lambda _: None, self._stop)
        self.handler = ViewHandler(lambda level, text: self._queue.append(partial(self._state.note, level, text)))
        """For the log."""

    def __enter__(self) -> LiveView:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # however often it comes, the terminal is restored first
        try:
            self._stop.set()
            self._thread.join(CLOSE_S)
            if not self._thread.is_alive():
                self._leave()
        finally:
            signal.signal(signal.SIGINT, before)

    def watch(self, parts: Parts) -> None:
        """Show from now on what a daemon hears, in place of the one before."""
        taps = [SourceTap(session) for session in parts.sessions]
        for tap in taps:
            tap.session.observers = [*tap.session.observers, tap]
        parts.publisher.observers.append(self._offer)
        parts.opened.callback(self._queue.append, self._end)
        status = StatusReader(parts.sessions, parts.scorer, parts.publisher)
        self._queue.append(partial(self._begin, status, taps, parts.config))

    def _offer(self, message: Message) -> None:
        """Take a message, without waiting."""
        self._queue.append(lambda: self._state.take(message, time.monotonic()))

    # In the thread that draws

    def _begin(self, status: StatusReader, taps: list[SourceTap], wanted: DaemonConfig) -> None:
        """Look at another daemon's parts."""
        self._status, self._taps, self._looked_s = status, taps, -STATUS_S
        before, self._state.sources, self._state.ending = self._state.sources, {}, False
        self._state.kept = wanted.outputs.keeps_events
        for tap in taps:
            name = tap.session.feed.name
            config = next((source for source in wanted.sources if source.name in names_of(name)), None)
            view = SourceView(name, "" if config is None else describe_source(config), tap.session.feed.live)
            view.lost = before[name].lost if name in before else ""
            self._state.sources[name] = view

    def _end(self) -> None:
        """Show that the daemon sends what waits."""
        self._state.ending = True

    def _show(self) -> None:
        """Draw until the end, or until the terminal is gone."""
        try:
            with Live(
                console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                while not self._stop.is_set():
                    self._update()
                    live.update(LivePicture(self._state, time.monotonic()), refresh=True)
                    self._stop.wait(DRAW_S)
        except OSError:
            self._gone()
        self._update()

    def _update(self) -> None:
        """Bring the state up to date."""
        while self._queue:
            self._queue.popleft()()
        now_s = time.monotonic()
        if self._status is not None and now_s - self._looked_s >= STATUS_S:
            self._looked_s = now_s
            self._state.take(self._status.read(), now_s)
            for tap in self._taps:
                self._state.tune(tap.session)
        for tap in self._taps:
            self._state.set_level(tap.session.feed.name, tap.take_level())
            if (frame := tap.take_frame()) is not None:
                self._state.take(frame, now_s)

    def _leave(self) -> None:
        """Leave the last events on the screen."""
        with suppress(OSError):  # the terminal is gone
            for line in leave(self._state, time.monotonic(), self._console.width):
                self._console.print(line, soft_wrap=True)
            if self._advice and self._state.count:
                self._console.print(self._advice, soft_wrap=True, markup=False, highlight=False)


def describe_source(config: SourceConfig) -> str:
    """Return what a source is, for people."""
    if config.microphone is not None:
        device = config.microphone.device
        return "the default microphone" if device is None else f"microphone {device}"
    if config.stream is not None:
        return shown(config.stream.url)
    if config.stdin is not None:
        return "samples on stdin"
    return "" if str(config.file) == config.name else shown(str(config.file))
