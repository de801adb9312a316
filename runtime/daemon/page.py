"""The page's process: started with the daemon, begun again whenever it ends, and ended with the daemon.

It is a process of its own, at low priority, so that nothing that happens to the page touches detection.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.lifeline import started
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.supervision import SupervisedThread

WEB = ("fastapi", "uvicorn")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""Before the page is started again, twice as long each time."""
WORKS_S = 10.0
"""A page that has run for so long works: it is reported as back, and the next pause is the shortest."""
STOP_S = 0.5
"""After which it is killed, which costs nothing: until it has ended, a changed configuration is not listened with."""
MOST_LINE, MOST_LINES = 500, 20
"""Characters of a line that the page prints, and lines that are logged of each run before they become few."""
logger = logging.getLogger(__name__)


def page_command(lifeline: int, config_file: Path | None = None) -> list[str]:
    """Return the command of the page's process, which ends when the pipe `lifeline` does.

    `config_file` is what the page may change: the configuration itself is given to it on stdin.
    """
    web = ["htsat_edge", "web", "--config", "/dev/stdin"]
    if config_file is not None:
        web += ["--config-file", str(config_file)]
    return command_of("htsat_edge.runtime.common.lifeline", str(lifeline), *web)


def require_web() -> None:
    """Raise an HtsatEdgeError where the libraries of the page are not installed; the daemon itself loads none."""
    if any(find_spec(name) is None for name in WEB):
        raise HtsatEdgeError('the page needs FastAPI and uvicorn: pip install "htsat-edge[web]"')


class Page:
    """The process, and a thread that looks after it; its failures are published."""

    name, vital = "web", False

    def __init__(self, config: DaemonConfig, command: Callable[[int], Sequence[str]] = page_command) -> None:
        """Prepare to start the page of a configuration."""
        self._config = json.dumps(config.model_dump(mode="json", by_alias=True), ensure_ascii=False)
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._started_s = 0.0
        self._reported = False
        """Whether a failure was reported, and not yet that the page is back."""
        self._notices: deque[str | None] = deque()
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._warnings = RepeatedWarnings(logger)
        self._thread = SupervisedThread(self.name, self._run, self._report, self._stop)

    def start(self) -> None:
        """Start the process."""
        self._thread.start()

    @property
    def failing(self) -> bool:
        """Whether the page does not run at present, or has not run for long since it ended."""
        return self._reported

    def notices(self) -> Iterator[str | None]:
        """Yield since the last time why the page has ended, and None when it has run for long enough again."""
        while self._notices:
            yield self._notices.popleft()
        if self._reported and self._works():
            self._reported = False
            logger.warning("%s: the page runs again", self.name)
            yield None

    def end(self) -> None:
        """Have the process end, without waiting for it."""
        with self._changing:
            self._stop.set()
            if (process := self._process) is not None:  # the thread may forget it at any time
                process.terminate()

    def close(self) -> None:
        """End the process, and wait for that."""
        self.end()
        if (process := self._process) is not None:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(STOP_S)
        self._warnings.close()

    def _works(self) -> bool:
        return self._process is not None and time.monotonic() - self._started_s >= WORKS_S

    def _run(self) -> None:
        """Run the process again and again."""
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            reason, ran_s = self._run_once()
            if self._stop.is_set():
                return
            pause_s = FIRST_PAUSE_S if ran_s >= WORKS_S else pause_s
            self._report(f"{reason}; it is started again")
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _run_once(self) -> tuple[str, float]:
        """Run the process; return why it has ended, and after how many seconds."""
        with ExitStack() as opened:
            with self._changing:
                if self._stop.is_set():
                    return "", 0.0
                # stdout is for messages
                process = opened.enter_context(started(self._command, subprocess.DEVNULL, subprocess.PIPE))
                self._process, self._started_s = process, time.monotonic()
            try:
                last = self._follow(process)
                status = process.wait()
            finally:
                self._process = None
        how = f"signal {-status}" if status < 0 else f"status {status}{f': {last}' if last else ''}"
        return f"the page has ended with {how}", time.monotonic() - self._started_s

    def _follow(self, process: subprocess.Popen[str]) -> str:
        """Give the process its configuration, and log what it prints; return its last line."""
        assert process.stdin is not None
        assert process.stderr is not None
        with suppress(OSError), process.stdin:  # it has ended already
            process.stdin.write(self._config)
        last, count = "", 0
        with process.stderr:
            while line := process.stderr.readline(MOST_LINE):
                if text := shown(line.strip()):
                    last, count = text, count + 1
                    if count <= MOST_LINES:
                        logger.info("%s: %s", self.name, text)
                    else:
                        self._warnings.warn("lines", f"{self.name}: {text}")
        return last

    def _report(self, reason: str) -> None:
        logger.warning("%s: %s", self.name, reason)
        if not self._reported:
            self._reported = True
            self._notices.append(reason)
