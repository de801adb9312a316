"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def with_progress(items: Sequence[Item], task: str) -> Iterable[Item]:
    """The items, with a bar on a terminal."""
    console = Console(stderr=True)
    return track(items, task, console=console, transient=True) if console.is_terminal else items
