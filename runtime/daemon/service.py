"""Run the daemon as a service: signals end it, or have its configuration read again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.loop import Control, Daemon
from htsat_edge.runtime.daemon.notify import Notifier


def serve(read: Callable[[], DaemonConfig]) -> None:
    """Run the daemon with the configuration that `read` returns, until SIGTERM, Ctrl-C or the end of every source.

    SIGHUP has the configuration read again; one with an error is rejected, and the previous one stays in force.
    """
    control, notifier, config = Control(), Notifier(), read()

    def end(*_: Any) -> None:
        control.ending = True

    def reload(*_: Any) -> None:
        control.reload = True

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        daemon = Daemon(assemble(config), notifier, control, read)
        daemon.run()
        while daemon.wanted is not None and not control.ending:
            notifier.report(RELOADING="1")
            wanted = daemon.wanted
            try:
                daemon = Daemon(assemble(wanted), notifier, control, read)
                config = wanted
                daemon.report_loaded()
            except HtsatEdgeError as error:
                daemon = Daemon(assemble(config), notifier, control, read)
                daemon.report_rejected(error)
            daemon.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
