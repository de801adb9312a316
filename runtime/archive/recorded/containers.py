"""Where a file keeps what is said of it: chunks before and behind the samples of a WAV, and tags of other formats."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.formats import wav
from htsat_edge.runtime.dsp.formats.content import Content, is_chunk_name
from htsat_edge.runtime.dsp.formats.mpeg import after_tags

WANTED = (b"guan", b"wamd", b"bext")
MOST_BYTES = 1 << 20
"""Of a chunk that are read: spoken notes may follow what is wanted."""
MOST_CHUNKS = 1000
HEAD = 1 << 16
"""Bytes at the beginning of a file that is no WAV, among which tags are."""
FLAC, APPLICATION, FOREIGN = b"fLaC", 2, b"riff"
"""How a FLAC begins, and its blocks with the chunks of the WAV that it was made of."""
TAGGED = (FLAC, b"OggS", b"FORM", b"caff")
"""How files begin whose tags libsndfile reads. It does of MP3s as well, with a warning for each that was cut."""
PART_OF_FRAME = 256
"""Bytes at the end of the samples that may be no whole frame."""
INFO = {b"ICMT": "comment", b"IART": "artist", b"ISFT": "software", b"ICRD": "date"}


class Said(NamedTuple):
    """What a file says of itself."""

    chunks: dict[bytes, bytes]
    """By name, of those that are wanted."""
    tags: dict[str, str]
    """The comment, artist, software and date."""
    head: bytes
    """The first bytes of a file that is no WAV."""


def read_said(path: Path) -> Said:
    """Return what a file says of itself.

    Raise an OSError where it cannot be read, or an HtsatEdgeError where it was cut meanwhile.
    """
    with Content(path) as content:
        if content[:4] in wav.KINDS:
            return _sort(_wav_chunks(path, content))
        head = content[:HEAD]
        content.skip(after_tags(content))
        said = _sort(_foreign_chunks(content) if content[:4] == FLAC else ())
        tags = _tags(path) if content[:4] in TAGGED else {}
    return said._replace(tags=tags | said.tags, head=head)


def _sort(chunks: Iterable[tuple[bytes, bytes]]) -> Said:
    """Return what is wanted of chunks; of two that have one name, the first."""
    said = Said({}, {}, b"")
    for name, chunk in chunks:
        if name in WANTED:
            said.chunks.setdefault(name, chunk)
        elif name == b"LIST" and chunk[:4] == b"INFO":
            for part, text in _parts(chunk[4:]):
                if part in INFO:
                    said.tags.setdefault(INFO[part], text.partition(b"\0")[0].decode(errors="replace").strip())
    return said


def _wav_chunks(path: Path, content: Content) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks before the samples, and those behind where these really end."""
    at = 12
    for _ in range(MOST_CHUNKS):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if not is_chunk_name(name):
            return
        if name == b"data":
            at = _after_samples(path, content, at + 8 + size)
        else:
            yield name, content[at + 8 : at + 8 + min(size, MOST_BYTES)]
            at += 8 + size
        at += int(at % 2 and not is_chunk_name(content[at : at + 4]))  # the padding, which some leave out


def _after_samples(path: Path, content: Content, claimed: int) -> int:
    """Return where the chunk behind the samples begins, which the header claims to be at `claimed`."""
    head, mended = wav.header(content), None
    claimed = claimed if head is None else head.start + head.declared
    with suppress(HtsatEdgeError):  # the samples make no sense, which is told where they are heard
        mended = None if content[claimed : claimed + 4] in wav.METADATA else wav.mend(path)
    if mended is None:
        return claimed
    behind = content[mended.end : mended.end + PART_OF_FRAME]
    return mended.end + next((at for at in range(len(behind)) if behind[at : at + 4] in wav.METADATA), 0)


def _foreign_chunks(content: Content) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks of the WAV that a FLAC was made of by `flac --keep-foreign-metadata`."""
    at = 4
    for _ in range(MOST_CHUNKS):
        header = content[at : at + 4]
        size = int.from_bytes(header[1:], "big")
        if header[:1] and header[0] & 0x7F == APPLICATION and content[at + 4 : at + 8] == FOREIGN:
            block = content[at + 8 : at + 4 + min(size, MOST_BYTES)]
            yield block[:4], block[8:]
        at += 4 + size
        if len(header) < 4 or header[0] & 0x80:
            return


def _parts(chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(chunk):
        size = int.from_bytes(chunk[at + 4 : at + 8], "little")
        yield chunk[at : at + 4], chunk[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _tags(path: Path) -> dict[str, str]:
    with (
        suppress(OSError, soundfile.SoundFileError, TypeError, ValueError),
        soundfile.SoundFile(os.fsencode(path)) as file,
    ):
        return {name: getattr(file, name) for name in INFO.values()}
    return {}
