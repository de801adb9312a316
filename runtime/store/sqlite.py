"""A connection to a database of SQLite, and which files this process has open in this way.

SQLite's locks are those of POSIX: a process that closes any descriptor of a file loses all its locks on that file.
Another process would then take itself for the only one, and delete the log to which this one goes on writing. So a
file that is open here is not opened in any other way (https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

FileId = tuple[int, int]


class SqliteConnection(sqlite3.Connection):
    """A connection to a database of SQLite."""

    file: FileId | None = None
    """Which file it has open, whatever its name; None once it is closed."""

    def floor(self, expression: str) -> str:
        """Return SQL for a positive number without its fraction."""
        return f"CAST({expression} AS INTEGER)"

    def begin(self) -> None:
        """Begin to write; nobody else can until this has ended."""
        self.execute("BEGIN IMMEDIATE")

    def settle(self) -> None:
        """Do nothing: what was executed is done."""

    def commit(self) -> None:
        """Have all that was written since `begin` on the disk."""
        self.execute("COMMIT")

    def roll_back(self) -> None:
        """Undo what was written since `begin`; SQLite has done so by itself where the disk is full."""
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Close it; without a lock, since Python may do so anywhere, of one that nobody has any more."""
        super().close()
        self.file = None


_OPENING = threading.Lock()
"""Held while a file is opened, by SQLite or otherwise."""
_OPEN: WeakSet[SqliteConnection] = WeakSet()


def connect_file(path: Path, busy_s: float, mode: str) -> SqliteConnection:
    """Return a connection in autocommit mode, for any thread; `mode` is the query of SQLite's URI.

    What another program has locked is waited for, for so many seconds.
    """
    with _OPENING:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?{mode}",
            uri=True,
            timeout=busy_s,
            isolation_level=None,
            check_same_thread=False,
            factory=SqliteConnection,
        )
        connection.file = file_id(path)
        _OPEN.add(connection)
    return connection


@contextmanager
def kept_from_opening(path: Path) -> Iterator[bool]:
    """Keep the other threads from opening a file by SQLite; yield whether this process has it open already."""
    with _OPENING:
        file = file_id(path)
        yield file is not None and any(connection.file == file for connection in _OPEN)


def file_id(path: Path) -> FileId | None:
    """Return what tells the file at a path from every other one, whatever its name; None where there is none."""
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None
