"""Names of clips: when something sounded in local time, where, and what; and the way back, to the time of a clip."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import soundfile

from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.dsp.events import Event, EventStart

NAME = re.compile(
    r"((?P<day>\d{8}T\d{6})((?P<part>\.\d{3})(?P<zone>[+-]\d{4}))?|(?P<position>\d{7,}\.\d\d))"
    r"_(?P<source>[A-Za-z0-9-]+)_(?P<label>[A-Za-z0-9-]+)(_\d+)?\.(flac|wav)",
    re.ASCII,
)
"""Of clips; older ones are in UTC, of whole seconds."""
LONGEST = 40
"""Letters of a source or a label."""


@dataclass(frozen=True)
class ClipName:
    """What the name of a clip says of its event."""

    source: str
    label: str
    """Both as `plain` writes them."""
    time: datetime | None
    """Time of day of the onset; None where the source had none."""
    onset: float | None
    """Seconds since the source began; None where there is a time of day."""


class ClipNamer:
    """Gives events the name of their clip; an end has that of its start, whose onset may have been another."""

    def __init__(self, kind: str) -> None:
        """Name clips of a kind, flac or wav."""
        self._kind = kind
        self._names: dict[int, str] = {}
        """Of events that go on."""

    def name(self, event: Event) -> Event:
        """Return the next event with the name of its clip."""
        if isinstance(event, EventStart):
            name = self._names[event.id] = f"{clip_stem(event)}.{self._kind}"
            return event.model_copy(update={"clip": name})
        return event.model_copy(update={"clip": self._names.pop(event.id, None)})


def clip_stem(start: Event) -> str:
    """Return the name of an event's clip without its suffix; `start` is its beginning."""
    when = f"{start.onset:010.2f}" if start.time is None else local_text(datetime.fromisoformat(start.time))
    return f"{when}_{plain(start.source)}_{plain(start.label)}"


def local_text(moment: datetime) -> str:
    """Return a moment as names have it, in local time: 20261127T172408.320+0100."""
    local = moment.astimezone()
    return f"{local:%Y%m%dT%H%M%S}.{local.microsecond // 1000:03d}{local:%z}"


def plain(text: str) -> str:
    """Return a text as it may stand in the name of a file; where letters are lost, with a mark of all that it was.

    Two sounds of one moment, both called in Japanese, would else have one clip.
    """
    kept = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
    if text.isascii() and 0 < len(kept) <= LONGEST:
        return kept
    mark = hashlib.sha256(text.encode()).hexdigest()[:6]
    return f"{kept[: LONGEST - 7]}-{mark}".strip("-")


def parse_clip_name(name: str) -> ClipName | None:
    """Return what the name of a file says, with its suffix but without its folder; None where it is no clip's."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    day, part, zone, position = found.group("day", "part", "zone", "position")
    if day is None:
        return ClipName(found["source"], found["label"], None, float(position))
    try:
        time = datetime.strptime(f"{day}{part or '.000'}{zone or '+0000'}", "%Y%m%dT%H%M%S.%f%z")
    except ValueError:  # the 99th of a month
        return None
    return ClipName(found["source"], found["label"], time, None)


def clip_time(path: Path) -> datetime | None:
    """Return when the first sample of a clip was recorded, in UTC; None where neither the file nor its name says it.

    Clips say it in their tag `date`, whatever their name is now. An older clip only has its name, which is of the onset
    of its event: it begins `pre_roll_s` earlier at most.
    """
    with suppress(OSError, soundfile.SoundFileError, ValueError), soundfile.SoundFile(path) as file:
        if file.software.startswith(PROGRAM):
            return datetime.fromisoformat(file.date).astimezone(timezone.utc)
    named = parse_clip_name(path.name)
    return None if named is None or named.time is None else named.time.astimezone(timezone.utc)
