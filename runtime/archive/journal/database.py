"""The file of a journal, and the lock that keeps a second run out of a folder of results."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from htsat_edge.runtime.archive.journal.key import differences
from htsat_edge.runtime.archive.journal.rows import TABLES
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.common.files import is_part, replacing
from htsat_edge.runtime.common.lock_file import FLAGS, lock, read_holder, sign
from htsat_edge.runtime.common.text import visible

JOURNAL_FILE, LOCK_FILE = "journal.sqlite", ".lock"
APPLICATION_ID = 0x68747372
"""`PRAGMA application_id` of a journal: "htsr"."""
VERSION = 1
"""Of the tables."""
HEADER, APPLICATION_ID_AT = b"SQLite format 3\0", 68
"""How a file of SQLite begins, and where in it the four bytes of `application_id` are."""
CAUSES = {
    "full": "the disk is full; what was done is kept: make room, and give the same command again",
    "disk I/O": "the disk has failed; what was done is kept: look at it, and give the same command again",
    "readonly": "cannot be written to; may this user write to it, and to its folder?",
    "unable to open": "cannot be opened; may this user write to it, and to its folder?",
    "locked": "is opened by another program; end that, and give the same command again",
}
"""By what SQLite says."""


def take_folder(folder: Path) -> int:
    """Make a folder of results where it is missing, and keep other runs out; return the lock, to be closed.

    Raises
    ------
    HtsatEdgeError
        It cannot be made or written to, or holds something, but no journal.
    NotReadyError
        Another run writes to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(folder)
        descriptor = os.open(folder / LOCK_FILE, FLAGS | os.O_CREAT, 0o666)
    except OSError as error:
        raise HtsatEdgeError(f"{folder}: no results can be written there: {error.strerror}") from None
    if not lock(descriptor):
        writer = read_holder(descriptor)
        os.close(descriptor)
        process = f", process {writer} (kill {writer} ends it)" if writer else ""
        raise NotReadyError(f"{folder}: another scan writes there{process}; wait for it, or give another --out")
    sign(descriptor)
    return descriptor


def open_database(folder: Path, key: Mapping[str, str], base: Path) -> sqlite3.Connection:
    """Return a connection, in autocommit mode, to the journal of a folder, which is made where it is missing.

    Raises
    ------
    HtsatEdgeError
        It cannot be opened, is damaged, or was begun by another version or with another key.
    """
    path = folder / JOURNAL_FILE
    with understood(path):
        if not path.exists():
            with replacing(path, sqlite3.Error) as part:
                _make(part, key, base)
        database = sqlite3.connect(path, isolation_level=None)
        try:
            _prepare(database)
            _check(database, folder, key)
        except BaseException:
            database.close()
            raise
    return database


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a file, or of the disk, into an HtsatEdgeError of one line."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # an error of ours
        raise
    except sqlite3.Error as error:
        said = " ".join(str(error).split())
        cause = next((cause for word, cause in CAUSES.items() if word in said), None)
        raise HtsatEdgeError(f"{path}: {cause}") if cause else _damaged(path, said) from None


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Do what `explained` does, also where what is read makes no sense: SQLite does not see all damage."""
    with explained(path):
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise _damaged(path, visible(str(error))) from None


def _damaged(path: Path, said: str) -> HtsatEdgeError:
    return HtsatEdgeError(
        f"{path}: is damaged ({said[:200]}); give another --out, or move this folder away and scan again"
    )


def _refuse_foreign(folder: Path) -> None:
    """Raise an HtsatEdgeError where a folder holds something, but no journal of ours; nothing is opened by SQLite."""
    journal = folder / JOURNAL_FILE
    if not journal.is_file():
        if all(_is_left(path) for path in folder.iterdir()):
            return
        raise HtsatEdgeError(
            f"{folder}: is not empty, and holds no results of a scan; give --out an empty or a new folder"
        )
    with journal.open("rb") as file:
        head = file.read(APPLICATION_ID_AT + 4)
    if not head.startswith(HEADER) or head[APPLICATION_ID_AT:] != APPLICATION_ID.to_bytes(4, "big"):
        raise HtsatEdgeError(f"{journal}: is no journal of a scan; give another --out")


def _is_left(path: Path) -> bool:
    """Return whether a file is what a run that was killed may have left: its lock, or what it had not finished."""
    if path.name == LOCK_FILE:
        return path.is_file() and not path.is_symlink() and not path.read_bytes().strip(b"0123456789\n")
    return is_part(path)


def _make(path: Path, key: Mapping[str, str], base: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")  # if it fails, there is no file at all
        for statement in TABLES:
            database.execute(statement)
        about = {"key": json.dumps(dict(key)), "base": os.fsencode(base)}
        database.executemany("INSERT INTO about (name, value) VALUES (?, ?)", about.items())
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {VERSION}")


def _prepare(database: sqlite3.Connection) -> None:
    # Before the first access: then there is no shared memory, which network drives do not have.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    # What is committed outlives the process; a power cut may undo the last commits, but leaves a whole journal.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA foreign_keys = ON")


def _check(database: sqlite3.Connection, folder: Path, key: Mapping[str, str]) -> None:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        raise HtsatEdgeError(
            f"{folder}: was begun by another version of htsat-edge, whose journals have version {version} and not "
            f"{VERSION}; give another --out"
        )
    (text,) = database.execute("SELECT value FROM about WHERE name = 'key'").fetchone()
    if differing := differences(json.loads(text), key):
        raise HtsatEdgeError(f"{folder}: was begun with another {differing}; give these as before, or another --out")
