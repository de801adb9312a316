"""What is said of a source beside its events, with the times of day that its positions have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.health import HealthChange
from htsat_edge.runtime.daemon.messages import CoverageStatus, GapMessage, InputFault, InputOk, Status, format_time
from htsat_edge.runtime.daemon.progress import HOUR_S, SourceProgress
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.blocks import Gap


class SourceMessages:
    """Makes the messages of a source."""

    def __init__(self, feed: Feed, system: SystemClock, progress: SourceProgress) -> None:
        """Make messages of what this feed gives."""
        self._feed, self._system, self._progress = feed, system, progress

    def now(self) -> str | None:
        """Return the time of day as messages have it; None where the source is a recording."""
        return format_time(self._system.wall(time.monotonic())) if self._feed.live else None

    def moment(self, position_s: float) -> datetime | None:
        """Return the time of day at a position; None where it is not known."""
        if not self._feed.live:
            return None
        moment = self._feed.clock.at(position_s)
        return self._system.wall(moment) if moment == moment else None

    def time_at(self, position_s: float) -> str | None:
        """Return the time of day at a position as messages have it; None where it is not known."""
        moment = self.moment(position_s)
        return None if moment is None else format_time(moment)

    def gap(self, gap: Gap) -> GapMessage:
        """Return the message of a gap."""
        return GapMessage(
            source=self._feed.name,
            onset=round(gap.start_s, DECIMALS),
            offset=round(gap.end_s, DECIMALS),
            time=self.time_at(gap.start_s),
            reason=gap.reason,
        )

    def advance(self, until_s: float, heard: bool) -> Iterator[Status]:
        """Count time that was heard or lost; yield the coverage of each hour that is over."""
        for hour in self._progress.advance(until_s, heard):
            yield CoverageStatus(
                source=self._feed.name,
                time=self.time_at(hour.end_s),
                onset=hour.end_s - HOUR_S,
                offset=hour.end_s,
                share=round(hour.coverage.share, 6),
                gaps=hour.coverage.gaps,
            )

    def health(self, change: HealthChange) -> Status:
        """Return the message of an input fault that begins or is over."""
        source, now, problem = self._feed.name, self.time_at(self._progress.end_s), change.problem
        if change.begins:
            return InputFault(source=source, time=now, problem=problem.name, advice=problem.advice)
        return InputOk(source=source, time=now, problem=problem.name)
