"""What a journal keeps of a recording, and how it lies in the database."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime, timezone, tzinfo
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from htsat_edge.runtime.archive.recorded import with_zone
from htsat_edge.runtime.archive.records import FoundEvent, FoundInRecording, Origin, Quality, Span, SpanScores
from htsat_edge.runtime.common.text import visible

WAITING, DONE, FAILED, AWAY = 0, 1, 2, 3
"""State of a file; AWAY: heard in part, but not found by the last walk."""
TABLES = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    # `found` is a FoundInRecording without events, as JSON; beside it is what is asked for by SQL.
    """CREATE TABLE files (
        id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        walk INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, failure TEXT NOT NULL DEFAULT '', found TEXT,
        duration_s REAL, start_s REAL, zoned INTEGER, recorder TEXT, events INTEGER NOT NULL DEFAULT 0
    )""",
    "CREATE INDEX todo_by_path ON files (path) WHERE state = 0",
    "CREATE INDEX todo_by_time ON files (mtime_ns DESC, path) WHERE state = 0",
    """CREATE TABLE events (
        file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE, number INTEGER NOT NULL, channel INTEGER NOT NULL,
        label TEXT NOT NULL, onset REAL NOT NULL, offset REAL NOT NULL, score REAL NOT NULL,
        PRIMARY KEY (file, number)
    ) WITHOUT ROWID""",
    """CREATE TABLE spans (
        file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE, number INTEGER NOT NULL, head TEXT NOT NULL,
        packed BLOB NOT NULL, PRIMARY KEY (file, number)
    )""",
    "CREATE TABLE unreadable (path BLOB PRIMARY KEY, reason TEXT NOT NULL, walk INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE written (
        name BLOB NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
        PRIMARY KEY (name, sha256)
    ) WITHOUT ROWID""",
)


LONGEST_S = 1e10
"""No recording is longer; what a row says beyond is damage."""


class KeptEvent(NamedTuple):
    """A sound in a recording, as tables have it."""

    channel: int
    """From 1 on; 0: of all."""
    label: str
    onset: float
    offset: float
    """Both in seconds of the recording; an offset lies behind its end where the event goes on in another one."""
    score: float
    """Peak, 0 to 1."""
    end: Path | None = None
    """The recording in which it ends, where that is another one."""


class KeptRecording(NamedTuple):
    """A recording that has been heard."""

    path: Path
    relative: PurePath
    """For files of its own among the results."""
    size: int
    """Bytes."""
    found: FoundInRecording
    """With the events of this recording alone."""
    events: tuple[KeptEvent, ...]
    """Those that begin in it."""


def found_as_text(found: FoundInRecording) -> str:
    """Return what was found in a recording, without its events, as JSON."""
    plain = dataclasses.asdict(dataclasses.replace(found, events=()))
    start = found.origin.start
    plain["origin"]["start"] = start and start.isoformat()
    plain["origin"]["recorder"] = visible(found.origin.recorder)
    plain["failure"] = visible(found.failure)
    return json.dumps(plain)


def found_of_text(text: str, events: Sequence[FoundEvent], zone: tzinfo | None = None) -> FoundInRecording:
    """Return what was found in a recording, with its events; a time that names no zone gets this one."""
    plain: dict[str, Any] = json.loads(text)
    origin = plain["origin"]
    origin["start"] = origin["start"] and with_zone(datetime.fromisoformat(origin["start"]), zone)
    plain |= {"origin": Origin(**origin), "quality": Quality(**plain["quality"]), "events": tuple(events)}
    found = FoundInRecording(**plain)
    if not 0 <= found.duration_s <= LONGEST_S:
        raise ValueError("a recording that cannot be")
    return found


def event_of_row(row: tuple[Any, ...]) -> FoundEvent:
    """Return an event; raise a ValueError or a TypeError where a row cannot be one."""
    channel, label, onset, offset, score = row
    event = FoundEvent(int(channel), str(label), float(onset), float(offset), float(score))
    if not 0 <= event.onset <= event.offset <= LONGEST_S or not 0 <= event.score <= 1:
        raise ValueError("an event that cannot be")
    return event


def seconds_of(start: datetime | None) -> float | None:
    """Return a time as seconds since 1970; one without a zone as if it were UTC."""
    return None if start is None else (start if start.tzinfo else start.replace(tzinfo=timezone.utc)).timestamp()


def scores_as_row(scores: SpanScores) -> tuple[str, bytes]:
    """Return the scores of a span as JSON of everything but the path and the scores, and these one behind the other."""
    head = {field.name: getattr(scores, field.name) for field in dataclasses.fields(scores) if field.name != "packed"}
    head["span"] = {name: value for name, value in dataclasses.asdict(scores.span).items() if name != "path"}
    head["quality"] = dataclasses.asdict(scores.quality)
    head["failure"] = visible(scores.failure)
    head["lengths"] = [len(packed) for packed in scores.packed]
    return json.dumps(head), b"".join(scores.packed)


def scores_of_row(path: Path, head: str, packed: bytes) -> SpanScores:
    """Return the scores of a span of a recording."""
    plain: dict[str, Any] = json.loads(head)
    pieces, at = [], 0
    for length in plain.pop("lengths"):
        pieces.append(packed[at : at + length])
        at += length
    span, quality = Span(path, **plain.pop("span")), Quality(**plain.pop("quality"))
    return SpanScores(span=span, quality=quality, packed=tuple(pieces), **plain)
