"""What all formats are written from: a recording, and its events."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, NamedTuple

from htsat_edge.runtime.archive.journal.rows import KeptEvent
from htsat_edge.runtime.archive.records import FoundInRecording, Quality
from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.common.urls import whole_url


class TableEvent(NamedTuple):
    """An event: a row of a table. Its fields are the columns, in their order."""

    file: str
    """The recording, as `shown_path` has it."""
    channel: int
    """From 1 on; 0: of all."""
    label: str
    onset: float
    offset: float
    """Both in seconds of the recording; an offset lies behind its end where the event goes on in another one."""
    score: float
    """Peak, 0 to 1."""
    time: str = ""
    """Time of day of the onset, ISO 8601, with its offset from UTC where that is known; empty where it is not."""
    end_file: str = ""
    """The recording in which it ends, where that is another one."""


class TableFile(NamedTuple):
    """A recording: a row of a table. Its fields are the columns, in their order; None where something is unknown."""

    file: str
    """As `shown_path` has it."""
    duration: float
    """Seconds that could be read."""
    sample_rate: int
    """In Hz."""
    channels: int
    start: str = ""
    """Time of day of the first sample, as `TableEvent.time`."""
    start_from: str = ""
    """What says so: option, guano, audiomoth …"""
    latitude: float | None = None
    longitude: float | None = None
    """Degrees, WGS 84."""
    recorder: str = ""
    """Make, model or serial number."""
    level_dbfs: float | None = None
    """Of all samples; None where there is nothing but zeros."""
    peak_dbfs: float | None = None
    clipped_percent: float | None = None
    """Samples at full scale."""
    silent_s: float | None = None
    """Seconds without any change."""
    dropouts: int | None = None
    """Times at which samples were lost, and replaced."""
    events: int = 0
    failure: str = ""
    """Why no more of it could be read."""


class FileEvents(NamedTuple):
    """A recording with its events, in the order of their onsets."""

    file: TableFile
    events: Iterable[TableEvent]


@dataclass(frozen=True)
class Format:
    """A form in which events are written. Texts are UTF-8."""

    summary: str
    """For a list of the formats."""
    file_name: str
    """Of the table with all recordings, such as `events.csv`; where each has a file, how that is named behind its own
    stem, such as `.TextGrid`."""
    write: Callable[[IO[bytes], Iterable[FileEvents], bool], None]
    """Write recordings to a stream, as they come; the last says whether events have ended in other recordings, and so a
    column for that is wanted. Without `joins` they may not. Where each recording has a file, this takes one."""
    write_files: Callable[[IO[bytes], Iterable[TableFile]], None] | None = None
    """Write a table of the recordings; None where the format has none."""
    files_name: str = ""
    """Of that table, such as `files.csv`."""
    each: bool = False
    """Whether each recording has a file of its own."""
    all_name: str = ""
    """Of a table with all recordings that is written beside those; empty where the format has none."""
    joins: bool = False
    """Whether an event may end in another recording than it began; the others want those of each recording alone."""
    is_text: bool = True
    """Whether a terminal can show it."""
    require: Callable[[], None] = lambda: None
    """Raise an HtsatEdgeError where a library is missing; to be called before any work is done."""


def shown_path(path: Path) -> str:
    r"""Return a path as tables have it: what is no UTF-8 as \xe9, and a URL with the slash that a path takes away."""
    return whole_url(os.fsencode(path).decode("utf-8", "backslashreplace"))


def time_at(start: datetime | None, seconds: float) -> str:
    """Return the time of day so many seconds after the beginning, as tables have it; nothing where that is unknown."""
    return "" if start is None else format_time(moment_at(start, seconds))


def moment_at(start: datetime, seconds: float) -> datetime:
    """Return the time of day so many seconds after the beginning.

    In a zone it is counted by real seconds, also where clocks are changed meanwhile.
    """
    if start.tzinfo is None:
        return start + timedelta(seconds=seconds)
    return (start.astimezone(timezone.utc) + timedelta(seconds=seconds)).astimezone(start.tzinfo)


def rows_of(path: Path, found: FoundInRecording, events: Sequence[KeptEvent]) -> FileEvents:
    """Return a recording, and those events that begin in it, as rows of tables."""
    file, start = shown_path(path), found.origin.start
    rows = [
        TableEvent(
            file,
            event.channel,
            event.label,
            event.onset,
            event.offset,
            event.score,
            time_at(start, event.onset),
            shown_path(event.end) if event.end else "",
        )
        for event in events
    ]
    return FileEvents(file_row(path, found), rows)


def file_row(path: Path, found: FoundInRecording) -> TableFile:
    """Return a recording as a row of a table."""
    origin, quality = found.origin, found.quality
    return TableFile(
        shown_path(path),
        round(found.duration_s, 3),
        found.sample_rate,
        found.channels,
        time_at(origin.start, 0.0),
        origin.said_by,
        origin.latitude,
        origin.longitude,
        origin.recorder,
        _level_dbfs(quality),
        _decibels(quality.peak),
        round(100 * quality.clipped / quality.samples, 4) if quality.samples else None,
        round(quality.silent_s, 2),
        quality.dropouts,
        len(found.events),  # also those that began in the one before: something sounds
        found.failure,
    )


def _level_dbfs(quality: Quality) -> float | None:
    return _decibels(math.sqrt(quality.power / quality.samples)) if quality.samples else None


def _decibels(amplitude: float) -> float | None:
    """Return an amplitude in dB below full scale; None for none."""
    return round(20 * math.log10(amplitude), 2) if amplitude > 0 else None
