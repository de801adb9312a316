"""Time a piece of work."""

from __future__ import annotations

import time
from collections.abc import Callable


def time_calls(call: Callable[[], object], runs: int, warm_up: int = 0) -> list[float]:
    """Return the seconds that each of `runs` calls took, after `warm_up` calls that are not counted."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return seconds
