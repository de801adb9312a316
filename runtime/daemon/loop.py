"""The daemon's loop: read every source, score their windows together, publish what comes of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.commander import Commander, ThresholdWriter
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.messages import BackendChanged, ClockSet, ConfigLoaded, ConfigRejected, Enrolled
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.parts import Parts
from htsat_edge.runtime.daemon.scorer import MOST_WINDOWS
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.settings import check_model
from htsat_edge.runtime.daemon.sources.feed import Source
from htsat_edge.runtime.daemon.thresholds import take_over
from htsat_edge.runtime.daemon.watch import FileWatch
from htsat_edge.runtime.dsp.blocks import Gap
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.models.backends.changing import notices_of

WAIT_S = 0.25
"""For news, so that the watchdog is fed often enough."""
MOST_BLOCKS = 20
"""Of one source before the others have their turn."""
HOPELESS_S = 300.0
"""Where detection fails for so long, the watchdog gets no more reports, so that systemd starts the program again."""
logger = logging.getLogger(__name__)


class Control:
    """What signals ask for. Their handlers set these and do nothing else: any lock may be held when one comes."""

    ending = False
    reload = False


class Daemon:
    """Everything between one configuration and the next."""

    def __init__(
        self,
        parts: Parts,
        notifier: Notifier,
        control: Control | None = None,
        reread: Callable[[], DaemonConfig | None] | None = None,
        watch: FileWatch | None = None,
        writer: ThresholdWriter | None = None,
    ) -> None:
        """Take over the parts; where `control` asks for it, `reread` reads the configuration again, unless it ends.

        `watch` notices changes of which nobody says anything; `writer` writes thresholds that somebody asks for.
        """
        self.parts, self._notifier = parts, notifier
        self._control, self._reread, self._watch = control or Control(), reread, watch
        self._commander = Commander(parts, self._finish, writer)
        self.wanted: DaemonConfig | None = None
        """A new configuration, or that in force with other sounds, for which `run` has returned."""
        self.enrolled = False
        """Whether that is for other sounds."""
        self._stop = threading.Event()
        self._worked_s = time.monotonic()

    def run(self) -> None:
        """Listen until `stop`, a signal, a change, or the end of every source; then release the parts.

        What goes on in the next daemon, for which `wanted` asks, is left in `parts.carried`.
        """
        sessions = self.parts.sessions
        with self.parts, ExitStack() as listening:
            for source in self.parts.sources:
                if not self.parts.carried.holds(source):
                    source.start()
                listening.callback(self._release, source)
            self.parts.carried.clear()
            if self._watch is not None:
                self._watch.start()
                listening.callback(self._watch.close)
            names = ", ".join(session.feed.name for session in sessions)
            self._notifier.report(READY="1", STATUS=f"listening to {names}")
            for session in sessions:
                self.parts.publisher.publish(session.still_paused())
            while not self._over():
                self.parts.news.wait(WAIT_S)
                self.parts.news.clear()
                self._commander.update()
                self._turn(sessions)
            self._commander.close()
            if self.wanted is not None and not self._ending:
                self.parts.carry_on(self.wanted, lost_too=self.enrolled)
            listening.close()
            self._notifier.report(STOPPING="1")
            ended = [session for session in sessions if session.feed.name not in self.parts.carried.progress]
            while self._turn(ended):  # what was recorded before the sources were stopped
                pass
            for session in sessions:
                self._finish(session)
                if session.feed.name not in self.parts.carried.progress:
                    self.parts.publisher.publish(session.end_skipping())
            self._publish_changes()
            self.parts.publisher.publish_notices()

    def stop(self) -> None:
        """End open events, send what is queued, and return from `run`; for other threads."""
        self._stop.set()
        self.parts.news.set()

    def report_loaded(self) -> None:
        """Publish that a changed configuration is in force."""
        logger.warning("the changed configuration is in force")
        text = "the whole configuration was read again"
        self.parts.publisher.publish([ConfigLoaded(time=self.parts.publisher.now(), text=text)])

    def report_enrolled(self, text: str) -> None:
        """Publish which enrolled sounds are heard now."""
        logger.warning("enrolled sounds: %s", text)
        labels = [] if self.parts.sounds is None else [sound.info.label for sound in self.parts.sounds.usable]
        self.parts.publisher.publish([Enrolled(time=self.parts.publisher.now(), labels=labels, text=text)])

    def report_rejected(self, error: HtsatEdgeError) -> None:
        """Publish that a changed configuration has an error."""
        logger.warning("the changed configuration is rejected, the previous one stays in force: %s", error)
        self.parts.publisher.publish([ConfigRejected(time=self.parts.publisher.now(), text=str(error))])

    @property
    def _ending(self) -> bool:
        return self._stop.is_set() or self._control.ending

    def _over(self) -> bool:
        if self._control.reload and self._reread is not None:
            self._control.reload = False
            try:
                self.wanted = self._reread()
            except HtsatEdgeError as error:
                self.report_rejected(error)
        if self._watch is not None and self.wanted is None:
            self._look_at_files(self._watch)
        asked = self._ending or self.wanted is not None
        return asked or all(session.feed.ended for session in self.parts.sessions)

    def _look_at_files(self, watch: FileWatch) -> None:
        """Take over changed thresholds; where sounds have changed, ask for a daemon that hears them."""
        if (config := watch.take_config()) is not None:
            self.parts.publisher.publish(take_over(self.parts, config))
        if not watch.take_sounds():
            return
        try:
            check_model(self.parts.config)
        except HtsatEdgeError as error:
            logger.warning("the sounds have changed, those before are still heard: %s", error)
            self.parts.publisher.publish([ConfigRejected(time=self.parts.publisher.now(), text=str(error))])
        else:
            self.wanted, self.enrolled = self.parts.config, True

    def _release(self, source: Source) -> None:
        """Stop a source, unless it goes on in the next daemon."""
        if not self.parts.carried.holds(source):
            source.stop()

    def _turn(self, sessions: Sequence[SourceSession]) -> bool:
        """Take what sources have, each at its turn; return whether there was anything."""
        self._report_alive()
        self._look_at_clock()
        self._publish_changes()
        if self.parts.hop is not None:
            self.parts.publisher.publish(self.parts.hop.update())
        self.parts.publisher.publish_notices()
        waiting: list[tuple[SourceSession, list[Window]]] = []
        busy = False
        for session in sessions:
            windows, gap, read = self._read(session)
            waiting.append((session, windows))
            busy = busy or read
            if gap is not None or session.feed.ended:
                self._score(waiting)
                waiting = []
                self._finish(session)
            if gap is not None:
                self.parts.publisher.publish(session.lose(gap))
        self._score(waiting)
        return busy

    def _report_alive(self) -> None:
        """Report to the watchdog, unless detection has failed for so long that only a new process can mend it.

        It has failed where it works for none of the sources that give something.
        """
        now = time.monotonic()
        sessions = [session for session in self.parts.sessions if not session.paused]
        heard = [session for session in sessions if not (session.feed.ended or session.feed.lost)]
        if not heard or any(session.failure is None for session in heard):
            self._worked_s = now
        if now - self._worked_s < HOPELESS_S:
            self._notifier.alive()

    def _publish_changes(self) -> None:
        """Publish what else runs the model now."""
        now = self.parts.publisher.now()
        changes = notices_of(self.parts.scorer.backend)
        self.parts.publisher.publish(BackendChanged(time=now, backend=one.backend, text=one.text) for one in changes)

    def _look_at_clock(self) -> None:
        if moved := self.parts.system.update(time.time(), time.monotonic()):
            logger.warning("the system's clock was set by %+.3f s", moved)
            self.parts.publisher.publish([ClockSet(time=self.parts.publisher.now(), by_s=round(moved, 3))])

    def _read(self, session: SourceSession) -> tuple[list[Window], Gap | None, bool]:
        """Take what a source has, up to a window or a gap; return windows, the gap, and whether there was anything.

        No more than that: what waits to be scored has the hop at which it was cut.
        """
        self.parts.publisher.publish(session.notice(notice) for notice in session.feed.notices())
        for count in range(MOST_BLOCKS):
            item = session.feed.read()
            if item is None:
                return [], None, count > 0
            self.parts.news.set()  # there may be more
            if session.paused:
                self.parts.publisher.publish(session.skip(item))
                continue
            if isinstance(item, Gap):
                return [], item, True
            try:
                completed, messages = session.take(item)
            except Exception as error:
                self.parts.publisher.publish(session.abandon(error))
                return [], None, True
            self.parts.publisher.publish(messages)
            if completed:
                return completed, None, True
        return [], None, True

    def _score(self, waiting: Sequence[tuple[SourceSession, list[Window]]]) -> None:
        """Score windows, those of several sources at once, those of one in turn."""
        queues = [(session, list(windows)) for session, windows in waiting if windows]
        while queues:
            group = [(session, windows.pop(0)) for session, windows in queues[:MOST_WINDOWS]]
            try:
                scores = self.parts.scorer([window for _, window in group])
            except Exception as error:
                for session, _ in group:
                    self.parts.publisher.publish(session.abandon(error))
            else:
                for (session, window), framewise in zip(group, scores, strict=True):
                    self._settle(session, window, framewise)
            queues = [(session, windows) for session, windows in queues if windows and session.active]
            self._report_alive()

    def _settle(self, session: SourceSession, window: Window, framewise: FloatArray) -> None:
        try:
            self.parts.publisher.publish(session.settle(window, framewise))
        except Exception as error:
            self.parts.publisher.publish(session.abandon(error))

    def _finish(self, session: SourceSession) -> None:
        """End a recording, so that what is heard next, if anything, is not joined to it."""
        try:
            if session.active:
                self._score([(session, session.flush())])
            if session.active:  # unless it has failed
                self.parts.publisher.publish(session.finish())
        except Exception as error:
            self.parts.publisher.publish(session.abandon(error))
        self.parts.publisher.publish(session.end_pause())
