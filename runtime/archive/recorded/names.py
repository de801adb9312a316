"""The times and places that recorders write into the names of their files.

A name counts where its date and its time are both certain: eight digits that are a day, or ISO 8601, and a time to the
second. Counters look like times (260501_0001 of a Tascam, 260501_001 of a Zoom; both say the time in `bext`), so what
has no seconds does not count.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

from htsat_edge.runtime.archive.recorded.zones import build_moment
from htsat_edge.runtime.archive.records import Origin

FULL = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)([-_.]?)(?P<month>\d\d)\2(?P<day>\d\d)"
    r"(?:_?T|[_ $-]|-birdnet-(?:RTSP_\d+-)?)?"
    r"(?P<hour>\d\d)([-_:.]?)(?P<minute>\d\d)\6(?P<second>\d\d)(?:[.,](?P<part>\d{1,6})|_(?P<ms>\d{3}))?(?!\d)"
    r"(?:(?:_(?=[+-]))?(?P<zone>Z(?![A-Za-z])|[+-]\d\d:?\d\d(?![\d.])|\+\d\d(?![\d.])))?",
    re.ASCII,
)
"""
AudioMoth (20260501_213000), Song Meter (SITE_20260501_213000, SITE_0+1_20260501$213000, _010 of milliseconds), Echo
Meter, Frontier Labs (20260501T213000+1000_REC), Swift (SwiftOne_20260501_213000_-0400), OwlSense
(55063_2026-05-01_T21-30-00), PAMGuard, BirdNET-Pi and others.
"""
SOUNDTRAP = re.compile(
    r"(?P<serial>\d{3,10})\.(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)",
    re.ASCII,
)
"""671629352.261204100002"""
SHORT = re.compile(
    r"(?P<year>[0-4]\d)(?P<month>\d\d)(?P<day>\d\d)[-_](?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)", re.ASCII
)
"""260501_213000; the whole name, since numbers like these are everywhere."""
AUDIOMOTH = re.compile(r"[5-7][0-9A-F]{7}", re.ASCII)
"""Seconds since 1970 in hexadecimal, UTC: AudioMoths before firmware 1.3."""
AUDIOMOTH_SUFFIX = ".WAV"
"""Digits alone may be any number, so of these only names as AudioMoths write them count."""
PLACES = (
    re.compile(r"\[(?P<latitude>[+-]?\d{1,2}\.\d+)[ ,]+(?P<longitude>[+-]?\d{1,3}\.\d+)\]", re.ASCII),
    re.compile(r"_(?P<latitude>[+-]?\d{1,2}\.\d+) ?(?P<longitude>[+-]\d{1,3}\.\d+)(?![\d.])", re.ASCII),
)
"""Frontier Labs: [-27.3866 152.8761], _-18.2656+144.5564."""


def read_name(name: str) -> Origin:
    """Return what the name of a file says, with its suffix but without its folder."""
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    start, latitude, longitude = _time(stem, dot + suffix), *_place(stem)
    trap = SOUNDTRAP.fullmatch(stem)
    recorder = f"SoundTrap {trap['serial']}" if trap is not None and start is not None else ""
    return Origin(start, "name" if start is not None else "", latitude, longitude, recorder)


def read_place(latitude: str | float, longitude: str | float) -> tuple[float | None, float | None]:
    """Return degrees; None where they are none, or are 0 and 0, which receivers say that have heard no satellite."""
    try:
        place = float(latitude), float(longitude)
    except ValueError:
        return None, None
    return place if abs(place[0]) <= 90 and abs(place[1]) <= 180 and any(place) else (None, None)


def _time(stem: str, suffix: str) -> datetime | None:
    if AUDIOMOTH.fullmatch(stem) and (suffix == AUDIOMOTH_SUFFIX or not stem.isdigit()):
        return datetime.fromtimestamp(int(stem, 16), timezone.utc)
    if (short := SOUNDTRAP.fullmatch(stem) or SHORT.fullmatch(stem)) is not None:
        return build_moment(short.groupdict() | {"year": f"20{short['year']}"})
    found = (build_moment(long.groupdict() | {"part": long["part"] or long["ms"]}) for long in FULL.finditer(stem))
    return next((moment for moment in found if moment is not None), None)


def _place(stem: str) -> tuple[float | None, float | None]:
    for pattern in PLACES:
        if (found := pattern.search(stem)) is not None:
            return read_place(found["latitude"], found["longitude"])
    return None, None
