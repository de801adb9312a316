"""A database of the version that kept lines, and eyes for databases."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

V0 = Path(__file__).parents[2] / "data" / "store" / "v0.db"


@pytest.fixture
def v0(tmp_path):
    """A copy of tests/data/store/v0.db, which its README describes."""
    return Path(shutil.copy(V0, tmp_path / "v0.db"))


@pytest.fixture
def query():
    """The rows of a query on a database that others may have open."""

    def rows(path, statement, *values):
        with closing(sqlite3.connect(path)) as database:
            return database.execute(statement, values).fetchall()

    return rows


@pytest.fixture
def dump():
    """All of a database, as SQL, with its version."""

    def text(path):
        with closing(sqlite3.connect(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            return [f"version {version}", *database.iterdump()]

    return text
