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


def measure(path: Path) -> Length | None:
    """Count the frames of an MP3; return None where the file is none."""
    with Content(path) as content:
        return _measure(content) if _is_mp3(content[:3]) else None


def mend(path: Path, length: Length) -> Mended | None:
    """Return how to read an MP3 without the tags around its frames; None where there are none.

    The decoder parses them, and prints what it does not like.
    """
    size = path.stat().st_size
    return None if (length.start, length.end) == (0, size) else Mended(b"", length.start, length.end)


def _measure(content: Content) -> Length | None:
    frames = found = start = end = 0
    at = after_tags(content)
    if _is_other(content[at : at + 4]):
        return None
    declared: int | None = None
    while at < len(content):
        frame = _frame(content[at : at + 4])
        if frame is None:
            at = _next_frame(content, at)
            continue
        length, samples = frame
        if at + length > len(content):
            return Length(found, declared, False, start, end)
        if any(tag in content[at : at + 200] for tag in TAGS):
            declared = _declared(content[at : at + 200], samples) if frames == 0 else declared
        else:
            found += samples
        start = at if frames == 0 else start
        frames += 1
        at += length
        end = at
    return Length(found, declared, True, start, end) if frames > 1 else None


def after_tags(content: Content) -> int:
    """Return how many bytes the ID3v2 tags take that a file begins with."""
    at = 0
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
