"""A folder of results is ours, of this version and with this key, or it is left as it is."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError

KEY, BASE = {"hop_s": "1.28", "model": "a" * 64}, Path("/archive")


def begin(folder, key=KEY):
    return Journal.open(folder, key, BASE)


def files_in(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def refused(folder, key=KEY):
    """The error, after which everything is as it was."""
    before = files_in(folder)
    with pytest.raises(HtsatEdgeError) as error:
        begin(folder, key)
    after = files_in(folder)
    after.pop(Path(".lock"), None)
    before.pop(Path(".lock"), None)
    assert after == before
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_is_made_and_gone_on_with(tmp_path):
    begin(tmp_path / "new" / "results").close()
    begin(tmp_path / "new" / "results").close()
    assert sorted(path.name for path in (tmp_path / "new" / "results").iterdir()) == [".lock", "journal.sqlite"]


def test_what_a_kill_has_left_is_no_foreign_file(tmp_path):
    (tmp_path / ".lock").write_text("1\n")
    (tmp_path / ".htsat-edge-0123456789abcdef.sqlite.part").write_bytes(b"SQLite")
    begin(tmp_path).close()
    begin(tmp_path).close()


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path):
    (tmp_path / "thesis.doc").write_text("years")
    assert refused(tmp_path) == (
        f"{tmp_path}: is not empty, and holds no results of a scan; give --out an empty or a new folder"
    )
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(4000)])
def test_a_foreign_journal_is_left_as_it_is(tmp_path, content):
    (tmp_path / "journal.sqlite").write_bytes(content)
    assert refused(tmp_path) == f"{tmp_path}/journal.sqlite: is no journal of a scan; give another --out"


def test_the_database_of_another_program_is_left_as_it_is(tmp_path):
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
        database.execute("CREATE TABLE files (path)")
    assert "is no journal of a scan" in refused(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hop_s": "0.32"}, "hop_s (1.28, now 0.32)"),
        ({"model": "b" * 64}, "model"),
        ({"hop_s": "0.32", "model": "b" * 64}, "hop_s (1.28, now 0.32), model"),
        ({"new": "1"}, "new (null, now 1)"),
        (dict.fromkeys("abcde", "1"), "a (null, now 1), b (null, now 1), c (null, now 1) and 2 more"),
    ],
)
def test_another_key_is_refused_and_what_differs_is_named(tmp_path, changed, said):
    begin(tmp_path).close()
    assert refused(tmp_path, KEY | changed) == (
        f"{tmp_path}: was begun with another {said}; give these as before, or another --out"
    )
    begin(tmp_path).close()


def test_another_version_of_the_tables_is_refused(tmp_path):
    begin(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    assert "by another version of htsat-edge, whose journals have version 99 and not 1; give another" in refused(
        tmp_path
    )


def test_a_damaged_journal_is_named(tmp_path):
    begin(tmp_path).close()
    journal = tmp_path / "journal.sqlite"
    content = journal.read_bytes()
    journal.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert f"{journal}: is damaged (" in refused(tmp_path)


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(HtsatEdgeError, match=r"file/results: no results can be written there: Not a directory"):
        begin(tmp_path / "file" / "results")


HOLD = """
import sys
from pathlib import Path
from htsat_edge.runtime.archive.journal import Journal
journal = Journal.open(Path(sys.argv[1]), {}, Path("/"))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_run_in_another_process_keeps_this_one_out_until_it_is_killed(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(NotReadyError, match=rf"another scan writes there, process {other.pid} \(kill {other.pid} "):
            begin(tmp_path, {})
        other.kill()
        other.wait()
        begin(tmp_path, {}).close()


def test_no_link_is_followed_to_the_lock(tmp_path):
    target = tmp_path / "precious"
    target.write_text("years")
    results = tmp_path / "results"
    begin(results).close()
    (results / ".lock").unlink()
    (results / ".lock").symlink_to(target)
    assert "no results can be written there" in refused(results)
    assert target.read_text() == "years"
