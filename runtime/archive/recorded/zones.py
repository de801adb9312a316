"""Times as recorders write them, and the zones of those that name none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible

OFFSET = re.compile(r"(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?", re.ASCII)
QUARTERS = (0, 15, 30, 45)
"""Minutes of the offsets that there are."""
FARTHEST_H = 14
"""Of the offsets that there are, in hours."""
MOMENT = re.compile(
    r"(?P<year>\d{4})([-_:./ ]?)(?P<month>\d\d)\2(?P<day>\d\d)[T_ ]+"
    r"(?P<hour>\d\d)([-_:. ]?)(?P<minute>\d\d)(?:\6(?P<second>\d\d))?(?:[.,](?P<part>\d{1,9}))?"
    r"\s*(?P<zone>(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|Z|UTC)?",
    re.ASCII,
)
"""ISO 8601, and its relatives in headers."""
FIRST_YEAR, LAST_YEAR = 1900, 2199
UNSET = ((1970, 1, 1), (1980, 1, 1))
"""Days on which clocks begin that were never set."""


class DeviceZone(tzinfo):
    """The zone that this device is set to, with its changes."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset at a moment."""
        return None if moment is None else moment.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, _: datetime | None) -> None:
        """Do not tell how much of it is summer time."""

    def tzname(self, _: datetime | None) -> str:
        """Return how it is called here."""
        return "local"


def parse_zone(text: str) -> tzinfo:
    """Return the zone that an option names.

    Parameters
    ----------
    text
        A name of the IANA's list, such as Europe/Berlin; `UTC`; `local`, which is that of this device; or an offset,
        such as +02:00, UTC-5 or +0530.

    Raises
    ------
    HtsatEdgeError
        There is no such zone.
    """
    wanted = text.strip()
    if wanted.lower() == "local":
        return DeviceZone()
    if (offset := parse_offset(wanted)) is not None:
        return offset
    try:
        return ZoneInfo(wanted)
    except (KeyError, ValueError, OSError):  # no such name; none that could be one; a folder of names
        raise HtsatEdgeError(
            f"{visible(text)!r} is no time zone; want a name such as Europe/Berlin, an offset such as +02:00 or UTC-5, "
            "or local"
        ) from None


def parse_offset(text: str) -> timezone | None:
    """Return a zone that is the same all year, such as Z, +02:00 or UTC-5; None where the text names none."""
    if text.upper() in ("Z", "UTC", "GMT"):
        return timezone.utc
    found = OFFSET.fullmatch(text.upper())
    if found is None:
        return None
    hours, minutes = int(found["hours"]), int(found["minutes"] or 0)
    if minutes not in QUARTERS or 60 * hours + minutes > 60 * FARTHEST_H:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if found["sign"] == "-" else offset)


def parse_moment(text: str) -> datetime | None:
    """Return the date and time that a text begins with, with a zone where it names one; None where it is none."""
    found = MOMENT.match(text.strip())
    return None if found is None else build_moment(found.groupdict())


def build_moment(parts: Mapping[str, str | None]) -> datetime | None:
    """Return a moment from texts called year, month, day, hour, minute, second, part (of a second) and zone.

    Return None where the calendar has no such day, the clock no such time, or the clock was never set. The last three
    may be missing.
    """
    year, month, day, hour, minute, second = (
        int(parts.get(name) or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    part = int((parts.get("part") or "0").ljust(6, "0")[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, part, parse_offset(parts.get("zone") or ""))
    except ValueError:
        return None
    credible = FIRST_YEAR <= moment.year <= LAST_YEAR and (moment.year, moment.month, moment.day) not in UNSET
    return moment if credible else None


def with_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """Return a moment with the zone that it was without, as a fixed offset; one that has a zone keeps it.

    Where the clocks are set back, a time comes twice: the first is meant. Where they are set forward, a time does not
    come at all: the recorder's clock was not set yet.
    """
    offset = (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).utcoffset()
    return moment if offset is None else moment.replace(tzinfo=timezone(offset))
