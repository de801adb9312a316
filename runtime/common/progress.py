"""Show how far long work is: bars on a terminal, a line each half minute elsewhere, as under nohup, ssh or CI."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import count
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID

from htsat_edge.runtime.common.half_minutes import EVERY_S, Clock, half_minutes_of

Item = TypeVar("Item")
ENOUGH_S = 5.0
"""Work that has lasted less says nothing of what is left: its first piece is no measure of the others."""


def with_progress(items: Sequence[Item], task: str, clock: Clock = time.monotonic) -> Iterator[Item]:
    """Yield the items, and show how many are done."""
    with progress(task, len(items), clock=clock) as show:
        for done, item in enumerate(items, 1):
            yield item
            show(done)


@contextmanager
def progress(
    task: str, total: float, in_percent: bool = False, clock: Clock = time.monotonic
) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with how much of `total` is done, as often as one likes.

    On stderr a terminal has a bar; elsewhere there are lines such as "training: 120 of 600, 3 min, about 12 min left",
    or "yard.flac: 20 %, 3 min, about 12 min left".
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(task, total, in_percent, clock)
        return
    with Progress(console=console, transient=True) as bars:
        bar = bars.add_task(escape(task), total=total)
        yield lambda done: bars.update(bar, completed=done)


@contextmanager
def waiting(task: str) -> Iterator[None]:
    """Show on stderr, where that is a terminal, what is waited for in a `with` block."""
    console = Console(stderr=True)
    with console.status(escape(task)) if console.is_terminal else nullcontext():
        yield


class _Lines:
    """A line each half minute."""

    def __init__(self, task: str, total: float, in_percent: bool, clock: Clock) -> None:
        self._task, self._total, self._in_percent, self._clock = task, total, in_percent, clock
        self._begun, self._half_minutes = clock(), half_minutes_of(clock)

    def __call__(self, done: float) -> None:
        """Print a line where the last one is half a minute ago; none at the end, where results follow."""
        if not 0 < done < self._total or not self._half_minutes.passed():
            return
        spent = self._clock() - self._begun
        share = f"{100 * done / self._total:.0f} %"
        far = share if self._in_percent else f"{done:.0f} of {self._total:.0f}"
        left = in_words(spent / done * (self._total - done))
        _say(f"{self._task}: {far}" + (f", {in_words(spent)}, about {left} left" if spent >= ENOUGH_S else ""))


def in_words(seconds: float) -> str:
    """Return a duration as one says it: 40 s, 12 min, 2 h 30 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _say(line: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads stderr any more: the work goes on
        print(line, file=sys.stderr, flush=True)


class Phases:
    """Shows work whose phases contain each other, and of which a step may take minutes. No call raises.

    A terminal has a bar for each phase; elsewhere a thread prints a line each half minute until it has `ended`. Calls
    may come from any thread.
    """

    def __init__(self, work: str, quiet: bool = False, ended: threading.Event | None = None) -> None:
        console = Console(stderr=True)
        self._work, self._lock, self._ended = work, threading.Lock(), ended or threading.Event()
        self._bars = Progress(console=console, transient=True, disable=quiet or not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._steps: dict[str, tuple[int, int]] = {}
        """By phase, from the outermost one on: the step it is at, and how many it has."""
        silent = quiet or console.is_terminal
        self._teller = None if silent else threading.Thread(target=self._tell, name="progress", daemon=True)

    def __enter__(self) -> Phases:
        self._bars.start()
        if self._teller is not None:
            self._teller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._ended.set()
        if self._teller is not None:
            self._teller.join()

    def start(self, phase: str, steps: int) -> None:
        """Begin a phase of so many steps."""
        self.finish(phase)  # two may have one name
        with self._lock:
            self._tasks[phase] = self._bars.add_task(escape(f"{self._work}: {phase}"), total=steps)
            self._steps[phase] = (0, steps)

    def step(self, phase: str, step: int) -> None:
        """Show that a phase is at a step."""
        with self._lock:
            if phase in self._tasks:
                self._bars.update(self._tasks[phase], completed=step)
                self._steps[phase] = (step, self._steps[phase][1])

    def finish(self, phase: str) -> None:
        """End a phase."""
        with self._lock:
            if phase in self._tasks:
                self._bars.remove_task(self._tasks.pop(phase))
                del self._steps[phase]

    def _tell(self) -> None:
        for halves in count(1):
            if self._ended.wait(EVERY_S):
                return
            with self._lock:
                inner = [f"{phase}, {at} of {steps}" for phase, (at, steps) in self._steps.items()][-1:]
            _say(": ".join([f"{self._work}, {in_words(halves * EVERY_S)}", *inner]))
