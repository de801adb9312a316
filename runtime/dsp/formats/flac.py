"""Measure how long a FLAC really is, from the headers of its first and last frame (RFC 9639, section 9).

What its first block says of the whole is wrong where the writer was killed, wrote to a pipe, or cut one stream into
several files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.dsp.formats.content import Content
from htsat_edge.runtime.dsp.formats.crc import Crc
from htsat_edge.runtime.dsp.formats.mpeg import after_tags
from htsat_edge.runtime.dsp.formats.splice import Mended, all_read

STREAMINFO = 8
"""Where the block begins that describes the whole."""
HEAD = STREAMINFO + 34
TAIL = 1 << 20
"""Bytes at the end among which the last frame begins: eight channels of 65 535 samples rarely take more."""
TRIES = 4
"""Of headers that may be that of the last frame: samples rarely look like one."""


CRC8, CRC16 = Crc(0x07, 8), Crc(0x8005, 16)
"""Of the header of a frame, and of a whole one."""


class Frame(NamedTuple):
    """The header of a frame."""

    at: int
    first: int
    """Sample of the stream."""
    samples: int


class Extent(NamedTuple):
    """The length of a FLAC."""

    found: int
    """Samples in its frames."""
    declared: int
    """Samples as its first block says; 0 where it does not."""
    whole: bool
    """Whether the last frame is complete."""
    end: int
    """Where the last complete frame ends, in bytes."""
    start: int = 0
    """Where it begins, in bytes; before it may be a tag."""


def mend(path: Path) -> Mended | None:
    """Return how to read a FLAC whose head is wrong about its length, or behind whose frames there is more.

    Return None where there is nothing to mend, the file is no FLAC, or it was cut: the head promises more than is
    there, and the last frame is not whole. The decoder will find the end missing.
    """
    length, size = measure(path), path.stat().st_size
    if length is None or (length.found == length.declared and length.end == size):
        return None
    if length.found == length.declared:
        return Mended(b"", length.start, length.end)
    if length.declared > length.found and not length.whole:
        return None
    with Content(path) as content:
        head = content[length.start : length.start + HEAD]
    fields = int.from_bytes(head[18:26], "big")  # 20 bits of rate, 3 of channels, 5 of sample size, 36 of length
    total = length.found if 0 < length.found < 1 << 36 else 0
    rate, new = fields >> 44, (fields >> 36 << 36 | total).to_bytes(8, "big")
    claim = (
        f"claims {length.declared} samples ({length.declared / rate:.3f} s)"
        if length.declared and rate
        else "does not say how long it is"
    )
    claim += f", but {length.found} samples ({length.found / rate:.3f} s) are there" if rate else ""
    # The checksum of all samples is that of another length.
    note = all_read(claim)
    is_open, is_cut = length.declared == 0 and length.whole, length.declared > length.found
    return Mended(head[:18] + new + bytes(16), length.start + HEAD, length.end, note, is_open, is_cut)


def measure(path: Path) -> Extent | None:
    """Find the first and the last frame of a FLAC; return None where the file is none, or has no frame."""
    with Content(path) as content:
        start = after_tags(content)
        content.skip(start)
        extent = _measure(content) if content[:4] == b"fLaC" else None
        return None if extent is None else extent._replace(start=start, end=start + extent.end)


def _measure(content: Content) -> Extent | None:
    at, last = 4, False
    while not last and at + 4 <= len(content):
        kind, *size = content[at : at + 4]
        last = bool(kind & 0x80)
        at += 4 + int.from_bytes(size, "big")
    first = _frame(content, at)
    if first is None or len(content) < HEAD:
        return None
    declared = int.from_bytes(content[21:26], "big") & (1 << 36) - 1
    end = len(content) - (128 if content[-128:-125] == b"TAG" else 0)  # ID3v1
    final, whole = _last_frame(content, first, end)
    found = final.first - first.first
    if whole:
        return Extent(found + final.samples, declared, True, end)
    if found + final.samples == declared:  # what does not fit may be a tag of another kind; the decoder will see
        return Extent(declared, declared, True, len(content))
    return Extent(found, declared, False, final.at)


def _last_frame(content: Content, first: Frame, end: int) -> tuple[Frame, bool]:
    """Return the frame that ends at `end`, and True; or the last that begins, and False."""
    low = max(first.at, end - TAIL)
    like, tail, at = content[first.at : first.at + 2], content[low:end], end - low
    begun: list[Frame] = []
    while len(begun) < TRIES and (at := tail.rfind(like, 0, at)) >= 0:
        frame = _frame(content, low + at)
        if frame is not None and (frame.first > first.first or low + at == first.at):
            begun.append(frame)
            if CRC16(tail[at:]) == 0:
                return frame, True
    return begun[0] if begun else first, False


def _frame(content: Content, at: int) -> Frame | None:
    """Return the frame whose header stands here, None where none does."""
    header = content[at : at + 16]
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xFE != 0xF8 or header[3] & 1:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 15
    number, used = _coded(header[4:])
    if not used or size_code == 0 or rate_code == 15:
        return None
    after, samples = 4 + used, 0
    match size_code:
        case 1:
            samples = 192
        case 2 | 3 | 4 | 5:
            samples = 144 << size_code
        case 6 | 7:
            width = size_code - 5
            samples = int.from_bytes(header[after : after + width], "big") + 1
            after += width
        case _:
            samples = 1 << size_code
    after += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if after >= len(header) or CRC8(header[:after]) != header[after]:
        return None
    usual = int.from_bytes(content[STREAMINFO + 2 : STREAMINFO + 4], "big")
    return Frame(at, number if header[1] & 1 else number * usual, samples)


def _coded(content: bytes) -> tuple[int, int]:
    """Return a number that is coded like a character in UTF-8, of up to seven bytes, and how many it takes."""
    first = content[0]
    ones = 8 - (first ^ 0xFF).bit_length()
    if ones == 0:
        return first, 1
    if ones == 1 or ones == 8 or len(content) < ones:
        return 0, 0
    number = first & (0x7F >> ones)
    for byte in content[1:ones]:
        number = number << 6 | byte & 0x3F
    return number, ones
