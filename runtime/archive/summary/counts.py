"""Count what was heard by class, hour, day and folder, in one pass over the recordings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.archive.formats import moment_at
from htsat_edge.runtime.archive.journal import KeptEvent, KeptRecording
from htsat_edge.runtime.archive.records import FoundInRecording

MOST_PERIODS = 31
"""Columns of a table over time."""
CLIPPED_SHARE = 0.001
"""From this share of samples at full scale on, a recording counts as clipped."""
SHORTEST_S = 0.001
"""Less than this of an hour is an error of rounding."""


class BestEvent(NamedTuple):
    """The event of a class with the highest score; of several the first by path, channel and onset."""

    event: KeptEvent
    path: Path
    time: datetime | None
    """Time of day of its onset."""


@dataclass
class LabelCounts:
    """Of a class."""

    best: BestEvent
    events: int = 0
    by_hour: Counter[int] = field(default_factory=Counter)
    """Of the day, 0 to 23, on the recorder's own clock."""
    by_day: Counter[date] = field(default_factory=Counter)


@dataclass
class FolderCounts:
    """Of the recordings that lie in a folder itself."""

    recordings: int = 0
    seconds: float = 0.0
    faulty: int = 0
    failed: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, other: FolderCounts) -> None:
        """Add another folder's."""
        self.recordings += other.recordings
        self.seconds += other.seconds
        self.faulty += other.faulty
        self.failed += other.failed
        self.labels.update(other.labels)


@dataclass
class FaultCounts:
    """Of one fault."""

    worst: Path
    """Where it is most so."""
    recordings: int = 0
    degree: float = 0.0
    """Of that one: seconds, a share or a number."""


class ArchiveCounts:
    """What the page shows. Memory grows with classes, days and folders, not with recordings and events."""

    def __init__(self) -> None:
        self.whole = FolderCounts()
        """Of all folders together."""
        self.undated = 0
        """Recordings that do not say when they began."""
        self.failures: list[tuple[Path, str]] = []
        """The first of those that could not be heard, with the reason."""
        self.labels: dict[str, LabelCounts] = {}
        self.folders: dict[str, FolderCounts] = {}
        self.faults: dict[str, FaultCounts] = {}
        """Those that there are: damaged, clipped, silent, dropouts."""
        self.recorded: dict[tuple[date, int], float] = {}
        """Seconds of each day and hour, on the recorder's own clock."""

    @property
    def events(self) -> int:
        """Of all classes."""
        return sum(label.events for label in self.labels.values())

    def add(self, recording: KeptRecording) -> None:
        """Count a recording that was heard, at least in part."""
        path, found = recording.path, recording.found
        counts = FolderCounts(1, found.duration_s, self._count_faults(path, found))
        for event in recording.events:
            self._count_event(path, event, found.origin.start)
            counts.labels[event.label] += 1
        self._add_folder(path, counts)
        if found.origin.start is None:
            self.undated += 1
        else:
            for time, seconds in hours_of(found.origin.start, found.duration_s):
                key = time.date(), time.hour
                self.recorded[key] = self.recorded.get(key, 0.0) + seconds

    def add_failed(self, path: Path, reason: str, shown: int) -> None:
        """Count a recording that could not be heard; of the first `shown` the reason is kept."""
        self._add_folder(path, FolderCounts(failed=1))
        if len(self.failures) < shown:
            self.failures.append((path, reason))

    def by_frequency(self) -> list[tuple[str, LabelCounts]]:
        """Return the classes, those with most events first."""
        return sorted(self.labels.items(), key=lambda item: (-item[1].events, item[0]))

    def _add_folder(self, path: Path, counts: FolderCounts) -> None:
        self.whole.add(counts)
        self.folders.setdefault(str(path.parent), FolderCounts()).add(counts)

    def _count_faults(self, path: Path, found: FoundInRecording) -> int:
        """Return 1 where a recording has any fault, else 0."""
        quality = found.quality
        clipped = quality.clipped / max(1, quality.samples)
        degrees = {
            "damaged": float(bool(found.failure)),
            "clipped": clipped if clipped >= CLIPPED_SHARE else 0.0,
            "silent": quality.silent_s,
            "dropouts": float(quality.dropouts),
        }
        for name, degree in degrees.items():
            if degree > 0:
                fault = self.faults.setdefault(name, FaultCounts(path))
                fault.recordings += 1
                if degree > fault.degree:
                    fault.worst, fault.degree = path, degree
        return int(any(degrees.values()))

    def _count_event(self, path: Path, event: KeptEvent, start: datetime | None) -> None:
        time = None if start is None else moment_at(start, event.onset)
        best = BestEvent(event, path, time)
        counts = self.labels.get(event.label)
        if counts is None:
            counts = self.labels[event.label] = LabelCounts(best)
        elif event.score >= counts.best.event.score and _order(best) < _order(counts.best):
            counts.best = best
        counts.events += 1
        if time is not None:
            counts.by_hour[time.hour] += 1
            counts.by_day[time.date()] += 1


def _order(best: BestEvent) -> tuple[float, bytes, int, float]:
    return -best.event.score, os.fsencode(best.path), best.event.channel, best.event.onset


def hours_of(start: datetime, seconds: float) -> Iterator[tuple[datetime, float]]:
    """Yield times in each hour of the clock in which a recording of so many seconds lies, with its seconds there."""
    done = 0.0
    while done < seconds:
        time = moment_at(start, done)
        left_in_hour = 3600 - 60 * time.minute - time.second - time.microsecond / 1e6
        inside = min(seconds - done, left_in_hour)
        if inside >= SHORTEST_S:
            yield time, inside
        done += inside


@dataclass(frozen=True)
class Periods:
    """How days are put together, so that a table over time stays readable."""

    unit: str
    """day, week, month or year."""
    names: tuple[str, ...]
    """Those in which anything was recorded, in order."""

    def name(self, day: date) -> str:
        """Return the period that a day lies in, as ISO 8601 writes it."""
        return _name(self.unit, day)


def _name(unit: str, day: date) -> str:
    if unit == "week":
        year, week, _ = day.isocalendar()
        return f"{year:04}-W{week:02}"
    return day.isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]


def find_periods(counts: ArchiveCounts) -> Periods:
    """Return the shortest periods of which a table has room for all; years, where there is room for none."""
    days = {day for day, _ in counts.recorded}
    found = Periods("day", ())
    for unit in ("day", "week", "month", "year"):
        found = Periods(unit, tuple(sorted({_name(unit, day) for day in days})))
        if len(found.names) <= MOST_PERIODS:
            break
    return found
