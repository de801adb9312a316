"""Bad stores: one line that says what, where and how to mend it, and nothing is changed."""

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.store import connect
from htsat_edge.runtime.store.connect import StoreError, open_store
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.schema import MIGRATIONS
from htsat_edge.runtime.store.verdicts import put_verdicts

AT = 1_777_663_800.0
OPENERS = [open_store, lambda path: put_verdicts(path, [Verdict(event=1, decision="wrong")])]


@pytest.fixture(params=OPENERS, ids=["read", "write"])
def refused(request):
    """Both ways to open a store raise this line, which names the path."""

    def check(path, line):
        with pytest.raises(StoreError) as caught:
            request.param(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)

    return check


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(connect, "BUSY_S", 0.01)


def test_a_missing_one(refused, tmp_path):
    refused(tmp_path / "absent" / "store.db", "there is no store; `htsat-edge listen` with `outputs.store.path:")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("content", [b"", b"Dear Sir or Madam", b"SQLite format 3\0" + bytes(4000)])
def test_no_database(content, refused, tmp_path):
    path = tmp_path / "letter.db"
    path.write_bytes(content)
    refused(path, "is no store of htsat-edge; give the path that is `outputs.store.path`")
    assert path.read_bytes() == content


def test_a_folder(refused, tmp_path):
    refused(tmp_path, "is no store of htsat-edge")


def test_a_database_of_another_program(refused, tmp_path):
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA application_id = 1234")
        database.execute("CREATE TABLE notes (text)")
    refused(path, "is no store of htsat-edge")
    assert list(tmp_path.iterdir()) == [path]


def test_older_ones(refused, v0, v1):
    for path in (v0, v1):
        before = path.read_bytes()
        refused(path, "was written by an older version of htsat-edge; start `htsat-edge listen` once with it")
        assert path.read_bytes() == before


def test_a_newer_one(refused, filler):
    with closing(sqlite3.connect(filler.path)) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    refused(filler.path, "was written by a newer version of htsat-edge; install that one")


def test_a_locked_one(refused, filler):
    """As by a program that keeps a database for itself; one that only writes disturbs no reader."""
    filler.event("Dog", 1.0, 2.0)
    path = filler.path
    filler.database.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        refused(path, "is locked by another program; try again when that has ended")


def test_a_writer_disturbs_no_reader(filler):
    filler.event("Dog", 1.0, 2.0)
    with closing(sqlite3.connect(filler.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM events")
        with StoreReader(filler.path) as reader:
            assert reader.events(EventFilter(), 10).total == 1
        with pytest.raises(StoreError, match="is locked by another program"):
            put_verdicts(filler.path, [Verdict(event=1, decision="wrong")])
        other.execute("ROLLBACK")


def test_a_reader_cannot_write(filler):
    with closing(open_store(filler.path)) as database, pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.execute("DELETE FROM events")


@pytest.mark.parametrize("good", [100, 4096])
def test_a_damaged_one(good, filler):
    """Its header tells that it is ours; behind that, or behind the page with the tables' names, all is rubbish."""
    filler.event("Dog", 1.0, 2.0)
    filler.database.close()
    content = filler.path.read_bytes()
    filler.path.write_bytes(content[:good].ljust(len(content), b"\xa5"))
    with pytest.raises(StoreError, match=r"is damaged \(.*\); `htsat-edge listen` puts it aside and begins a new one"):
        ask_all(filler.path)


def ask_all(path):
    with StoreReader(path) as reader:
        reader.events(EventFilter(), 500)
        reader.figures(EventFilter())
        reader.sources()
        reader.info()


def test_content_that_cannot_be(filler, reader):
    """`listen` does not put that aside: it does not read it."""
    filler.setup()
    filler.scores(0.0, [[0.5, 0.5, 0.5]])
    filler.event("Dog", 1.0, 2.0)
    filler.status("listening", 0.0)
    for statement, ask in (
        ("UPDATE scores SET codes = x'00'", lambda: reader.score_runs("yard", AT, AT + 1)),
        ("UPDATE setups SET setup = '{'", lambda: reader.setup("yard", 0)),
        ("UPDATE events SET score = 'high'", lambda: reader.event(1)),
        ("UPDATE statuses SET message = '{'", lambda: reader.statuses(0, 1e11)),
    ):
        with closing(sqlite3.connect(filler.path)) as database:
            database.execute(statement)
            database.commit()
        with pytest.raises(StoreError, match=r"holds what cannot be, or cannot be used.*move the file away") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_an_answer_that_takes_too_long_is_given_up(filler, reader, monkeypatch):
    monkeypatch.setattr(connect, "CHECKED", 1)
    monkeypatch.setattr(connect, "LONGEST_S", -1)
    with pytest.raises(StoreError, match="the answer takes longer than 5 s; ask for less at once"):
        reader.info()
    monkeypatch.undo()
    assert reader.info().events == 0


@contextmanager
def as_nobody():
    """Be somebody who may not do everything."""
    uid = os.geteuid()
    if uid == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(uid)


@pytest.fixture
def folder():
    """A folder that everybody may read."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.mark.parametrize("open_elsewhere", [False, True])
def test_a_read_only_one_is_read_and_not_written(open_elsewhere, folder):
    """Whether the daemon has it open, or nobody can."""
    path = folder / "store.db"
    database = Database(path)
    with database:
        start = EventStart(source="yard", id=1, label="Dog", onset=1.0, time=None, score=0.5)
        database.put_event(database.session("one", 1.0), start, 1.0)
    if not open_elsewhere:
        database.close()
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    with as_nobody():
        with StoreReader(path) as reader:
            assert reader.info().events == 1
        with pytest.raises(StoreError, match="cannot be written to; may this user write to it, and to its folder"):
            put_verdicts(path, [Verdict(event=1, decision="wrong")])
    database.close()


def test_one_that_may_not_be_read(folder):
    path = folder / "store.db"
    Database(path).close()
    path.chmod(0)
    with as_nobody(), pytest.raises(StoreError, match="cannot be read: Permission denied"):
        open_store(path)
