"""Open the store of a daemon that may be running, without ever disturbing it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from htsat_edge.runtime.store.engine import StoreConnection, StorePlace
from htsat_edge.runtime.store.postgres import PostgresConnection
from htsat_edge.runtime.store.problems import LONGEST_S, StoreError, explained
from htsat_edge.runtime.store.schema import MIGRATIONS, has_mark
from htsat_edge.runtime.store.schema_postgres import refuse_other_version
from htsat_edge.runtime.store.sqlite import SqliteConnection, connect_file

BUSY_S = 2.0
"""How long to wait for another program that has locked the database."""
CHECKED = 10_000
"""Steps of SQLite's machine between two looks at the clock."""


def open_store(place: StorePlace, *, to_write: bool = False) -> StoreConnection:
    """Return a connection to a store of the present version, in autocommit mode.

    Raises
    ------
    StoreError
        It is missing, locked or damaged, or not one of the present version of htsat-edge; or the server is gone.
    """
    if isinstance(place, Path):
        return _open_file(place, to_write)
    connection = PostgresConnection(place, to_write=to_write, longest_s=LONGEST_S)
    try:
        refuse_other_version(connection, place)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def limited(connection: StoreConnection) -> Iterator[None]:
    """Have what is asked within be interrupted after LONGEST_S; a PostgreSQL server does so itself."""
    if not isinstance(connection, sqlite3.Connection):
        yield
        return
    until = time.monotonic() + LONGEST_S
    connection.set_progress_handler(lambda: time.monotonic() > until, CHECKED)
    try:
        yield
    finally:
        connection.set_progress_handler(None, CHECKED)


def _open_file(path: Path, to_write: bool) -> SqliteConnection:
    _refuse(path)
    with explained(path):
        try:
            return _connect(path, "mode=rw" if to_write else "mode=ro")
        except sqlite3.OperationalError as error:
            is_shut = any(word in str(error) for word in ("unable to open", "readonly"))
            if to_write or not is_shut or path.with_name(f"{path.name}-wal").exists():
                raise
            return _connect(path, "mode=ro&immutable=1")  # nobody writes to it, and its folder is read-only


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


def _connect(path: Path, mode: str) -> SqliteConnection:
    connection = connect_file(path, BUSY_S, mode)
    try:
        connection.execute("PRAGMA synchronous = FULL")  # what is committed is on the disk
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
