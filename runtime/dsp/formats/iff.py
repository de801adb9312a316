"""Find the samples of an AIFF, CAF or AU whose header promises fewer than are there, or more.

A header is written before the samples. It is wrong where the writer was killed, its field was too small, or the file is
a copy that broke off. Sizes are big-endian, and chunks of metadata may follow the samples, but for AU.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.dsp.formats.content import BLOCK, Content, is_chunk_name
from htsat_edge.runtime.dsp.formats.splice import Mended, all_read


class Layout(NamedTuple):
    """How a file is made of chunks."""

    first: int
    """Where the first begins."""
    width: int
    """Bytes of a size."""
    name: bytes
    """Of the chunk with the samples."""
    before: int
    """Bytes in that chunk before the samples."""


LAYOUTS = {b"FORM": Layout(12, 4, b"SSND", 8), b"caff": Layout(8, 8, b"data", 4)}
"""By the first bytes: AIFF (and AIFC), CAF."""
AU, AU_SIZE = b".snd", slice(8, 12)
"""How an AU begins, and where the size of its samples stands; where they begin stands before that."""


def mend(path: Path) -> Mended | None:
    """Return how to read all samples of an AIFF, CAF or AU; None where its header is right about them."""
    with Content(path) as content:
        kind = content[:4]
        if kind == AU and len(content) >= AU_SIZE.stop:
            start = int.from_bytes(content[4:8], "big")
            return _mend(content, AU_SIZE, max(start, AU_SIZE.stop), 0)
        layout = LAYOUTS.get(kind)
        at = None if layout is None else _find(content, layout)
        if layout is None or at is None:
            return None
        start = at + 4 + layout.width
        declared = int.from_bytes(content[at + 4 : start], "big")
        if _is_chunk(content, start + declared + declared % 2 * (layout.width == 4), layout):
            return None
        return _mend(content, slice(at + 4, start), start, layout.before)


def _mend(content: Content, field: slice, start: int, before: int) -> Mended | None:
    """Return how to read what follows `start` to its end, where the size in this field is another."""
    there, declared = len(content) - start, int.from_bytes(content[field], "big")
    rest = there - declared
    width = field.stop - field.start
    to_end = (1 << 8 * width) - 1
    if rest in (0, 1) or there <= before or declared == to_end:
        return None
    if 0 < rest < BLOCK and not content[start + declared :].strip(b"\0"):
        return None  # zeros fill the last block of a disk
    size = min(there, to_end)
    head = content[: field.start] + size.to_bytes(width, "big") + content[field.stop : start]
    claim = f"claims {max(0, declared - before)} bytes of samples, but {there - before} are there"
    note = all_read(claim)
    return Mended(head, start, len(content), note, declared <= before, rest < -start)


def _find(content: Content, layout: Layout) -> int | None:
    """Return where the chunk with the samples begins."""
    at = layout.first
    while at + 4 + layout.width <= len(content):
        if content[at : at + 4] == layout.name:
            return at
        at = _after(content, at, layout)
    return None


def _is_chunk(content: Content, at: int, layout: Layout) -> bool:
    """Return whether a chunk of metadata stands here, complete."""
    named = is_chunk_name(content[at : at + 4])
    return named and at + 4 + layout.width <= len(content) and _after(content, at, layout) <= len(content) + 1


def _after(content: Content, at: int, layout: Layout) -> int:
    """Return where the chunk after this one begins; those of AIFF are padded to an even length."""
    size = int.from_bytes(content[at + 4 : at + 4 + layout.width], "big")
    return at + 4 + layout.width + size + (size % 2 if layout.width == 4 else 0)
