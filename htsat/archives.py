"""Read recordings inside the archives that games and instruments keep them in.

`read_member` takes the member that a path names after its `!`: a file in a zip (also .wz and .pk3), a Qt resource file
(.rcc), an OpenClonk group (.ocg), or an OpenTTD sound catalogue (.cat, members are numbers); a sample in a SoundFont 2
(.sf2, its name) or a Gravis patch (.pat, its number). A missing member raises KeyError, a damaged archive ValueError.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import numpy as np
import soundfile

from htsat_edge.runtime.common.arrays import FloatArray

Sound = tuple[FloatArray, int]
"""Samples (S,) and their rate."""


def read_member(name: str, data: bytes, member: str) -> Sound:
    """Return a recording of the archive with this name and content."""
    suffix = PurePosixPath(name).suffix.lower()
    try:
        if suffix in SAMPLES:
            return SAMPLES[suffix](data, member)
        if suffix in FILES:
            return decode(FILES[suffix](data, member))
    except (IndexError, NotImplementedError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{name} is damaged: {error}") from None
    raise ValueError(f"{name} is not a known kind of archive")


def decode(data: bytes) -> Sound:
    """Return a recording in any format that libsndfile knows, mixed to one channel."""
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(str(error)) from None
    return samples.mean(axis=1), rate


def read_raw(data: bytes) -> Sound:
    """Return headerless 16-bit samples at 16 kHz, as CMU Sphinx keeps speech."""
    return pcm(data, "<i2"), 16000


def pcm(data: bytes, dtype: str) -> FloatArray:
    """Return integer samples as floats in [-1, 1)."""
    kind = np.dtype(dtype)
    samples = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind).astype(np.float32)
    half = float(1 << 8 * kind.itemsize - 1)
    return (samples - half if kind.kind == "u" else samples) / half


def _zip(data: bytes, member: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(member)


def _qt_resource(data: bytes, member: str) -> bytes:
    """Read Qt's rcc: a tree of nodes, each with the range of its children; names in UTF-16; contents after a length."""
    version, tree, contents, names = struct.unpack_from(">4I", data, 4)
    size = 14 if version == 1 else 22
    node = 0
    for part in PurePosixPath(member).parts:
        _, _, count, first = struct.unpack_from(">IHII", data, tree + node * size)
        for child in range(first, first + count):
            (name,) = struct.unpack_from(">I", data, tree + child * size)
            (length,) = struct.unpack_from(">H", data, names + name)
            at = names + name + 6
            if data[at : at + 2 * length].decode("utf-16-be") == part:
                node = child
                break
        else:
            raise KeyError(member)
    _, flags, _, offset = struct.unpack_from(">IHII", data, tree + node * size)
    (length,) = struct.unpack_from(">I", data, contents + offset)
    content = data[contents + offset + 4 :][:length]
    # A compressed file begins with its uncompressed length.
    return zlib.decompress(content[4:]) if flags & 1 else content


def _openttd_catalogue(data: bytes, member: str) -> bytes:
    """Read OpenTTD's cat: a table of (offset, length), then a name and a RIFF file for each sound."""
    (offset,) = struct.unpack_from("<I", data, 8 * int(member))
    start = data.index(b"RIFF", offset & 0x7FFF_FFFF)
    (length,) = struct.unpack_from("<I", data, start + 4)
    return data[start : start + 8 + length]


def _openclonk_group(data: bytes, member: str) -> bytes:
    """Read OpenClonk's ocg: gzip with two bytes changed, around a scrambled header, a table and the contents."""
    group = zlib.decompressobj(wbits=31).decompress(b"\x1f\x8b" + data[2:])
    parts = PurePosixPath(member).parts
    for depth, part in enumerate(parts):
        group = _openclonk_entry(group, part, is_group=depth < len(parts) - 1)
    return group


def _openclonk_entry(group: bytes, wanted: str, is_group: bool) -> bytes:
    header = bytearray(byte ^ 237 for byte in group[:204])
    header[0:204:3], header[2:204:3] = header[2:204:3], header[0:204:3]
    (count,) = struct.unpack_from("<i", header, 36)
    for i in range(count):
        entry = group[204 + 316 * i :][:316]
        if entry[:260].split(b"\0")[0].decode("latin-1") == wanted:
            _, child, size, _, offset = struct.unpack_from("<5i", entry, 260)
            if bool(child) == is_group:
                return group[204 + 316 * count + offset :][:size]
    raise KeyError(wanted)


def _soundfont(data: bytes, member: str) -> Sound:
    """Read SoundFont 2: 16-bit samples in one chunk, headers of 46 bytes with names of 20 in another.

    Names are cut off, so some come twice: the second gets a `~` at its end, the third two.
    """
    samples = data.index(b"smpl", data.index(b"sdta")) + 8
    seen: set[str] = set()
    for header in _soundfont_headers(data):
        name = header[:20].split(b"\0")[0].decode("latin-1").strip()
        start, end, _, _, rate = struct.unpack_from("<5I", header, 20)
        (kind,) = struct.unpack_from("<H", header, 44)
        if kind & 0x8000 or end <= start:  # in ROM, or the end of the list
            continue
        while name in seen:
            name += "~"
        seen.add(name)
        if name == member:
            return pcm(data[samples + 2 * start : samples + 2 * end], "<i2"), rate
    raise KeyError(member)


def _soundfont_headers(data: bytes) -> Iterator[bytes]:
    chunk = data.index(b"shdr", data.index(b"pdta"))
    (length,) = struct.unpack_from("<I", data, chunk + 4)
    for at in range(chunk + 8, chunk + 8 + length, 46):
        yield data[at : at + 46]


def _gravis_patch(data: bytes, member: str) -> Sound:
    """Read a Gravis patch: three headers, then each sample after its own header of 96 bytes."""
    if not data.startswith(b"GF1PATCH"):
        raise ValueError("is no Gravis patch")
    at, wanted = 129 + 63 + 47, int(member)
    for i in range(wanted + 1):
        size, rate = struct.unpack_from("<I", data, at + 8)[0], struct.unpack_from("<H", data, at + 20)[0]
        mode = data[at + 55]
        if i < wanted:
            at += 96 + size
    unsigned, width = mode & 2, 2 if mode & 1 else 1
    return pcm(data[at + 96 : at + 96 + size], f"<{'u' if unsigned else 'i'}{width}"), rate


FILES: dict[str, Callable[[bytes, str], bytes]] = {
    ".zip": _zip,
    ".wz": _zip,
    ".pk3": _zip,
    ".rcc": _qt_resource,
    ".cat": _openttd_catalogue,
    ".ocg": _openclonk_group,
}
SAMPLES: dict[str, Callable[[bytes, str], Sound]] = {".sf2": _soundfont, ".pat": _gravis_patch}
