"""Which file a writer of the store has open, and whether it is still the one at the store's path."""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.schema import ForeignDatabaseError, check_version, has_mark
from htsat_edge.runtime.store.sqlite import FileId, file_id

WHOLE = ("", "-wal", "-shm")
"""Ends of the names of a database's files."""
logger = logging.getLogger(__name__)


class DatabaseFile:
    """A file of SQLite that is written for long, while people move, delete and restore files."""

    def __init__(self, path: Path, key: str, name: str) -> None:
        """Prepare; the key of the configuration that names the path, and a name, are for errors and for the log."""
        self._path, self._key, self._name = path, key, name
        self._real = path
        """Where the file is that was opened, without symbolic links; beside it SQLite has its log."""
        self._opened: FileId | None = None
        """Which file was seen to be ours."""
        self._opened_log: FileId | None = None
        """Which file was the write-ahead log of that one."""

    def refuse_foreign(self) -> None:
        """Raise an HtsatEdgeError where another file is at the path than was opened, and is not ours."""
        if self._opened is None or file_id(self._path) != self._opened:
            refuse_foreign(self._key, self._path, has_mark)

    def note_opened(self) -> bool:
        """Note which file was opened; return whether it is another one than before."""
        before, self._opened = self._opened, file_id(self._path)
        self._real, self._opened_log = self._path.resolve(), None
        return self._opened != before

    def note_begun(self) -> None:
        """Note which log the file has, once a transaction has begun: SQLite makes it then."""
        if self._opened_log is None:
            self._opened_log = file_id(self._log)

    def leave_lost(self, database: Database) -> bool:
        """Close the database if its file or log was deleted, replaced or emptied, and return whether it was.

        The file that is open would take what is written, and nobody would ever find it.
        """
        is_replaced = file_id(self._path) != self._opened
        if not is_replaced and not self._path.stat().st_size:
            # Put aside first: else to close it would write the pages of its log into it.
            self.put_aside(sqlite3.DatabaseError("it was emptied"))
            _close(database)
            return True
        has_log = self._opened_log is not None and file_id(self._log) == self._opened_log
        if not is_replaced and (has_log or self._opened_log is None):
            return False
        with suppress(sqlite3.Error):
            database.checkpoint()  # SQLite does not do so as it closes what was moved away
        if not is_replaced:
            _close(database)
            logger.warning("%s: its log was deleted; what was in it is in the file now", self._name)
            return True
        kept = ""
        was_moved = file_id(self._real) != self._opened  # else a symbolic link was
        if was_moved and has_log:
            # SQLite would take it for the log of what is there now, and write its pages into that. It stays in its
            # folder: where a link leads to another one, that may be on another disk.
            aside = _free_name(self._real, "replaced", "-wal")
            self._log.rename(aside)
            kept = f"; its log is kept as {aside.name}"
        _close(database)
        self._opened = None
        logger.warning("%s: was deleted or replaced%s; what is at the path now is written to", self._name, kept)
        return True

    def put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Keep a damaged database under another name, so that a new one is begun; raise the error if it is not ours."""
        path = self._path
        if file_id(path) != self._opened and not has_mark(path):
            raise error
        real = path.resolve()
        aside = _free_name(real, "damaged")
        for end in WHOLE:
            with suppress(FileNotFoundError):
                real.with_name(real.name + end).rename(aside.with_name(aside.name + end))
        logger.error("%s: %s; it is kept as %s, and a new one is begun", self._name, error, aside.name)

    @property
    def _log(self) -> Path:
        return self._real.with_name(f"{self._real.name}-wal")


def refuse_unfit(key: str, path: Path) -> None:
    """Raise an HtsatEdgeError where a file is none of a store, or of a newer version; nothing is written."""
    refuse_foreign(key, path, has_mark)
    try:
        check_version(path)
    except ForeignDatabaseError as error:
        raise HtsatEdgeError(f"{key}: {path}: {error}; give another path") from None


def _free_name(file: Path, reason: str, suffix: str = "") -> Path:
    numbers = itertools.count(int(time.time()))
    names = (file.with_name(f"{file.name}.{reason}-{number}{suffix}") for number in numbers)
    return next(name for name in names if not os.path.lexists(name))


def _close(database: Database) -> None:
    with suppress(sqlite3.Error):
        database.close()
