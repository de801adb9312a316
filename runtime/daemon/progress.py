"""How far a source has come: what outlives a session, so that the next one goes on where it has ended."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from htsat_edge.runtime.daemon.coverage import Coverage
from htsat_edge.runtime.daemon.health import HealthMonitor

HOUR_S = 3600.0


class Hour(NamedTuple):
    """An hour of a source that is over."""

    end_s: float
    coverage: Coverage


@dataclass
class SourceProgress:
    """How far a source has come, how much of it was heard, and what is wrong with it."""

    end_s: float = 0.0
    """Up to where it was heard or lost, in seconds since it began."""
    coverage: Coverage = field(default_factory=Coverage)
    """Of the present hour."""
    all_time: Coverage = field(default_factory=Coverage)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Numbers of its events."""
    events: Counter[str] = field(default_factory=Counter)
    """How many of each class were reported."""
    monitor: HealthMonitor | None = None
    """What looks for input faults."""
    failure: str | None = None
    """Why detection does not work at present."""
    paused_s: float | None = None
    """Since when it is not listened to, in seconds since it began, because somebody has asked for it."""
    _hour_s: float = HOUR_S
    """When the present hour is over."""

    def begin_pause(self) -> None:
        """Take note that it is not listened to from now on, which is one gap."""
        self.paused_s = self.end_s
        for coverage in (self.coverage, self.all_time):
            coverage.gaps += 1

    def advance(self, until_s: float, heard: bool) -> Iterator[Hour]:
        """Count time that was heard or lost; yield each hour that is over."""
        while self.end_s < until_s:
            part_s = min(until_s, self._hour_s) - self.end_s
            for coverage in (self.coverage, self.all_time):
                coverage.add(part_s, heard)
            if until_s < self._hour_s:
                self.end_s = until_s
                return
            self.end_s = self._hour_s
            yield Hour(self.end_s, self.coverage)
            self._hour_s += HOUR_S
            self.coverage = Coverage()
