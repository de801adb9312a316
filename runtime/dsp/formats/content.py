"""The bytes of a file, read where they are asked for.

Not mapped into memory: a file that another program cuts meanwhile, or whose disk fails, would end the process.
"""

from __future__ import annotations

import os
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError

BLOCK = 1 << 16
"""Bytes that are read at least: most headers lie close together."""


def is_chunk_name(name: bytes) -> bool:
    """Return whether bytes may be the name of a chunk, as in files made of chunks (RIFF, IFF, CAF)."""
    return len(name) == 4 and name.isascii() and name.decode("ascii").isprintable()


class Content:
    """A file that is sliced like bytes; its length is that of when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open the file; raise an OSError where that fails."""
        self._file = path.open("rb", buffering=0)
        self._length = os.fstat(self._file.fileno()).st_size
        self._start = self._at = 0
        self._block = b""

    def __enter__(self) -> Content:
        """Return the content."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Return how many bytes there are."""
        return self._length - self._start

    def __getitem__(self, part: slice) -> bytes:
        """Return bytes; raise an OSError where the disk fails, an HtsatEdgeError where the file was cut meanwhile."""
        first, end, _ = part.indices(len(self))
        first, end = first + self._start, end + self._start
        if end <= first:
            return b""
        if first < self._at or end > self._at + len(self._block):
            self._at, self._block = first, os.pread(self._file.fileno(), max(end - first, BLOCK), first)
            if len(self._block) < end - first:
                raise HtsatEdgeError("became shorter while it was read; try again when nothing writes to it")
        return self._block[first - self._at : end - self._at]

    def find(self, wanted: int, at: int) -> int:
        """Return where a byte is first found from a position on, -1 where it is not."""
        while part := self[at : at + BLOCK]:
            if (found := part.find(wanted)) >= 0:
                return at + found
            at += len(part)
        return -1

    def skip(self, count: int) -> None:
        """Have what follows so many bytes be the beginning."""
        self._start += count
