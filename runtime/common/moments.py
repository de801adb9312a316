"""Moments as a person says them: yesterday, 2h, 21:30, 2026-05-01T21:30; in the device's local time."""

from __future__ import annotations

import re
import time
from datetime import datetime

from htsat_edge.runtime.common.errors import HtsatEdgeError

SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600}
DAYS = {"d": 1, "w": 7}
"""Counted by the calendar: a day ago is the same time of day, also where the clocks have changed since."""
AGO = re.compile(r"(\d{1,6}) ?(s|m|min|h|d|w)", re.ASCII)
NAMED = re.compile(r"(today|yesterday)?(?:\s*\b(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)


def read_moment(text: str, now: float) -> float:
    """Return a moment in seconds since 1970.

    Parameters
    ----------
    text
        So long ago (`90m`, `2h`, `3d`, `1w`); `now`; `today` or `yesterday`, which are midnights, also with a time of
        day; a time of day: the last that has been; or ISO 8601, local time where it names no zone.
    now
        The present moment.

    Raises
    ------
    HtsatEdgeError
        It is none of these.
    """
    words = " ".join(text.lower().split())
    try:
        if words == "now":
            return now
        if found := AGO.fullmatch(words):
            count, unit = int(found[1]), found[2]
            return now - count * SECONDS[unit] if unit in SECONDS else _shifted(now, -count * DAYS[unit])
        if words and (found := NAMED.fullmatch(words)):
            return _named(found[1], [int(number or 0) for number in found.groups()[1:]], now)
        return datetime.fromisoformat(re.sub("Z$", "+00:00", text.strip())).timestamp()
    except (ValueError, OverflowError, OSError):
        raise HtsatEdgeError(
            f"{text!r} is no time; want such as yesterday, today 06:00, 2h, 3d, 21:30 or 2026-05-01T21:30"
        ) from None


def _named(day: str | None, clock: list[int], now: float) -> float:
    """Return a time of day of today or yesterday; without a day, the last that has been."""
    hour, minute, second = clock
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError
    moment = _shifted(now, -1 if day == "yesterday" else 0, (hour, minute, second))
    return moment if day is not None or moment <= now else _shifted(now, -1, (hour, minute, second))


def _shifted(now: float, days: int, clock: tuple[int, int, int] | None = None) -> float:
    """Return a moment some days of the calendar on, at the same time of day or another one."""
    there = time.localtime(now)
    hour, minute, second = clock or there[3:6]
    # What is no day of the month is carried over, and whether clocks are set forward then is looked up.
    return time.mktime((there.tm_year, there.tm_mon, there.tm_mday + days, hour, minute, second, 0, 0, -1))
