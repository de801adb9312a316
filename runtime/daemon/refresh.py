"""Have sounds that were enrolled for another graph learned again, by a process at low priority.

When it has written one, the daemon takes it over as any other change of the sounds.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from htsat_edge.runtime.common.lifeline import started
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.supervision import SupervisedThread

MOST_LINE = 500
"""Characters of a line that is logged."""
END_S = 5.0
"""After which it is killed: it publishes a sound whole or not at all."""
logger = logging.getLogger(__name__)


def refresh_command(lifeline: int) -> list[str]:
    """Return the command of the process, which ends when the pipe `lifeline` does."""
    enroll = ("htsat_edge", "enroll", "--refresh", "--config", "/dev/stdin")
    return command_of("htsat_edge.runtime.common.lifeline", str(lifeline), *enroll)


class SoundsRefresh:
    """The process, and a thread that logs what it prints; it runs once."""

    def __init__(self, config: DaemonConfig, command: Callable[[int], Sequence[str]] = refresh_command) -> None:
        """Prepare to refresh the sounds of a configuration."""
        self._config = json.dumps(config.model_dump(mode="json", by_alias=True), ensure_ascii=False)
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._thread = SupervisedThread("enroll --refresh", self._run, self._report, self._stop)

    def start(self) -> None:
        """Start the process."""
        self._thread.start()

    def close(self) -> None:
        """End the process, if it has not ended, and wait for that."""
        with self._changing:
            self._stop.set()
            if self._process is not None:
                self._process.terminate()
        self._thread.join(END_S)
        if self._process is not None and self._thread.is_alive():
            self._process.kill()
            self._thread.join(END_S)

    def _run(self) -> None:
        """Run the process to its end."""
        with ExitStack() as opened:
            with self._changing:
                if self._stop.is_set():
                    return
                try:  # stdout is for messages
                    process = opened.enter_context(started(self._command, subprocess.PIPE, subprocess.STDOUT))
                except OSError as error:
                    self._report(f"cannot be started: {error}")
                    return
                self._process = process
            self._follow(process)
            if status := process.wait():
                self._report(f"has ended with status {status}")

    def _follow(self, process: subprocess.Popen[str]) -> None:
        """Give the process its configuration, and log what it prints."""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError), process.stdin:  # it has ended already
            process.stdin.write(self._config)
        with process.stdout:
            while line := process.stdout.readline(MOST_LINE):
                if text := shown(line.strip()):
                    logger.info("enroll --refresh: %s", text)

    def _report(self, reason: str) -> None:
        logger.warning("enroll --refresh: %s", reason)
