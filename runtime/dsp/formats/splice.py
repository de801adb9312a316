"""A file behind another head: what a decoder reads where the real head is wrong."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, NamedTuple


class Mended(NamedTuple):
    """How to read a file whose head is wrong."""

    head: bytes
    """Takes the place of the first bytes."""
    start: int
    """Where in the file that which follows the head begins."""
    end: int
    """Where it ends, in bytes."""
    note: str | None = None
    """What a user should know: "its header claims 10 s, but 27 s are there; all of them are read"."""
    is_open: bool = False
    """Whether the real head leaves the length open, as who writes to a pipe must."""
    is_cut: bool = False
    """Whether it promises more than is there, and not just by the size of a head, which some writers count."""


def all_read(claim: str) -> str:
    """Return the note on a head that claims another length than is there."""
    return f"its header {claim}; all of them are read"


class Splice(io.RawIOBase):
    """Read a file as it was mended."""

    def __init__(self, path: Path, mended: Mended) -> None:
        """Open the file; raise an OSError where that fails."""
        self._file = path.open("rb", buffering=0)
        self._head, self._start, self._end = mended.head, mended.start, mended.end
        self._length = len(mended.head) + mended.end - mended.start
        self._at = 0

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return how many bytes. Where the disk fails, that is the end."""
        view = memoryview(buffer).cast("B")
        part = self._head[self._at : self._at + len(view)]
        offset = self._start + max(0, self._at - len(self._head))
        with contextlib.suppress(OSError):  # libsndfile calls this, and could not pass the exception on
            length = max(0, min(len(view) - len(part), self._end - offset))
            part += os.pread(self._file.fileno(), length, offset)
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; return it."""
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence])
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
