"""A file that is restored, deleted or emptied while a collector writes it."""

import errno
import json
import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from htsat_edge.runtime.fleet.reports import read_report
from htsat_edge.runtime.fleet.writer import FleetWriter, TimedReport
from htsat_edge.runtime.store.database import Database

AT = 1_790_000_000.0


def write(writer, *numbers):
    for number in numbers:
        message = {"type": "start", "source": "gate", "id": number, "label": "Dog", "onset": 1.0, "score": 0.5}
        content = {"session": "one", "number": number, "message": {**message, "time": None}}
        writer.write([TimedReport(read_report("barn/messages", json.dumps(content).encode()), AT)])


def stored(path):
    """The events in a file that is whole."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [number for (number,) in database.execute("SELECT number FROM events ORDER BY id")]


def copied(path, copy):
    """A copy of a file that is written, as people make them."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("VACUUM INTO ?", (str(copy),))
    return copy


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fleet.db"


@pytest.fixture
def writer(path):
    writer = FleetWriter(path)
    yield writer
    writer.release()


def test_a_copy_that_is_restored_is_not_damaged_by_the_log_of_the_one_before(path, writer, tmp_path, caplog):
    writer.open()
    write(writer, 1)
    copy = copied(path, tmp_path / "copy.db")
    write(writer, *range(2, 60))
    copy.replace(path)
    assert not writer.has_reopened
    write(writer, *range(60, 70))
    assert writer.has_reopened
    writer.close()
    assert stored(path) == [1, *range(60, 70)]
    assert "was deleted or replaced; its log is kept as fleet.db.replaced-" in caplog.text


def test_and_not_where_another_program_opens_it_before_the_next_message(path, writer, tmp_path):
    writer.open()
    write(writer, 1)
    copy = copied(path, tmp_path / "copy.db")
    write(writer, *range(2, 60))
    copy.replace(path)
    writer.look()
    look = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT count(*) FROM events').fetchone()"
    subprocess.run([sys.executable, "-c", look], check=True)
    write(writer, 60)
    writer.close()
    assert stored(path) == [1, 60]


def test_one_that_was_moved_away_has_all_that_was_written_to_it(path, writer, tmp_path):
    writer.open()
    write(writer, 1, 2, 3)
    path.rename(tmp_path / "old.db")
    write(writer, 4)
    writer.close()
    assert stored(tmp_path / "old.db") == [1, 2, 3]
    assert stored(path) == [4]


@pytest.mark.parametrize("deleted", [["-wal"], ["-wal", "-shm"]])
def test_what_was_in_a_log_that_was_deleted_is_there(path, writer, caplog, deleted):
    writer.open()
    write(writer, 1, 2, 3)
    for end in deleted:
        path.with_name(path.name + end).unlink()
    write(writer, 4)
    assert stored(path) == [1, 2, 3, 4]
    assert "fleet.db: its log was deleted; what was in it is in the file now" in caplog.text


def test_one_that_was_emptied_is_put_aside(path, writer, tmp_path, caplog):
    writer.open()
    write(writer, 1)
    path.write_bytes(b"")
    write(writer, 2, 3)
    writer.close()
    assert stored(path) == [2, 3]
    assert caplog.record_tuples[-1][1] == logging.ERROR
    (kept,) = (one.name for one in tmp_path.glob("fleet.db.damaged-*") if one.name[-1].isdigit())
    assert f"it was emptied; it is kept as {kept}, and a new one is begun" in caplog.text


@pytest.mark.parametrize("deleted", [True, False])
def test_one_behind_a_symbolic_link(path, tmp_path, caplog, deleted):
    """What it led to is deleted, or it leads to another one."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    path.symlink_to(one)
    writer = FleetWriter(path)
    writer.open()
    write(writer, 1)
    if deleted:
        one.unlink()
    else:
        Database(other).close()
        path.unlink()
        path.symlink_to(other)
    write(writer, 2)
    writer.release()
    assert "was deleted or replaced" in caplog.text
    assert stored(path) == [2]
    assert stored(one) == ([2] if deleted else [1])


def test_one_behind_a_symbolic_link_that_is_moved_to_another_disk(path, writer, tmp_path, caplog, monkeypatch):
    rename = Path.rename

    def rename_on_one_disk(one, other):
        if one.parent.resolve() != other.parent.resolve():
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(one, other)

    disk, other_disk = tmp_path / "disk", tmp_path / "other disk"
    for folder in (disk, other_disk):
        folder.mkdir()
    path.symlink_to(disk / "fleet.db")
    writer.open()
    write(writer, 1)
    writer.close()
    write(writer, 2)
    monkeypatch.setattr(Path, "rename", rename_on_one_disk)
    shutil.copy(disk / "fleet.db", other_disk)
    (disk / "fleet.db").unlink()
    path.unlink()
    path.symlink_to(other_disk / "fleet.db")
    write(writer, 3)
    writer.close()
    assert stored(path) == [1, 3]
    assert any(one.name.startswith("fleet.db.replaced-") for one in disk.iterdir())
    assert "; its log is kept as fleet.db.replaced-" in caplog.text
