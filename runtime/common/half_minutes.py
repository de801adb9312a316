"""How often a command says how far it is: once in half a minute, however many pieces of work it is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 30.0
"""Work that ends sooner says nothing."""
Clock = Callable[[], float]


class HalfMinutes:
    """Counts half minutes."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock, self._last = clock, clock()

    def passed(self) -> bool:
        """Return whether half a minute has passed since the last time that this was so, or since the beginning."""
        due = self._clock() - self._last >= EVERY_S
        if due:
            self._last = self._clock()
        return due


_of_command: list[HalfMinutes] = []
"""Of the commands that run, the innermost one last."""


@contextmanager
def counting_half_minutes(clock: Clock = time.monotonic) -> Iterator[None]:
    """Count half minutes over all pieces of work in a `with` block, of which each may be short."""
    _of_command.append(HalfMinutes(clock))
    try:
        yield
    finally:
        _of_command.pop()


def half_minutes_of(clock: Clock) -> HalfMinutes:
    """Return what counts for a piece of work: the command, or outside of one a new count."""
    return _of_command[-1] if _of_command else HalfMinutes(clock)
