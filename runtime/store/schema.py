"""How a database of an earlier version becomes one of the present; an empty one, too.

`PRAGMA user_version` counts the migrations that a database has had. The first takes over the table of lines that
htsat-edge wrote before it kept versions. To change the tables, append a migration; never edit one that was released.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from htsat_edge.runtime.store.sqlite import kept_from_opening
from htsat_edge.runtime.store.tables import FIRST, FOURTH, SECOND, THIRD

APPLICATION_ID = 0x68747361
"""`PRAGMA application_id` of our databases: "htsa"."""
HEADER, APPLICATION_ID_AT = b"SQLite format 3\0", 68
"""How a file of SQLite begins, and where in it the four bytes of `application_id` are."""
LINE_COLUMNS = (
    "id",
    "session",
    "number",
    "told_at",
    "type",
    "source",
    "label",
    "onset",
    "offset",
    "time",
    "score",
    "line",
)
"""Of the table `events` before versions were kept: one row for each message."""
RENAMED_STATES = {
    "lost": "source_lost",
    "back": "source_back",
    "failed": "source_failed",
    "deaf": "input_fault",
    "hears again": "input_ok",
    "clock set": "clock_set",
    "configuration read again": "config_loaded",
    "configuration refused": "config_rejected",
}


logger = logging.getLogger(__name__)


class ForeignDatabaseError(Exception):
    """A database that htsat-edge did not write, or that a newer version wrote."""


def has_mark(path: Path) -> bool:
    """Return whether a file is a database of ours, damaged or not, or one without any table; nothing is written.

    To open a database of another program in the usual way might write to it, too: what is in its log. One that this
    process has open was looked at before.
    """
    with kept_from_opening(path) as is_open:
        if is_open:
            return True
        with path.open("rb") as file:
            head = file.read(APPLICATION_ID_AT + 4)
        if not head.startswith(HEADER):
            return False
        if (application_id := int.from_bytes(head[APPLICATION_ID_AT:], "big")) != 0:
            return application_id == APPLICATION_ID
        try:
            with closing(_read_only(path)) as database:
                return _pragma(database, "user_version") == 0 and not _is_foreign(database)
        except sqlite3.Error:
            return False


def check_version(path: Path) -> None:
    """Raise a ForeignDatabaseError where `migrate` would; nothing is written, and a damaged database is none."""
    with kept_from_opening(path) as is_open, suppress(sqlite3.Error):
        if not is_open:
            with closing(_read_only(path)) as database:
                _version(database)


def migrate(database: sqlite3.Connection) -> None:
    """Bring a database to the present version, all or nothing; an empty one gets the tables.

    The connection must be in autocommit mode (`isolation_level=None`). Raise a ForeignDatabaseError, with the database
    as it was, where it is not ours to change.
    """
    if _pragma(database, "user_version") == len(MIGRATIONS) and _pragma(database, "application_id") == APPLICATION_ID:
        return
    database.execute("BEGIN IMMEDIATE")  # two processes may open it at once
    try:
        version = _version(database)
        if _tables(database):
            file = database.execute("SELECT file FROM pragma_database_list WHERE name = 'main'").fetchone()[0]
            logger.info("%s: is brought to a new version, which takes seconds where it is big", file)
        for migration in MIGRATIONS[version:]:
            migration(database)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        database.execute("COMMIT")
    finally:
        if database.in_transaction:  # SQLite has rolled back by itself where the disk is full
            database.execute("ROLLBACK")


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def _version(database: sqlite3.Connection) -> int:
    """Return the version of a database's tables; raise a ForeignDatabaseError where it is not ours to change."""
    version = _pragma(database, "user_version")
    application_id = _pragma(database, "application_id")
    if application_id != (APPLICATION_ID if version else 0):
        raise ForeignDatabaseError("it is a database of another program")
    if version > len(MIGRATIONS):
        raise ForeignDatabaseError("it was written by a newer version of htsat-edge")
    return version


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _tables(database: sqlite3.Connection) -> list[str]:
    """Return the names of tables and views, without those that SQLite makes itself."""
    names = database.execute(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'"
    )
    return [name for (name,) in names]


def _is_foreign(database: sqlite3.Connection) -> bool:
    """Return whether a database without a version has other tables than the one of before versions were kept."""
    columns = tuple(row[1] for row in database.execute("PRAGMA table_info(events)"))
    tables = _tables(database)
    return bool(tables) and (tables != ["events"] or columns != LINE_COLUMNS)


def _create(database: sqlite3.Connection) -> None:
    """Make the tables, and take over the lines of a database from before versions were kept."""
    if _is_foreign(database):
        raise ForeignDatabaseError("it is a database of another program")
    tables = _tables(database)
    if tables:
        database.execute("ALTER TABLE events RENAME TO lines")
    for statement in FIRST:
        database.execute(statement)
    if tables:
        _take_over_lines(database)
        database.execute("DROP TABLE lines")


def _take_over_lines(database: sqlite3.Connection) -> None:
    database.execute(
        "INSERT INTO sessions (uid, started_at) "
        "SELECT session, min(told_at) FROM lines GROUP BY session ORDER BY min(id)"
    )
    sessions = dict(database.execute("SELECT uid, id FROM sessions"))
    counts: defaultdict[tuple[int, str], int] = defaultdict(int)
    open_events: dict[tuple[int, str, str, float], int] = {}
    for row in database.execute(f"SELECT {', '.join(LINE_COLUMNS)} FROM lines ORDER BY id"):
        line = dict(zip(LINE_COLUMNS, row, strict=True))
        session = sessions[line["session"]]
        match line["type"]:
            case "start" | "end":
                _take_over_event(database, session, line, counts, open_events)
            case "gap":
                content = json.loads(line["line"])
                _insert(
                    database,
                    "gaps",
                    session,
                    line,
                    onset=line["onset"],
                    offset=line["offset"],
                    reason=content["reason"],
                )
            case _:
                content = json.loads(line["line"])
                content["state"] = RENAMED_STATES.get(content.get("state", ""), content.get("state", line["type"]))
                if content["state"] == "clock_set" and (moved := re.search(r"[-+]\d+\.\d+", content.pop("text", ""))):
                    content["by_s"] = float(moved[0])
                message = json.dumps(content)
                _insert(database, "statuses", session, line, state=content["state"], message=message)


def _take_over_event(
    database: sqlite3.Connection,
    session: int,
    line: dict[str, Any],
    counts: defaultdict[tuple[int, str], int],
    open_events: dict[tuple[int, str, str, float], int],
) -> None:
    """Make one row of a start and its end; an end whose start was deleted makes a row alone."""
    key = (session, line["source"], line["label"], line["onset"])
    if line["type"] == "end" and key in open_events:
        database.execute(
            "UPDATE events SET offset = ?, score = ? WHERE id = ?",
            (line["offset"], line["score"], open_events.pop(key)),
        )
        return
    counts[session, line["source"]] += 1
    row = _insert(
        database,
        "events",
        session,
        {**line, "number": counts[session, line["source"]]},
        label=line["label"],
        onset=line["onset"],
        offset=line["offset"],
        score=line["score"],
    )
    if line["type"] == "start":
        open_events[key] = row


def _insert(database: sqlite3.Connection, table: str, session: int, line: dict[str, Any], **values: object) -> int:
    row = {
        "session": session,
        "number": line["number"],
        "source": line["source"],
        "time": line["time"],
        "stored_at": line["told_at"],
        **values,
    }
    statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
    cursor = database.execute(statement, tuple(row.values()))
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _add_scores_and_verdicts(database: sqlite3.Connection) -> None:
    """Add what the page needs: times that can be asked for, scores, clips, and what people say of events."""
    for statement in SECOND:
        database.execute(statement)


def _date_setups(database: sqlite3.Connection) -> None:
    """Note from where on each setup is in force: all so far, from the beginning of their sessions."""
    for statement in THIRD:
        database.execute(statement)


def _add_devices(database: sqlite3.Connection) -> None:
    """Add what a fleet needs: which device a session is of, and what each has said of itself."""
    for statement in FOURTH:
        database.execute(statement)


MIGRATIONS: Sequence[Callable[[sqlite3.Connection], None]] = (
    _create,
    _add_scores_and_verdicts,
    _date_setups,
    _add_devices,
)
