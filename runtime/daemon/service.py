"""Run the daemon as a service: signals end it, or have its configuration read again."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.loop import Control, Daemon
from htsat_edge.runtime.daemon.notify import Notifier

logger = logging.getLogger(__name__)


class TerminatedError(BaseException):
    """SIGTERM has come while something was opened, which may wait for ever."""


class Service:
    """Runs one daemon after the other, each with the configuration that was read last."""

    def __init__(self, read: Callable[[], DaemonConfig]) -> None:
        """Prepare to run with the configuration that `read` returns."""
        self._read, self._control, self._notifier = read, Control(), Notifier()
        self._starting = False
        self._raised: type[BaseException] | None = None
        self.undelivered = 0
        """Messages for which no time was left at the end."""

    def run(self) -> None:
        """Run until SIGTERM, Ctrl-C or the end of every source."""
        with self._handling_signals():
            try:
                config, daemon = self._start()
                while daemon is not None:
                    self._run(daemon)
                    config, daemon = self._restart(config, daemon.wanted)
            except BaseException:  # libraries turn what a signal raises into errors of their own
                if self._raised is None:
                    raise
                if self._raised is KeyboardInterrupt:
                    raise KeyboardInterrupt from None
                logger.warning("ended while it was started")

    def _start(self) -> tuple[DaemonConfig, Daemon | None]:
        with self._interruptible():
            config = self._read()
            return config, self._make(config)

    def _restart(self, config: DaemonConfig, wanted: DaemonConfig | None) -> tuple[DaemonConfig, Daemon | None]:
        """Return the configuration in force and a daemon for it; None where there is nothing more to do."""
        if wanted is None or self._control.ending:
            return config, None
        self._notifier.report(RELOADING="1")
        with self._interruptible():
            try:
                daemon = self._make(wanted)
            except HtsatEdgeError as error:
                daemon = self._make(config)
                daemon.report_rejected(error)
                return config, daemon
        daemon.report_loaded()
        return wanted, daemon

    def _make(self, config: DaemonConfig) -> Daemon:
        return Daemon(assemble(config), self._notifier, self._control, self._read)

    def _run(self, daemon: Daemon) -> None:
        try:
            daemon.run()
        finally:
            self.undelivered += sum(sender.undelivered for sender in daemon.parts.publisher.senders)

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
        self._starting = True
        try:
            yield
        finally:
            self._starting = False

    def _end(self, number: int, _: Any) -> None:
        self._control.ending = True
        if self._starting:
            self._raised = KeyboardInterrupt if number == signal.SIGINT else TerminatedError
            raise self._raised

    def _reload(self, *_: Any) -> None:
        self._control.reload = True


def serve(read: Callable[[], DaemonConfig]) -> bool:
    """Run the daemon with the configuration that `read` returns, until SIGTERM, Ctrl-C or the end of every source.

    SIGHUP has the configuration read again; one with an error is rejected, and the previous one stays in force.
    Return whether every message was delivered that no output had to drop before.
    """
    service = Service(read)
    service.run()
    return service.undelivered == 0
