"""Show progress bars for long work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID, track

Item = TypeVar("Item")


def with_progress(items: Sequence[Item], task: str) -> Iterable[Item]:
    """Return the items, with a bar on a terminal."""
    console = Console(stderr=True)
    return track(items, task, console=console, transient=True) if console.is_terminal else items


class Phases:
    """A bar for each phase of work whose phases contain each other, on a terminal. No call raises."""

    def __init__(self, work: str) -> None:
        console = Console(stderr=True)
        self._work = work
        self._bars = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Phases:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, phase: str, steps: int) -> None:
        """Begin a phase of so many steps."""
        self.finish(phase)  # two may have one name
        self._tasks[phase] = self._bars.add_task(f"{self._work}: {phase}", total=steps)

    def step(self, phase: str, step: int) -> None:
        """Show that a phase is at a step."""
        if phase in self._tasks:
            self._bars.update(self._tasks[phase], completed=step)

    def finish(self, phase: str) -> None:
        """End a phase."""
        if phase in self._tasks:
            self._bars.remove_task(self._tasks.pop(phase))
