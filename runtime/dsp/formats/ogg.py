"""Check whether an Ogg file is whole, by the headers of its pages (RFC 3533, section 6).

Decoders play what there is, and of several streams joined only the first. libsndfile decodes Opus at the rate of what
was encoded, and loses the upper octave where that was 32 kHz.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.dsp.formats.content import Content
from htsat_edge.runtime.dsp.formats.crc import Crc
from htsat_edge.runtime.dsp.formats.splice import Mended

HEADER = 27
"""Bytes of a page before its table of sizes."""
BEGINS, ENDS = 2, 4
"""Flags of the first and the last page of a stream."""
CHECKSUM = slice(22, 26)
"""Of a page: the check of the page with zeros here."""
CRC32 = Crc(0x04C1_1DB7, 32)
OPUS, OPUS_RATE = b"OpusHead", slice(12, 16)
"""How the first packet of Opus begins, and where in it the rate of what was encoded stands (RFC 7845, section 5.1)."""
OPUS_HZ = 48_000
"""Opus knows no other; ffmpeg decodes at it."""


class Shape(NamedTuple):
    """The structure of an Ogg file."""

    whole: bool
    """Whether the last page is complete and marked as the last."""
    streams: int
    """Streams one after the other."""


def measure(path: Path) -> Shape | None:
    """Walk the pages of an Ogg file; return None where the file is none."""
    with Content(path) as content:
        return _measure(content) if content[:4] == b"OggS" else None


def _measure(content: Content) -> Shape:
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


def mend(path: Path) -> Mended | None:
    """Return how to have Opus decoded at its own rate; None where it will be, or the file is none."""
    with path.open("rb") as file:
        page = bytearray(file.read(HEADER + 255))
    begins = HEADER + page[HEADER - 1] if len(page) >= HEADER else len(page)
    packet = page[begins:]
    if page[:4] != b"OggS" or packet[: len(OPUS)] != OPUS or len(packet) < OPUS_RATE.stop:
        return None
    del page[begins + sum(page[HEADER:begins]) :]
    rate = slice(begins + OPUS_RATE.start, begins + OPUS_RATE.stop)
    if int.from_bytes(page[rate], "little") in (0, OPUS_HZ):
        return None
    page[rate] = OPUS_HZ.to_bytes(4, "little")
    page[CHECKSUM] = bytes(4)
    page[CHECKSUM] = CRC32(page).to_bytes(4, "little")
    return Mended(bytes(page), len(page), path.stat().st_size)
