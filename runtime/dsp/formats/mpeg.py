"""Measure how long an MP3 really is, from the headers of its frames (ISO 11172-3, section 2.4.1.3).

Decoders believe what the first frame says of the whole, or estimate it from the first bitrate; then a recording of
variable bitrate, a joined or a truncated one, is cut short without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.dsp.formats.content import Content
from htsat_edge.runtime.dsp.formats.splice import Mended

BITRATES_KBPS = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Of layer III in MPEG 1, and in MPEG 2 and 2.5; index 0 is free format, which nobody writes."""
RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the version bits: MPEG 1, 2 and 2.5."""
TAGS = (b"Xing", b"Info", b"VBRI")
"""A first frame with one of these describes the recording and holds no sound."""
OTHERS = (b"fLaC", b"OggS", b"RIFF", b"wvpk")
"""Formats that are tagged like an MP3 now and then."""

CONTAINERS = (b"caff", b"\x1aE\xdf\xa3", b"\0\0\1\xba")
"""Of frames, as MP4 and WAV are: CAF, Matroska, MPEG program streams."""
LONGEST, IN_A_ROW = 1441, 4
"""Bytes of a frame at most, and how many frames in a row are no coincidence."""


class Length(NamedTuple):
    """The length of an MP3."""

    found: int
    """Samples in its frames."""
    declared: int | None
    """Samples by what its first frame says; None where it says nothing."""
    whole: bool
    """Whether the last frame is complete."""
    start: int
    """Where the first frame begins, in bytes; before it may be a tag."""
    end: int
    """Where the last complete frame ends."""
    is_variable: bool = False
    """Whether frames have several bitrates: then no length can be estimated from one of them."""


def measure(path: Path) -> Length | None:
    """Count the frames of an MP3; return None where the file is none."""
    with Content(path) as content:
        return _measure(content) if _is_mp3(content[:3]) or _is_part(content) else None


def mend(path: Path, length: Length) -> Mended | None:
    """Return how to read an MP3 without the tags around its frames; None where there is nothing to mend.

    The decoder parses them, and prints what it does not like; also where the first frame gives another size than that
    of an MP3 that was cut. Where bitrates vary and no frame says how long the whole is, one that does is put first.
    """
    if length.declared is None and length.is_variable:
        return Mended(_describe(path, length), length.start, length.end)
    head = _resize(path, length) if length.declared is not None and length.declared > length.found else b""
    if not head and (length.start, length.end) == (0, path.stat().st_size):
        return None
    return Mended(head, length.start + len(head), length.end)


def _describe(path: Path, length: Length) -> bytes:
    """Return a frame without sound that says how long the whole is; nothing where the first frame is such a one."""
    with Content(path) as content:
        first = content[length.start : length.start + 200]
    if any(tag in first for tag in TAGS):
        return b""
    # The same header, but for checksum and padding, and with a bitrate that gives it room.
    header = bytes([0xFF, first[1] | 1, 14 << 4 | first[2] & 0x0C, first[3]])
    size, samples = _frame(header) or (0, 1)
    mpeg_1, mono = header[1] >> 3 & 3 == 3, header[3] >> 6 == 3
    side = 17 if mpeg_1 == mono else 32 if mpeg_1 else 9  # bytes that say how a frame is coded
    counts = [3, length.found // samples, size + length.end - length.start]
    tag = TAGS[0] + b"".join(count.to_bytes(4, "big") for count in counts)
    return (header + bytes(side) + tag).ljust(size, b"\0")


def _resize(path: Path, length: Length) -> bytes:
    """Return the beginning of the first frame, which gives the whole's size, with that of what is there."""
    with Content(path) as content:
        first = content[length.start : length.start + 200]
    at = max(first.find(b"Xing"), first.find(b"Info")) + 4
    if not first[at + 3] & 2:
        return b""
    return first[: at + 8] + (length.end - length.start).to_bytes(4, "big")


def _measure(content: Content) -> Length | None:
    frames = found = start = end = 0
    at = after_tags(content)
    if _is_other(content[at : at + 4]):
        return None
    declared: int | None = None
    bitrates: set[int] = set()
    while at < len(content):
        frame = _frame(content[at : at + 4])
        if frame is None:
            at = _next_frame(content, at)
            continue
        length, samples = frame
        if at + length > len(content):
            return Length(found, declared, False, start, end, len(bitrates) > 1)
        if any(tag in content[at : at + 200] for tag in TAGS):
            declared = _declared(content[at : at + 200], samples) if frames == 0 else declared
        else:
            found += samples
            bitrates.add(content[at + 2 : at + 3][0] >> 4)
        start = at if frames == 0 else start
        frames += 1
        at += length
        end = at
    return Length(found, declared, True, start, end, len(bitrates) > 1) if frames > 1 else None


def after_tags(content: Content, at: int = 0) -> int:
    """Return where the ID3v2 tags end that begin at a position, by default that of the file."""
    while content[at : at + 3] == b"ID3":
        at = _next_frame(content, at)
    return at


def _next_frame(content: Content, at: int) -> int:
    """Return the position after an ID3 tag, or after junk up to two headers in a row."""
    if content[at : at + 3] == b"ID3":
        # An ID3v2 tag gives its size in four groups of seven bits.
        a, b, c, d = content[at + 6 : at + 10].ljust(4, b"\0")
        return at + 10 + (a << 21 | b << 14 | c << 7 | d)
    if content[at : at + 3] == b"TAG":
        return at + 128
    while (at := content.find(0xFF, at + 1)) >= 0:
        frame = _frame(content[at : at + 4])
        if frame is not None and _frame(content[at + frame[0] : at + frame[0] + 4]) is not None:
            return at
    return len(content)


def _declared(first: bytes, samples: int) -> int | None:
    """Return the samples by a Xing or Info tag: name, four bytes of flags, a count of frames if the first is set."""
    at = max(first.find(b"Xing"), first.find(b"Info"))
    if at < 0 or not first[at + 7] & 1:
        return None
    return int.from_bytes(first[at + 8 : at + 12], "big") * samples


def _is_mp3(start: bytes) -> bool:
    return start == b"ID3" or (len(start) == 3 and start[0] == 0xFF and start[1] & 0xE6 == 0xE2)


def _is_part(content: Content) -> bool:
    """Return whether frames follow each other behind the rest of one, as in a part of a stream."""
    if _is_other(content[:4]) or content[:4] in CONTAINERS or content[4:8] == b"ftyp":
        return False
    at, rest = 0, content[:LONGEST]
    while (at := rest.find(0xFF, at + 1)) >= 0:
        end = at
        for _ in range(IN_A_ROW):
            frame = _frame(content[end : end + 4])
            if frame is None:
                break
            end += frame[0]
        else:
            return True
    return False


def _is_other(start: bytes) -> bool:
    """Return whether this begins something else behind a tag, in which a few bytes may look like frames."""
    return start in OTHERS or (len(start) == 4 and start[0] == 0xFF and start[1] & 0xF6 == 0xF0)  # AAC


def _frame(header: bytes) -> tuple[int, int] | None:
    """Return the length in bytes and samples of the frame with this header, or None if it is no layer III frame."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in RATES_HZ or not 0 < bitrate < 15 or rate == 3:
        return None
    first = version == 3
    kbps = BITRATES_KBPS[1 if first else 2][bitrate]
    samples = 1152 if first else 576
    return samples // 8 * kbps * 1000 // RATES_HZ[version][rate] + (header[2] >> 1 & 1), samples
