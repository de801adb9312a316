"""What single migrations make of the rows of the version before."""

import sqlite3
from contextlib import closing

from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.schema import APPLICATION_ID, MIGRATIONS


def test_a_setup_of_version_2_is_in_force_from_the_beginning_of_its_session(tmp_path, query):
    path = tmp_path / "v2.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for migration in MIGRATIONS[:2]:
            migration(database)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("PRAGMA user_version = 2")
        database.execute("INSERT INTO sessions (uid, started_at) VALUES ('one', 1.0), ('two', 2.0)")
        database.execute("INSERT INTO setups (setup) VALUES ('{}'), ('[]')")
        database.execute("INSERT INTO in_force VALUES (1, 'yard', 1), (1, 'gate', 2), (2, 'yard', 2)")
    Database(path).close()
    rows = query(path, "SELECT session, source, onset, setup FROM in_force ORDER BY session, source")
    assert rows == [(1, "gate", 0.0, 2), (1, "yard", 0.0, 1), (2, "yard", 0.0, 2)]
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("DELETE FROM sessions WHERE id = 1")
        assert database.execute("SELECT session FROM in_force").fetchall() == [(2,)]


def test_clips_of_version_3_are_kept_and_names_need_no_longer_be_unique(tmp_path, query):
    """Two devices of a fleet may have clips of one name; sessions of a device's own store are of no device."""
    path = tmp_path / "v3.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for migration in MIGRATIONS[:3]:
            migration(database)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute("PRAGMA user_version = 3")
        database.execute("INSERT INTO sessions (uid, started_at) VALUES ('one', 1.0), ('two', 2.0)")
        row = "(session, source, number, name, onset, offset, time, stored_at)"
        database.execute(f"INSERT INTO clips {row} VALUES (1, 'yard', 1, 'a.flac', 0, 3, '2026-05-01T00:00:00Z', 5)")
    Database(path).close()
    assert query(path, f"SELECT {row[1:-1]}, at FROM clips") == [
        (1, "yard", 1, "a.flac", 0.0, 3.0, "2026-05-01T00:00:00Z", 5.0, 1777593600.0)
    ]
    assert query(path, "SELECT device, first_number, last_number, missing FROM sessions") == [(None,) * 4] * 2
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"INSERT INTO clips {row} VALUES (2, 'yard', 1, 'a.flac', 0, 3, NULL, 5)")
