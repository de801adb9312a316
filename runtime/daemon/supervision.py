"""Threads that outlive errors that nobody expected: each is reported, and the work is begun again."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
"""Before something is tried again, twice as long each time."""
logger = logging.getLogger(__name__)
warnings = RepeatedWarnings(logger)


def describe(error: BaseException) -> str:
    """Return an error in one line: ours and the system's as they are, others with their type and place."""
    text = " ".join(str(error).split())
    if isinstance(error, HtsatEdgeError | OSError) and text:
        return text
    return f"{type(error).__name__}{': ' if text else ''}{text}{_place(error)}"


def kind_of(error: BaseException) -> str:
    """Return what is the same for errors of one cause, whose texts may differ each time: their type and place."""
    return f"{type(error).__name__}{_place(error)}"


def _place(error: BaseException) -> str:
    places = traceback.extract_tb(error.__traceback__)
    return f" ({Path(places[-1].filename).name}:{places[-1].lineno})" if places else ""


class Backoff:
    """Pauses between tries, each twice as long as the last, without end."""

    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S

    def reset(self) -> None:
        """Begin with the shortest pause again, after a success."""
        self._pause_s = FIRST_PAUSE_S

    def wait(self, stop: threading.Event) -> None:
        """Pause until the next try, or until `stop` is set."""
        stop.wait(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)


class SupervisedThread:
    """A thread whose work is begun again, after a pause, whenever an error ends it."""

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        report: Callable[[str], None],
        stop: threading.Event,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a thread.

        Parameters
        ----------
        name
            Of the thread, for people.
        work
            Runs until it is done, or until `stop` is set.
        report
            Gets the error that has ended the work, in one line; must not fail.
        stop
            Set when the work is not to be begun again.
        finish
            Called at the end of the thread, however it ends.
        """
        self.name = name
        self._work, self._report, self._stop, self._finish = work, report, stop, finish
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin the work."""
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the end of the thread, so long at most; one that was never started has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def worked(self) -> None:
        """Note a success of the work: after the next error it is soon begun again."""
        self._backoff.reset()

    def is_alive(self) -> bool:
        """Return whether the thread was started and has not ended."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                try:
                    self._work()
                    return
                except Exception as error:
                    self._report_error(error)
                self._backoff.wait(self._stop)
                if self._stop.is_set():
                    return
        finally:
            self._finish()

    def _report_error(self, error: Exception) -> None:
        reason = describe(error)
        if not isinstance(error, HtsatEdgeError):
            warnings.warn(f"{self.name}: {kind_of(error)}", f"{self.name}: {reason}; it is begun again")
            logger.debug("%s", self.name, exc_info=error)
        self._report(reason)
