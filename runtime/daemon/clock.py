"""Compute when a sample was recorded: positions are counted, and times of day are derived from them."""

from __future__ import annotations

import math
import time
from datetime import datetime, timezone

WINDOW_S = 60.0
"""How long samples are watched for the one that came with the least delay."""
CLOCK_SET = 1_735_689_600.0
"""2025, in seconds since 1970: a time of day before that is of a clock that was never set."""
MOST_SLOPE = 500e-6
"""Crystals are off by less: where lateness changes faster, samples were lost, or delays have changed."""
STEADY = 3
"""Windows between which lateness changes by the same, however fast: samples come at another rate than was declared."""
EARLY_S = 0.1
"""By so much before it is known to have been recorded, no sample can arrive."""
STEP_S = 0.5
"""A change of the system's clock that is no slewing."""


class SourceClock:
    """Monotonic times of a source's samples, and how far its rate is from the nominal one.

    Samples arrive late by a delay that varies. The one that was the least late in a minute shows where the source's
    clock stands, and two such minutes show its drift. A step, of samples that were lost without a word or came over
    another way, is no drift; a rate that was declared wrong is one. All times are seconds that the caller reads off a
    clock.
    """

    def __init__(self) -> None:
        self._begun = self._least = self._least_at = math.nan
        self._anchor: tuple[float, float] | None = None
        """A position, and how late it was."""
        self._last: tuple[float, float] | None = None
        """The middle of the last window, and the least lateness in it."""
        self._slope = self._last_slope = 0.0
        self._steady = 0

    def observe(self, position_s: float, monotonic_s: float) -> None:
        """Take note that samples up to this position have arrived by now."""
        late = monotonic_s - position_s
        if math.isnan(self._begun):
            self._begin(position_s, late)
        if late < self._least:
            self._least, self._least_at = late, position_s
        if self._anchor is not None and monotonic_s < self.at(position_s) - EARLY_S:
            self._anchor = (position_s, late)
        if position_s - self._begun >= WINDOW_S:
            middle = (self._begun + position_s) / 2
            if self._last is not None:
                self._compare((self._least - self._last[1]) / (middle - self._last[0]))
            self._last = (middle, self._least)
            self._anchor = (self._least_at if abs(self._slope) > MOST_SLOPE else middle, self._least)
            self._begin(position_s, late)

    def _begin(self, position_s: float, late: float) -> None:
        self._begun = self._least_at = position_s
        self._least = late

    def _compare(self, slope: float) -> None:
        """Take the slope from the last window to this one, unless it is that of a step."""
        self._steady = self._steady + 1 if abs(slope - self._last_slope) <= 2 * MOST_SLOPE else 1
        self._last_slope = slope
        if abs(slope) <= MOST_SLOPE or self._steady >= STEADY:
            self._slope = slope

    def at(self, position_s: float) -> float:
        """Return the monotonic time at which the sample at a position was recorded; NaN before the first."""
        if self._anchor is None:
            return position_s + self._least
        middle, least = self._anchor
        return position_s + least + self._slope * (position_s - middle)

    @property
    def drift_ppm(self) -> float:
        """How much slower than its declared rate the source is, in millionths; 0 until it is known."""
        return 1e6 * self._slope


class SystemClock:
    """The system's time of day beside its monotonic clock; it may be set, which moves no event that began before."""

    def __init__(self, wall_s: float, monotonic_s: float) -> None:
        self._offset = wall_s - monotonic_s

    def update(self, wall_s: float, monotonic_s: float) -> float:
        """Compare both clocks; return by how many seconds the time of day was set, 0 where it was not."""
        offset = wall_s - monotonic_s
        moved, self._offset = offset - self._offset, offset
        return moved if abs(moved) >= STEP_S else 0.0

    def wall(self, monotonic_s: float) -> datetime:
        """Return the time of day, in UTC."""
        return datetime.fromtimestamp(monotonic_s + self._offset, timezone.utc)


def clock_offset() -> float:
    """Return what the time of day is ahead of the time since the start of the system, in seconds.

    It changes when the clock is set, and not while the system sleeps, where it has a clock that goes on.
    """
    running = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() - (time.monotonic() if running is None else time.clock_gettime(running))
