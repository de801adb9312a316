"""The version of a store on a PostgreSQL server, and the tables of a new one."""

from __future__ import annotations

from htsat_edge.runtime.store.engine import PostgresUrl, StoreConnection
from htsat_edge.runtime.store.problems import StoreError
from htsat_edge.runtime.store.schema import MIGRATIONS, ForeignDatabaseError
from htsat_edge.runtime.store.tables_postgres import POSTGRES

VERSION = len(MIGRATIONS)
"""The tables are those of SQLite."""


def make_tables(database: StoreConnection) -> None:
    """Make the tables where there is none yet, all or nothing.

    Raises
    ------
    ForeignDatabaseError
        There are tables of another program, or of a newer version.
    """
    if not is_new(database):
        return
    database.begin()  # two collectors may do it at once
    try:
        if is_new(database):
            for statement in POSTGRES:
                database.execute(statement)
            database.execute("INSERT INTO htsat_edge (version) VALUES (?)", (VERSION,))
        database.commit()
    finally:
        database.roll_back()


def is_new(database: StoreConnection) -> bool:
    """Return whether there is no table yet; raise a ForeignDatabaseError as `make_tables` does."""
    version, has_tables = _look(database)
    if version is not None and version > VERSION:
        raise ForeignDatabaseError("it was written by a newer version of htsat-edge")
    if version is not None:
        return False
    if has_tables:
        raise ForeignDatabaseError("holds tables of another program; give htsat-edge a database of its own")
    if database.execute("SHOW server_encoding").fetchone() != ("UTF8",):
        raise ForeignDatabaseError("cannot hold all texts; make it with `createdb --encoding UTF8`")
    return True


def refuse_other_version(database: StoreConnection, url: PostgresUrl) -> None:
    """Raise a StoreError unless the store has the tables of the present version."""
    version, _ = _look(database)
    if version is None:
        raise StoreError(f"{url}: there is no store; `htsat-edge collect` makes it")
    if version > VERSION:
        raise StoreError(f"{url}: was written by a newer version of htsat-edge; install that one")


def _look(database: StoreConnection) -> tuple[int | None, bool]:
    """Return the version of the tables, None where there is none, and whether there are any, by one look at them.

    Not by to_regclass: it may go by what it has seen before another collector has made them.
    """
    is_store, has_tables = database.execute(
        "SELECT bool_or(tablename = 'htsat_edge'), bool_or(schemaname = current_schema()) FROM pg_tables "
        "WHERE schemaname = ANY (current_schemas(false))"
    ).fetchone()
    if not is_store:
        return None, bool(has_tables)
    (version,) = database.execute("SELECT version FROM htsat_edge").fetchone()
    return int(version), True
