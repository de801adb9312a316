"""Have sounds that were enrolled for another graph learned again, by a process at low priority.

When it has written one, the daemon takes it over as any other change of the sounds.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.daemon.config import DaemonConfig

NICENESS = 10
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
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process."""
        end, lifeline = os.pipe()
        try:
            # stdout is for messages. In a session of its own, Ctrl-C is not sent to it as well.
            self._process = subprocess.Popen(
                self._command(end),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(end,),
                start_new_session=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            os.close(lifeline)
            logger.warning("enroll --refresh: cannot be started: %s", error)
            return
        finally:
            os.close(end)
        with suppress(OSError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
        self._thread = threading.Thread(target=self._follow, args=(self._process, lifeline), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the process, if it has not ended, and wait for that."""
        if self._process is None or self._thread is None:
            return
        self._process.terminate()
        self._thread.join(END_S)
        if self._thread.is_alive():
            self._process.kill()
            self._thread.join(END_S)

    def _follow(self, process: subprocess.Popen[str], lifeline: int) -> None:
        """Give the process its configuration, and log what it prints."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(OSError), process.stdin:  # it has ended already
                process.stdin.write(self._config)
            with process.stdout:
                while line := process.stdout.readline(MOST_LINE):
                    if text := shown(line.strip()):
                        logger.info("enroll --refresh: %s", text)
            if status := process.wait():
                logger.warning("enroll --refresh: has ended with status %d", status)
        finally:
            os.close(lifeline)
