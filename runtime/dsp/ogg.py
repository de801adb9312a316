"""Check whether an Ogg file is whole, by the headers of its pages (RFC 3533, section 6).

Decoders play what there is, and of several streams joined only the first.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import NamedTuple

HEADER = 27
"""Bytes of a page before its table of sizes."""
BEGINS, ENDS = 2, 4
"""Flags of the first and the last page of a stream."""


class Shape(NamedTuple):
    """The structure of an Ogg file."""

    whole: bool
    """Whether the last page is complete and marked as the last."""
    streams: int
    """Streams one after the other."""


def measure(path: Path) -> Shape | None:
    """Walk the pages of an Ogg file; return None where the file is none."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _measure(content)


def _measure(content: mmap.mmap) -> Shape:
    at = streams = 0
    flags = ENDS
    while at < len(content):
        header = content[at : at + HEADER]
        sizes = content[at + HEADER : at + HEADER + header[-1]] if len(header) == HEADER else b""
        end = at + HEADER + len(sizes) + sum(sizes)
        if header[:4] != b"OggS" or len(header) < HEADER or len(sizes) < header[-1] or end > len(content):
            return Shape(False, streams)
        # Streams that play together begin together; one that begins after sound was joined on.
        streams += bool(header[5] & BEGINS and flags & ENDS)
        flags, at = header[5], end
    return Shape(bool(flags & ENDS), streams)
