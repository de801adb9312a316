"""Whether a collector can write a store, before it does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.folders import try_file
from htsat_edge.runtime.daemon.outputs import store_lock
from htsat_edge.runtime.store import database_file
from htsat_edge.runtime.store.engine import PostgresUrl, StorePlace
from htsat_edge.runtime.store.postgres import PostgresConnection, refuse_bad_url
from htsat_edge.runtime.store.problems import LONGEST_S
from htsat_edge.runtime.store.schema import ForeignDatabaseError
from htsat_edge.runtime.store.schema_postgres import is_new

KEY, KEY_URL = "store.path", "store.url"


def refuse_unfit(place: StorePlace) -> None:
    """Raise an HtsatEdgeError where a file is none of a store, or of a newer version, or where a URL never works."""
    if isinstance(place, Path):
        database_file.refuse_unfit(KEY, place)
    else:
        refuse_bad_url(KEY_URL, place)


def check_store(place: StorePlace) -> str:
    """Return the room for a store, or that its server answers; raise an HtsatEdgeError where it could not be written.

    Nothing is changed.
    """
    refuse_unfit(place)
    if not isinstance(place, Path):
        return _check_server(place)
    store_lock.refuse_written(KEY, place)
    return try_file(place)


def _check_server(url: PostgresUrl) -> str:
    with closing(PostgresConnection(url, to_write=False, longest_s=LONGEST_S)) as connection:
        try:
            new = is_new(connection)
        except ForeignDatabaseError as error:
            raise HtsatEdgeError(f"{KEY_URL}: {url}: {error}") from None
        may = "has_schema_privilege(current_schema(), 'CREATE')" if new else "has_table_privilege('events', 'INSERT')"
        is_allowed, is_standby = connection.execute(f"SELECT {may}, pg_is_in_recovery()").fetchone()
    if is_standby:
        raise HtsatEdgeError(f"{KEY_URL}: {url}: cannot be written to; is this the main server?")
    if not is_allowed:
        raise HtsatEdgeError(f"{KEY_URL}: {url}: this user may not write; make it the owner of the database")
    return f"{url} answers"
