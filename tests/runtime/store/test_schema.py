"""Migrations: a database of an earlier version is taken over whole, one of somebody else is left alone."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from htsat_edge.runtime.daemon.messages import AnyMessage
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.schema import (
    APPLICATION_ID,
    LINE_COLUMNS,
    MIGRATIONS,
    RENAMED_STATES,
    ForeignDatabaseError,
    has_mark,
    migrate,
)


def open_and_close(path):
    Database(path).close()


def open_files():
    """The names of what this process has open."""
    return {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def lines(v0, query):
    """The lines of the old database."""
    found = [dict(zip(LINE_COLUMNS, row, strict=True)) for row in query(v0, "SELECT * FROM events ORDER BY id")]
    assert {line["type"] for line in found} == {"start", "end", "gap", "status"}
    assert len({line["session"] for line in found}) == 2
    return found


def test_an_empty_database_gets_the_tables(tmp_path, query):
    path = tmp_path / "new.db"
    open_and_close(path)
    tables = [name for (name,) in query(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    messages = ["events", "gaps", "sessions", "statuses"]
    assert tables == sorted([*messages, "clips", "devices", "in_force", "left_out", "scores", "setups", "verdicts"])
    assert query(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert query(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert path.read_bytes()[68:72] == b"htsa"  # where sqlite keeps it, and the program `file` reads it


def test_a_start_and_its_end_become_one_event(v0, query):
    """In its session and its source; what has no start, or no end, is an event, too."""
    open_and_close(v0)
    columns = "session, source, number, label, onset, offset, time, score"
    found = query(v0, f"SELECT {columns} FROM events ORDER BY session, source, number")
    hoefe, at = "Höfe/straße 1", "2026-05-01T21:30:{:02}.000+02:00".format
    assert found == [
        (1, hoefe, 1, "Dog", 6.72, 7.68, None, 0.9),
        (1, "yard", 1, "Thunder", 1.28, 3.2, at(1), 0.71),
        (1, "yard", 2, "Dog", 6.72, 8.96, at(6), 0.6883),
        (1, "yard", 3, "Cattle, bovinae", 7.04, 12.8, at(7), 0.9825),
        (1, "yard", 4, "Dog", 11.84, 12.48, at(11), 0.3207),
        (1, "yard", 5, "Speech", 30.08, None, at(30), 0.77),
        (2, "yard", 1, "Dog", 6.72, 7.36, None, 0.55),
    ]


def test_every_line_is_found_again(v0, lines, query):
    open_and_close(v0)
    sessions = dict(query(v0, "SELECT uid, id FROM sessions"))
    assert list(sessions) == list(dict.fromkeys(line["session"] for line in lines))
    count = {"start": 0, "end": 0, "gap": 0, "status": 0}
    for line in lines:
        count[line["type"]] += 1
        whole = {**json.loads(line["line"]), **line, "session": sessions[line["session"]]}
        match line["type"]:
            case "start":
                columns = "session", "source", "label", "onset", "time", "told_at"
                found = "SELECT session, source, label, onset, time, stored_at FROM events"
            case "end":
                columns = "session", "source", "label", "onset", "offset", "time", "score"
                found = f"SELECT {', '.join(columns)} FROM events"
            case "gap":
                columns = "session", "number", "source", "onset", "offset", "time", "reason", "told_at"
                found = "SELECT session, number, source, onset, offset, time, reason, stored_at FROM gaps"
            case "status":
                columns = "session", "number", "source", "time", "told_at"
                found = "SELECT session, number, source, time, stored_at FROM statuses"
        assert query(v0, found).count(tuple(whole[column] for column in columns)) == 1, line
    assert query(v0, "SELECT count(*) FROM gaps") == [(count["gap"],)]
    assert query(v0, "SELECT count(*) FROM statuses") == [(count["status"],)]


def test_statuses_become_messages_of_today(v0, lines, query):
    """With the new names of states, and all else as it was; by how much a clock was set becomes a number."""
    open_and_close(v0)
    old = [json.loads(line["line"]) for line in lines if line["type"] == "status"]
    assert {message["state"] for message in old} == {*RENAMED_STATES, "coverage"}
    found = query(v0, "SELECT state, message FROM statuses ORDER BY id")
    for (state, message), before in zip(found, old, strict=True):
        assert state == RENAMED_STATES.get(before["state"], before["state"])
        wanted = {**before, "state": state}
        if state == "clock_set":
            assert wanted.pop("text") == "by +3600.000 s"
            wanted["by_s"] = 3600.0
        assert json.loads(message) == wanted
        TypeAdapter(AnyMessage).validate_json(message)
    assert [state for state, _ in found] == [
        "input_fault",
        "input_ok",
        "coverage",
        "source_lost",
        "source_back",
        "source_failed",
        "clock_set",
        "config_rejected",
        "config_loaded",
        "source_lost",
    ]
    assert json.loads(found[3][1])["text"] == "Gerät getrennt: »USB-Mikrofon« 🎤"


@pytest.mark.parametrize("fixture", ["v0", "v1"])
def test_a_migration_is_logged_before_it_begins(fixture, request, tmp_path, caplog):
    """Once: not for a new database, nor for one of the present."""
    caplog.set_level("INFO")
    path = request.getfixturevalue(fixture)
    for opened in (tmp_path / "new.db", path, path):
        open_and_close(opened)
    assert caplog.messages == [f"{path}: is brought to a new version, which takes seconds where it is big"]


def test_a_session_began_with_its_first_line(v0, lines, query):
    open_and_close(v0)
    for uid, started_at in query(v0, "SELECT uid, started_at FROM sessions"):
        assert started_at == min(line["told_at"] for line in lines if line["session"] == uid)


def test_nothing_is_left_of_the_old_tables(v0, tmp_path, query):
    open_and_close(v0)
    open_and_close(tmp_path / "new.db")
    schema = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    assert query(v0, schema) == query(tmp_path / "new.db", schema)
    assert query(v0, "PRAGMA user_version") == [(len(MIGRATIONS),)]


def test_an_old_database_without_a_line(v0, query):
    with closing(sqlite3.connect(v0)) as database:
        database.execute("DELETE FROM events")
        database.commit()
    open_and_close(v0)
    assert query(v0, "SELECT * FROM events") == query(v0, "SELECT * FROM sessions") == []


def test_what_sqlite_adds_makes_no_foreign_database(v0, query):
    with closing(sqlite3.connect(v0)) as database:
        database.execute("ANALYZE")
    open_and_close(v0)
    assert query(v0, "SELECT count(*) FROM events") == [(7,)]


def migrate_with(path, pages):
    """Migrate on a disk that has so many pages left."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (used,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {used + pages}")
        try:
            migrate(database)
        finally:
            assert not database.in_transaction


def test_a_migration_is_all_or_nothing(v0, dump):
    """The disk is full after ever so many pages."""
    before = dump(v0)
    for pages in range(4):
        with pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
            migrate_with(v0, pages)
        assert dump(v0) == before
    migrate_with(v0, 50)
    assert dump(v0)[0] == f"version {len(MIGRATIONS)}"


def test_a_line_that_cannot_be_read_stops_the_migration(v0, dump):
    with closing(sqlite3.connect(v0)) as database:
        database.execute("UPDATE events SET line = '{' WHERE id = (SELECT max(id) FROM events)")
        database.commit()
    before = dump(v0)
    with pytest.raises(ValueError, match="Expecting property name"):
        open_and_close(v0)
    assert dump(v0) == before


def test_opening_again_changes_nothing(v0, dump):
    open_and_close(v0)
    before = dump(v0)
    open_and_close(v0)
    assert dump(v0) == before


@pytest.mark.parametrize("version", [0, len(MIGRATIONS), 99])
@pytest.mark.parametrize("table", ["notes (text)", "events (id, name)"])
def test_a_database_of_another_program_is_refused_untouched(table, version, tmp_path):
    path = tmp_path / "foreign.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TABLE {table}")
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
    before = sha256(path)
    with pytest.raises(ForeignDatabaseError, match="it is a database of another program"):
        open_and_close(path)
    assert str(path) not in open_files()
    assert sha256(path) == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_database_with_tables_of_somebody_else_is_refused_untouched(v0, dump):
    with closing(sqlite3.connect(v0)) as database:
        database.execute("CREATE TABLE notes (text)")
    before = dump(v0)
    with pytest.raises(ForeignDatabaseError, match="it is a database of another program"):
        open_and_close(v0)
    assert dump(v0) == before


def test_a_database_of_a_newer_version_is_refused_untouched(v0, dump):
    open_and_close(v0)
    with closing(sqlite3.connect(v0)) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = dump(v0)
    with pytest.raises(ForeignDatabaseError, match="it was written by a newer version of htsat-edge"):
        open_and_close(v0)
    assert dump(v0) == before


def test_what_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "letter.db"
    path.write_text("Dear Sir or Madam, " * 100)
    before = sha256(path)
    with pytest.raises(sqlite3.DatabaseError, match="file is not a database"):
        open_and_close(path)
    assert sha256(path) == before


def test_the_mark_of_ours_is_known_without_opening_it(v0, tmp_path):
    """Damaged behind its header, too; every version of ours, and one without a table yet."""
    new, damaged, empty = (tmp_path / name for name in ("new.db", "damaged.db", "empty.db"))
    open_and_close(new)
    damaged.write_bytes(new.read_bytes()[:100] + b"no page" * 1000)
    with closing(sqlite3.connect(empty)) as database:
        database.execute("VACUUM")
    before = {path: sha256(path) for path in tmp_path.iterdir()}
    assert [has_mark(path) for path in (v0, new, damaged, empty)] == [True] * 4
    assert {path: sha256(path) for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA application_id = 1234",
        "PRAGMA user_version = 1",
        "CREATE TABLE events (id)",
        "CREATE VIEW events AS SELECT 1",
    ],
)
def test_without_the_mark_it_is_refused_and_by_a_migration_too(statement, tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.execute("VACUUM")
    before = sha256(path)
    assert not has_mark(path)
    with pytest.raises(ForeignDatabaseError, match="it is a database of another program"):
        open_and_close(path)
    assert sha256(path) == before


@pytest.mark.parametrize("content", [b"x", b"SQLite format 2\0", b"SQLite format 3\0" + bytes(500), b"Dear Sir" * 99])
def test_what_is_no_database_has_no_mark(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert not has_mark(tmp_path / "file")


OPENER = """
import sys
from pathlib import Path
from htsat_edge.runtime.store.database import Database

print("ready", flush=True)
sys.stdin.readline()
with Database(Path(sys.argv[1])) as database:
    database.session(sys.argv[2], 1.0)
"""


@pytest.mark.parametrize("old", [False, True])
def test_several_processes_open_it_at_once(old, v0, tmp_path, query):
    path = v0 if old else tmp_path / "new.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, path, f"process {i}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    assert query(path, "SELECT count(*) FROM events") == [(7 if old else 0,)]
    uids = [uid for (uid,) in query(path, "SELECT uid FROM sessions WHERE uid LIKE 'process %' ORDER BY uid")]
    assert uids == ["process 0", "process 1", "process 2"]
