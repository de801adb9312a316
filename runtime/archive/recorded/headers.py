"""What recorders say of a recording in its header: GUANO, WAMD, bext, and AudioMoth's sentence."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from htsat_edge.runtime.archive.recorded.names import read_place
from htsat_edge.runtime.archive.recorded.zones import build_moment, parse_moment
from htsat_edge.runtime.archive.records import Origin

LONGEST = 100
"""Letters of a recorder's name."""
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
SENTENCE = re.compile(
    r"Recorded at (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:\.(?P<part>\d{1,6}))? "
    r"(?P<day>\d\d)/(?P<month>\d\d)/(?P<year>\d{4})(?: \((?P<zone>UTC(?:[+-]\d\d?(?::?\d\d)?)?)\))?"
    r"(?:.{0,40}?by (?P<recorder>AudioMoth [0-9A-F]{16}))?",
    re.ASCII,
)
"""Of all firmware; before 1.0.1 it names no zone, and with a deployment's ID no recorder."""
MODEL, SERIAL, TIME, GPS, EXPANSION = 0x01, 0x02, 0x05, 0x06, 0x0F
"""Fields of WAMD."""
ORIGINATOR, DATE, CLOCK = slice(256, 288), slice(320, 330), slice(330, 338)
"""Fields of bext (EBU Tech 3285, section 2.3)."""
SENSOR = {
    "start": re.compile(rb"RecordingStart=([\x20-\x7e]{19,40})"),
    "place": re.compile(rb"SensorLocation=([\x20-\x7e]{3,40})"),
    "serial": re.compile(rb"SensorUid=([0-9A-Za-z]{1,20})"),
}
"""Tags in FLACs of Frontier Labs."""


def read_guano(chunk: bytes) -> Origin:
    """Return what lines of `key: value` say (GUANO 1.0)."""
    lines = (line.partition(":") for line in _text(chunk.replace(b"\0", b"\n")).split("\n"))
    said = {key.strip(): value.strip() for key, colon, value in lines if colon}
    start = parse_moment(said.get("Timestamp", ""))
    recorder = _recorder(
        said.get("Make", ""), said.get("Model", ""), said.get("Serial", ""), stretch=said.get("TE", "")
    )
    numbers = NUMBER.findall(said.get("Loc Position", ""))
    return Origin(start, "guano" if start else "", *_place(*numbers[:2]), recorder)


def read_sentence(comment: str, artist: str = "") -> Origin:
    """Return what an AudioMoth says in a comment."""
    found = SENTENCE.search(comment)
    start = None if found is None else build_moment(found.groupdict())
    if found is None or start is None:
        return Origin()
    recorder = found["recorder"] or (artist if artist.startswith("AudioMoth") else "AudioMoth")
    return Origin(start, "audiomoth", recorder=_recorder(recorder))


def read_wamd(chunk: bytes) -> Origin:
    """Return what Wildlife Acoustics' fields say: two bytes of name, four of length, and a text."""
    said = dict(_wamd_fields(chunk))
    start = parse_moment(_text(said.get(TIME, b"")))
    stretch = said.get(EXPANSION, b"")
    if len(stretch) == 2 and not stretch.isdigit():
        stretch = str(int.from_bytes(stretch, "little")).encode()
    recorder = _recorder(_text(said.get(MODEL, b"")), _text(said.get(SERIAL, b"")), stretch=_text(stretch))
    return Origin(start, "wamd" if start else "", *_compass(_text(said.get(GPS, b""))), recorder)


def read_bext(chunk: bytes) -> Origin:
    """Return what a Broadcast WAV says; its times never name a zone.

    Its time reference is of a clock that may be anything, so it is left alone.
    """
    start = parse_moment(f"{_text(chunk[DATE])} {_text(chunk[CLOCK])}")
    return Origin(start, "bext" if start else "", recorder=_recorder(_text(chunk[ORIGINATOR])) if start else "")


def read_sensor(head: bytes) -> Origin:
    """Return what a recorder of Frontier Labs says in the first bytes of a FLAC."""
    said = {key: found[1].decode() for key, pattern in SENSOR.items() if (found := pattern.search(head)) is not None}
    start = parse_moment(said.get("start", ""))
    recorder = _recorder("Frontier Labs", said["serial"]) if "serial" in said else ""
    return Origin(start, "tag" if start else "", *_place(*NUMBER.findall(said.get("place", ""))[:2]), recorder)


def _wamd_fields(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 6 <= len(chunk):
        name, length = struct.unpack_from("<HI", chunk, at)
        yield name, chunk[at + 6 : at + 6 + length]
        at += 6 + length


def _compass(text: str) -> tuple[float | None, float | None]:
    """Return a place such as WGS84,52.1,N,1.2,W or, of an Echo Meter Touch, WGS84,52.1,-1.2; more may follow."""
    parts = [part.strip() for part in text.split(",")][1:]
    if len(parts) >= 4 and parts[1] in "NS" and parts[3] in "EW":
        latitude, longitude = parts[0], parts[2]
        return _place("-" * (parts[1] == "S") + latitude, "-" * (parts[3] == "W") + longitude)
    return _place(*parts[:2])


def _place(*numbers: str) -> tuple[float | None, float | None]:
    return read_place(*numbers) if len(numbers) == 2 else (None, None)


def _recorder(*parts: str, stretch: str = "") -> str:
    """Return a name in one line of what shows; of a recording that plays slower than life, with how much."""
    words = " ".join(" ".join(parts).split())
    name = "".join(letter for letter in words if letter.isprintable())[:LONGEST]
    found = NUMBER.fullmatch(stretch)
    return f"{name} (time expansion {stretch})".strip() if found is not None and float(stretch) > 1 else name


def _text(content: bytes) -> str:
    """Return a text up to the first zero, in UTF-8 or, of old programs, Latin 1."""
    content = content.partition(b"\0")[0]
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        return content.decode("latin-1").strip()
