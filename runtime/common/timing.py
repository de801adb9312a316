"""Time a piece of work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


def time_calls(call: Callable[[], object], runs: int, warm_up: int = 0, most_s: float = math.inf) -> list[float]:
    """Return the seconds that each of `runs` calls took, after `warm_up` calls that are not counted.

    After `most_s` seconds none is begun; where that leaves not even one to count, the last of `warm_up` is.
    """
    seconds: list[float] = []
    while len(seconds) < warm_up + runs and sum(seconds) < most_s:
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return seconds[warm_up:] or (seconds[-1:] if runs else [])
