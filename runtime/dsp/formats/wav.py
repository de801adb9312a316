"""Find the samples of a WAV whose header is wrong about them (RIFF; RF64 by EBU Tech 3306).

A header is written before the samples. It is wrong where the writer was killed, wrote to a pipe, passed 4 GB, or
counted the header itself, and where a copy broke off. Chunks of metadata may follow the samples.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.formats import mpeg
from htsat_edge.runtime.dsp.formats.content import Content, is_chunk_name
from htsat_edge.runtime.dsp.formats.splice import Mended, all_read

KINDS = (b"RIFF", b"RF64")
"""How a WAV begins."""
PCM = b"\1\0"
"""The format of plain samples."""
UNKNOWN_BYTES, ROUGHLY = 1 << 31, 1 << 16
"""Writers to a pipe put about this (sox, arecord), twice as much (ffmpeg) or 0 in place of the length."""
METADATA = (
    *(b"LIST", b"bext", b"iXML", b"guan", b"wamd", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"fact", b"PEAK", b"JUNK"),
    *(b"junk", b"PAD ", b"FLLR", b"_PMX", b"axml", b"chna", b"afsp", b"inst", b"plst", b"cart", b"r64m", b"umid"),
    *(b"minf", b"elm1", b"regn", b"DISP", b"LGWV", b"levl", b"acid", b"strc"),
)
"""Chunks that recorders and editors put after the samples."""
TAIL = 1 << 20
"""Bytes at the end of a file among which such chunks are searched for."""


class Header(NamedTuple):
    """What stands before the samples."""

    fmt: bytes
    """The chunk that describes them."""
    declared: int
    """Their bytes, as the header says."""
    start: int
    """Where they begin."""

    @property
    def channels(self) -> int:
        """Return how many there are, at least one."""
        return int.from_bytes(self.fmt[10:12], "little") or 1

    @property
    def sample_rate(self) -> int:
        """Return the samples of a channel in a second."""
        return int.from_bytes(self.fmt[12:16], "little")


def mend(path: Path) -> Mended | None:
    """Return how to read a WAV whose header is wrong about its length; None where it is right, or the file no WAV.

    Raises
    ------
    HtsatEdgeError
        The samples are larger than the header has room for. The message names no file.
    """
    with Content(path) as content:
        return _mend(content) if content[:4] in KINDS else None


def _mend(content: Content) -> Mended | None:
    head = header(content)
    if head is None:
        return None
    _check_bits(head)
    frame, second = struct.unpack_from("<H", head.fmt, 20)[0] or 1, struct.unpack_from("<I", head.fmt, 16)[0]
    found = _measure(content, head, frame)
    found -= found % frame  # a part of a frame cannot be heard
    if head.declared - head.declared % frame == found:
        rest = len(content) - head.start - found
        if content[head.start + found : head.start + found + 4] not in KINDS:
            return None
        note = f"behind its samples follow {rest} bytes of another recording, which are not read; split it"
        return Mended(_new_head(head.fmt, found), head.start, head.start + found, note)

    def length(count: int) -> str:
        return f"{count} bytes of samples" + (f" ({count / second:.3f} s)" if second else "")

    claim = f"claims {length(head.declared)}, but {length(found)} are there"
    note = all_read(claim)
    unknown = (head.declared + ROUGHLY) % UNKNOWN_BYTES < 2 * ROUGHLY and not 0 < head.declared < ROUGHLY
    is_cut = not unknown and head.declared > found + head.start
    return Mended(_new_head(head.fmt, found), head.start, head.start + found, note, unknown, is_cut)


def _check_bits(head: Header) -> None:
    """Raise where samples do not fit into the bytes that they take."""
    frame, bits = struct.unpack_from("<2H", head.fmt, 20)
    if head.channels * bits > 8 * frame and head.fmt[8:10] == PCM:
        raise HtsatEdgeError(
            f"its header claims samples of {bits} bits, but {head.channels} of them in {frame} bytes; write it anew"
        )


def header(content: bytes | Content) -> Header | None:
    """Return what stands before the samples; None where that is not complete."""
    at, fmt, long = 12, b"", None
    while at + 8 <= len(content):
        name, size = content[at : at + 4], _size(content, at)
        if name == b"ds64" and at + 24 <= len(content):
            long = int.from_bytes(content[at + 16 : at + 24], "little")
        elif name == b"fmt ":
            fmt = content[at : at + 8 + size + size % 2]
        elif name == b"data":
            if len(fmt) < 24:
                return None
            return Header(fmt, long if long is not None and size == 0xFFFF_FFFF else size, at + 8)
        at += 8 + size + size % 2
    return None


def _measure(content: Content, head: Header, frame: int) -> int:
    """Return how many bytes of samples are there, in frames of `frame` bytes."""
    there, declared = len(content) - head.start, head.declared
    if declared > there:
        return there - _trailing(content, head.start)
    declared += declared % 2 if frame % 2 == 0 else 0
    wrapped = range(declared, there + 1, 1 << 32)  # what a field of 32 bits cannot hold is missing
    for length in wrapped:
        if there - length <= 1 or _is_metadata(content, head.start + length):
            return length
    trailing = _trailing(content, head.start)
    for length in wrapped:
        if length and not trailing and _is_empty(content, head.start + length):
            return length
    return there - trailing


def _is_metadata(content: Content, at: int, whole: bool = False) -> bool:
    """Return whether chunks follow each other from here to the end; the last may be cut unless `whole`."""
    if at + 8 > len(content):
        return False
    at += int(at % 2 and not is_chunk_name(content[at : at + 4]))  # a chunk of odd length is padded, by most writers
    while at + 8 <= len(content):
        name, after = content[at : at + 4], at + 8 + _size(content, at)
        if not is_chunk_name(name):
            return False
        if after > len(content):
            return not whole and name in METADATA
        at = after + int(after % 2 and not is_chunk_name(content[after : after + 4]))
    return at >= len(content) or not whole


def _is_empty(content: Content, at: int) -> bool:
    """Return whether only zeros follow, to fill the last block of a disk."""
    parts = (content[i : i + TAIL] for i in (len(content) - TAIL, *range(at, len(content), TAIL)) if i >= at)
    return not any(part.strip(b"\0") for part in parts)  # the last first: it is the quickest to tell samples


def _trailing(content: Content, start: int) -> int:
    """Return how many bytes at the end are metadata, in chunks or tags, where no length says where they begin."""
    tail, end = max(start, len(content) - TAIL), len(content)
    if end - 128 >= tail and content[end - 128 : end - 125] == b"TAG":
        end -= 128
    for match in re.finditer(rb"ID3[\2-\4]\0", content[tail:end]):
        if mpeg.after_tags(content, tail + match.start()) == end:
            return len(content) - tail - match.start()
    if end < len(content):
        return 128
    for match in re.finditer(b"|".join(METADATA), content[tail:]):
        if _is_metadata(content, tail + match.start(), whole=True):
            return len(content) - tail - match.start()
    return 0


def _size(content: bytes | Content, at: int) -> int:
    return int.from_bytes(content[at + 4 : at + 8], "little")


def _new_head(fmt: bytes, length: int) -> bytes:
    """Return the shortest header for so many bytes of samples."""
    riff = 4 + len(fmt) + 8 + length
    if riff < 0xFFFF_FFFF:
        return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + fmt + b"data" + struct.pack("<I", length)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, riff + 36, length, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + fmt + b"data\xff\xff\xff\xff"
