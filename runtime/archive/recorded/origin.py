"""Put together what a recording says of when and where it was made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, tzinfo
from pathlib import Path

from htsat_edge.runtime.archive.recorded import headers
from htsat_edge.runtime.archive.recorded.containers import FLAC, Said, read_said
from htsat_edge.runtime.archive.recorded.names import read_name
from htsat_edge.runtime.archive.recorded.zones import parse_moment, with_zone
from htsat_edge.runtime.archive.records import Origin
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.daemon.outputs.clip_names import parse_clip_name
from htsat_edge.runtime.dsp.formats.pipe import STDIN


def read_origin(path: Path, zone: tzinfo | None = None, start: datetime | None = None) -> Origin:
    """Return when and where a recording was made.

    The time, the place and the recorder are each of the first that says it: `start`, GUANO, the comment of an
    AudioMoth, WAMD, bext, a clip of ours, another tag, the name of the file.

    Parameters
    ----------
    path
        The recording. What is no file, or cannot be read, has its name only.
    zone
        Of times that name none, as `parse_zone` returns it; None: they stay without.
    start
        When it began, whatever it says itself.

    Returns
    -------
    Origin
        Its time has a fixed offset, that of the zone at that moment, or none. Whatever the file holds, nothing is
        raised; what makes no sense counts as not said.
    """
    said = [Origin(start, "option")] if start is not None else []
    with suppress(OSError, HtsatEdgeError, ValueError):  # the last of a name that holds a zero
        if path != STDIN and path.is_file():
            said += _inside(read_said(path), path.name)
    said.append(read_name(path.name))
    timed = next((one for one in said if one.start is not None), Origin())
    placed = next((one for one in said if one.latitude is not None), Origin())
    recorder = next((one.recorder for one in said if one.recorder), "")
    began = None if timed.start is None else with_zone(timed.start, zone)
    return Origin(began, timed.said_by, placed.latitude, placed.longitude, recorder)


def _inside(said: Said, name: str) -> Iterator[Origin]:
    """Yield what the file says, the most credible first."""
    chunks, tags = said.chunks, said.tags
    yield headers.read_guano(chunks.get(b"guan", b""))
    yield headers.read_sentence(tags.get("comment", ""), tags.get("artist", ""))
    # Converters keep the sentence under names that libsndfile does not know.
    yield headers.read_sentence(said.head.decode("latin-1"), tags.get("artist", ""))
    yield headers.read_wamd(chunks.get(b"wamd", b""))
    yield headers.read_bext(chunks.get(b"bext", b""))
    date = parse_moment(tags.get("date", ""))
    if tags.get("software", "").startswith(PROGRAM):
        clip = parse_clip_name(name)
        start = date or (None if clip is None else clip.time)
        yield Origin(start, "clip" if start is not None else "")
    yield Origin(date, "tag" if date is not None else "")
    if FLAC in said.head:
        yield headers.read_sensor(said.head)
