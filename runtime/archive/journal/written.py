"""Which files among the results are as they were written, so that what a person has changed is never overwritten."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import sha256_of


class WrittenFiles:
    """The files that scans have written into a folder.

    Of each, the journal has what it held; while it is replaced, what it holds and what it will: a process may be killed
    before the new one takes its place, or behind that.
    """

    def __init__(self, database: sqlite3.Connection, folder: Path) -> None:
        """Take the files of a folder of results."""
        self._database, self._folder = database, folder

    def is_ours(self, path: Path) -> bool:
        """Return whether a file may be replaced: it is not there, or as it was written."""
        return not os.path.lexists(path) or self._held(path) is not None

    def note(self, path: Path, part: Path) -> None:
        """Keep what a file will hold, of which `is_ours`: `part` takes its place next."""
        status = part.stat()
        name, held, new = self._name(path), self._held(path), sha256_of(part)
        self._database.execute("DELETE FROM written WHERE name = ? AND sha256 IS NOT ?", (name, held))
        row = name, new, status.st_size, status.st_mtime_ns
        self._database.execute("INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", row)

    def remove(self, path: Path) -> None:
        """Delete a file, where it is as it was written; raise an HtsatEdgeError where that fails."""
        if self._rows(path) and self._held(path) is not None:
            try:
                path.unlink()
            except OSError as error:
                raise HtsatEdgeError(f"{path}: cannot be deleted: {error.strerror}") from None

    def _held(self, path: Path) -> str | None:
        """Return the hash of a file that is as it was written; None for others.

        It is read only where its size or its time of change is another one: a copy of the results has other times.
        """
        rows = self._rows(path)
        if not rows or path.is_symlink() or not path.is_file():
            return None
        status = path.stat()
        for sha256, size, mtime_ns in rows:
            if (size, mtime_ns) == (status.st_size, status.st_mtime_ns):
                return sha256
        try:
            now = sha256_of(path)
        except OSError as error:
            raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
        return now if now in [sha256 for sha256, _, _ in rows] else None

    def _rows(self, path: Path) -> list[tuple[str, int, int]]:
        query = "SELECT sha256, size, mtime_ns FROM written WHERE name = ?"
        return self._database.execute(query, (self._name(path),)).fetchall()

    def _name(self, path: Path) -> bytes:
        return os.fsencode(path.relative_to(self._folder))
