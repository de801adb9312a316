"""Run the daemon as a service: signals end it, or have its configuration read again."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.commander import ThresholdWriter, WriteThreshold
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.loop import Control, Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.parts import Carried, Parts
from htsat_edge.runtime.daemon.refresh import SoundsRefresh
from htsat_edge.runtime.daemon.supervision import warnings
from htsat_edge.runtime.daemon.watch import FileWatch

logger = logging.getLogger(__name__)


class TerminatedError(BaseException):
    """SIGTERM has come while something was opened or read, which may wait for ever."""


class Service:
    """Runs one daemon after the other, each with the configuration that was read last."""

    def __init__(
        self,
        config: DaemonConfig,
        read: Callable[[], DaemonConfig],
        config_file: Path | None = None,
        attach: Callable[[Parts], None] = lambda _: None,
        write: WriteThreshold | None = None,
    ) -> None:
        """Prepare to run with a configuration; where it has changed, `read` returns the new one.

        `config_file` is watched, and its thresholds are taken over; None: it is only read when a signal asks for it.
        `attach` gets the parts of each daemon before it runs, to watch them. `write` writes a threshold that somebody
        asks for into that file.
        """
        self._config, self._read, self._config_file, self._attach = config, read, config_file, attach
        self._carried = Carried()
        self._writer = None if write is None else ThresholdWriter(write, self._carried.commands, self._carried.news)
        self._refresh: SoundsRefresh | None = None
        self._control, self._notifier = Control(), Notifier()
        self._waiting = False
        self._asked: type[BaseException] = TerminatedError
        """What the last signal is raised as."""
        self._raised: type[BaseException] | None = None
        self.undelivered = 0
        """Messages for which no time was left at the end."""
        self.failed = False
        """Whether the sources have ended the program, and one of them has failed."""

    def run(self) -> None:
        """Run until SIGTERM, Ctrl-C or the end of every source."""
        with self._handling_signals():
            try:
                if self._writer is not None:
                    self._writer.start()
                daemon: Daemon | None = self._start()
                while daemon is not None:
                    self._run(daemon)
                    daemon = self._restart(daemon)
            except BaseException:  # libraries turn what a signal raises into errors of their own
                if self._raised is None:
                    raise
                if self._raised is KeyboardInterrupt:
                    raise KeyboardInterrupt from None
                logger.warning("ended while it was started")
            finally:
                self._carried.stop()
                if self._refresh is not None:
                    self._refresh.close()
                if self._writer is not None:
                    self._writer.close()
                warnings.close()

    def _start(self) -> Daemon:
        with self._interruptible():
            daemon = self._make(self._config)
        if (sounds := daemon.parts.sounds) is not None and sounds.stale:
            labels = listed(info.label for _, info in sounds.stale)
            daemon.report_enrolled(f"{labels}: learned for another graph; not heard until learned again, which begins")
            self._refresh = SoundsRefresh(self._config)
            self._refresh.start()
        return daemon

    def _restart(self, ended: Daemon) -> Daemon | None:
        """Return a daemon for a new configuration, or for that in force; None where there is nothing more to do."""
        wanted, self._config = ended.wanted, ended.parts.config
        if wanted is None or self._control.ending:
            return None
        self._notifier.report(RELOADING="1")
        with self._interruptible():
            try:
                daemon = self._make(wanted)
            except HtsatEdgeError as error:
                daemon = self._make(self._config)
                daemon.report_rejected(error)
                return daemon
        self._config = wanted
        if ended.enrolled:
            daemon.report_enrolled(describe_sounds(ended.parts, daemon.parts))
        else:
            daemon.report_loaded()
        return daemon

    def _reread(self) -> DaemonConfig | None:
        """Return the configuration as it is now; None where a signal has come meanwhile, which ends the daemon."""
        try:
            with self._interruptible():
                return self._read()
        except BaseException:
            if self._raised is None:
                raise
            self._raised = None
            return None

    def _make(self, config: DaemonConfig) -> Daemon:
        parts = assemble(config, carried=self._carried, config_file=self._config_file)
        folder = None if parts.sounds is None else parts.sounds.folder
        watch = FileWatch(self._read, self._config_file, folder, parts.sounds_seen)
        self._attach(parts)
        return Daemon(parts, self._notifier, self._control, self._reread, watch, self._writer)

    def _run(self, daemon: Daemon) -> None:
        try:
            daemon.run()
        finally:
            self.undelivered += sum(sender.undelivered for sender in daemon.parts.publisher.senders)
        if daemon.wanted is None and not self._control.ending:
            self.failed = any(session.feed.failed for session in daemon.parts.sessions)

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        handlers = {signal.SIGTERM: self._end, signal.SIGINT: self._end, signal.SIGHUP: self._reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Have signals raise an exception in a `with` block, which may wait for a file for ever."""
        self._waiting = True
        try:
            if self._control.ending:  # one has come just before
                self._interrupt()
            yield
        finally:
            self._waiting = False

    def _end(self, number: int, _: Any) -> None:
        self._control.ending = True
        self._asked = KeyboardInterrupt if number == signal.SIGINT else TerminatedError
        if self._waiting:
            self._interrupt()

    def _interrupt(self) -> None:
        self._raised = self._asked
        raise self._raised

    def _reload(self, *_: Any) -> None:
        self._control.reload = True


def describe_sounds(before: Parts, after: Parts) -> str:
    """Return which enrolled sounds have changed."""
    old, new = (
        {} if parts.sounds is None else {sound.info.label: sound.info for sound in parts.sounds.usable}
        for parts in (before, after)
    )
    groups = {
        "new": [label for label in new if label not in old],
        "learned again": [label for label in new if label in old and new[label] != old[label]],
        "no longer heard": [label for label in old if label not in new],
    }
    return "; ".join(f"{what}: {listed(labels)}" for what, labels in groups.items() if labels) or "the same as before"


def serve(
    config: DaemonConfig,
    read: Callable[[], DaemonConfig],
    config_file: Path | None = None,
    attach: Callable[[Parts], None] = lambda _: None,
    write: WriteThreshold | None = None,
) -> int:
    """Run the daemon with a configuration, until SIGTERM, Ctrl-C or the end of every source.

    SIGHUP has `read` return it anew; one with an error is rejected, and the previous one stays in force. The thresholds
    of `config_file` are taken over without that. `attach` gets the parts of each daemon before it runs, to watch them.
    `write` writes a threshold that somebody asks for into that file; without it, such a threshold is in force until
    the configuration is read again. Return the exit status: 2 where the sources have ended it, and one had failed; 1
    where messages were not delivered at the end, beside those that an output had to drop before.
    """
    service = Service(config, read, config_file, attach, write)
    service.run()
    if service.failed:
        return 2
    return 1 if service.undelivered else 0
