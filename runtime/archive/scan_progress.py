"""One line that says how far a scan is: hours of audio, how fast, and how long the rest will take."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TextColumn

from htsat_edge.runtime.archive.journal import JournalTotals
from htsat_edge.runtime.common.half_minutes import Clock, half_minutes_of
from htsat_edge.runtime.common.progress import ENOUGH_S, in_words

REFRESH_S = 1.0
"""A terminal shows it as often."""


class ScanProgress:
    """Shows on stderr how far a scan is: in a line that changes on a terminal, elsewhere in one each half minute.

    Recordings differ in how many bytes a second of them has, and how long one is shows only when it has been heard: how
    much is left is judged by the bytes, and by those recordings whose length is known. A context manager.
    """

    def __init__(self, totals: JournalTotals, clock: Clock = time.monotonic) -> None:
        """Begin a run.

        Parameters
        ----------
        totals
            What earlier runs have done, and what is left.
        clock
            Returns seconds.
        """
        self._clock, self._begun, self._shown = clock, clock(), -REFRESH_S
        self._before_s, self._heard_s, self._failed = totals.seconds_done, 0.0, 0
        self._bytes = totals.bytes_done + totals.bytes_todo
        self._known_bytes, self._known_s = totals.bytes_done, totals.seconds_done
        self._expected: dict[Path, float] = {}
        """Seconds of recordings whose length is known before they are heard."""
        console = Console(stderr=True)
        self._half_minutes = None if console.is_terminal else half_minutes_of(clock)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._bar = self._bars.add_task("scan: loading the model …")

    def __enter__(self) -> ScanProgress:
        self._bars.start()
        self._bars.refresh()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @property
    def line(self) -> str:
        """Return how far it is, in one line."""
        so_far, spent = self._before_s + self._heard_s, self._clock() - self._begun
        left_s = max(self._whole_s() - so_far, 0.0)
        about = f" of about {(so_far + left_s) / 3600:.1f}" if self._known_bytes else ""
        parts = [f"{so_far / 3600:.1f}{about} h"]
        if self._heard_s > 0 and spent >= ENOUGH_S:
            speed = self._heard_s / spent
            parts.append(f"{speed:.0f} × real time")
            if about:
                parts.append(f"about {in_words(left_s / speed)} left")
        if self._failed:
            parts.append(f"{self._failed} failed")
        return f"scan: {', '.join(parts)}"

    @property
    def speed(self) -> float:
        """Return how many seconds of audio this run has heard in a second."""
        return self._heard_s / max(self._clock() - self._begun, 1e-9)

    def hear(self, seconds: float) -> None:
        """Show that so many seconds of audio are heard since the beginning of this run; call it at any time."""
        self._heard_s = seconds
        if self._half_minutes is not None:
            if self._half_minutes.passed():
                with suppress(OSError, ValueError):  # nobody reads stderr any more: the work goes on
                    print(self.line, file=sys.stderr, flush=True)
        elif self._clock() - self._shown >= REFRESH_S:
            self._shown = self._clock()
            self._bars.update(self._bar, description=self.line, refresh=True)

    def expect(self, path: Path, size: int, seconds: float, done: float = 0.0) -> None:
        """Note about how long a recording is before it has been heard; an earlier run has heard a share of it."""
        self._expected[path] = seconds
        self._know(size, seconds)
        self._before_s += done * seconds

    def finish(self, path: Path, size: int, seconds: float) -> None:
        """Note that a recording is heard, of so many bytes and seconds."""
        if self._expected.pop(path, None) is None:
            self._know(size, seconds)

    def give_up(self, path: Path, size: int) -> None:
        """Note that a recording has failed."""
        self._failed += 1
        self._bytes -= size
        if (seconds := self._expected.pop(path, None)) is not None:
            self._know(-size, -seconds)

    def _know(self, size: int, seconds: float) -> None:
        self._known_bytes += size
        self._known_s += seconds

    def _whole_s(self) -> float:
        """Return about how many seconds there are in all; 0 where that is not known."""
        return self._known_s * self._bytes / self._known_bytes if self._known_bytes else 0.0
