"""Open the store of a daemon that may be running, without ever disturbing it."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.schema import MIGRATIONS, has_mark

BUSY_S = 2.0
"""How long to wait for another program that has locked the database."""
LONGEST_S = 5.0
"""What takes longer is given up: a reader that stays keeps the log of the writer from being emptied."""
CHECKED = 10_000
"""Steps of SQLite's machine between two looks at the clock."""
CAUSES = {
    "interrupted": f"the answer takes longer than {LONGEST_S:g} s; ask for less at once",
    "locked": "is locked by another program; try again when that has ended",
    "readonly": "cannot be written to; may this user write to it, and to its folder?",
    "unable to open": "cannot be opened; may this user read it, and write to its folder?",
    "full": "the disk is full; make room",
}
"""By what SQLite says."""


class StoreError(HtsatEdgeError):
    """The store cannot be read or written, as it is or at present."""


def open_store(path: Path, *, to_write: bool = False) -> sqlite3.Connection:
    """Return a connection to a store of the present version, in autocommit mode.

    Raises
    ------
    StoreError
        It is missing, locked or damaged, or not one of the present version of htsat-edge.
    """
    _refuse(path)
    with explained(path):
        try:
            return _connect(path, "mode=rw" if to_write else "mode=ro")
        except sqlite3.OperationalError as error:
            is_shut = any(word in str(error) for word in ("unable to open", "readonly"))
            if to_write or not is_shut or path.with_name(f"{path.name}-wal").exists():
                raise
            return _connect(path, "mode=ro&immutable=1")  # nobody writes to it, and its folder is read-only


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says, and content that cannot be, into a StoreError of one line."""
    try:
        yield
    except (sqlite3.Error, zlib.error, ValueError) as error:
        said = " ".join(str(error).split())
        causes = CAUSES if isinstance(error, sqlite3.OperationalError) else {}
        cause = next((cause for word, cause in causes.items() if word in said), None)
        if cause is None and type(error) is sqlite3.DatabaseError:  # its subclasses are other faults
            cause = f"is damaged ({said[:200]}); `htsat-edge listen` puts it aside and begins a new one"
        if cause is None:
            cause = (
                f"holds what cannot be, or cannot be used ({said[:200]}); if that stays, end `htsat-edge listen` and "
                "move the file away: a new one is begun"
            )
        raise StoreError(f"{path}: {cause}") from None


@contextmanager
def limited(connection: sqlite3.Connection) -> Iterator[None]:
    """Have what is asked within be interrupted after LONGEST_S."""
    until = time.monotonic() + LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > until, CHECKED)
    try:
        yield
    finally:
        connection.set_progress_handler(None, CHECKED)


def _refuse(path: Path) -> None:
    """Raise a StoreError unless there is a database of ours; nothing is opened by SQLite that is not."""
    try:
        if not path.exists():
            counted = "" if path.is_absolute() else "; a path counts from the folder in which a command is started"
            raise StoreError(
                f"{path.absolute()}: there is no store; `htsat-edge listen` with `outputs.store.path: {path}` makes "
                f"it{counted}"
            )
        if not path.is_file() or not has_mark(path):
            raise StoreError(f"{path}: is no store of htsat-edge; give the path that is `outputs.store.path`")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version < len(MIGRATIONS):
            raise StoreError(
                f"{path}: was written by an older version of htsat-edge; start `htsat-edge listen` once with it"
            )
        if version > len(MIGRATIONS):
            raise StoreError(f"{path}: was written by a newer version of htsat-edge; install that one")
    except BaseException:
        connection.close()
        raise
    return connection
