"""A folder of results is ours, of this version and with this key, or it is left as it is."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

import pytest

from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.records import (
    ArchiveFile,
    FoundEvent,
    FoundInRecording,
    Origin,
    Quality,
    Span,
    SpanScores,
)
from htsat_edge.runtime.archive.tables import write_tables
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


def test_a_foreign_file_with_the_name_of_the_lock_is_left_as_it_is(tmp_path):
    (tmp_path / ".lock").write_text("of another program\n")
    assert "is not empty, and holds no results of a scan" in refused(tmp_path)
    assert (tmp_path / ".lock").read_text() == "of another program\n"


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
        ({"hop_s": "0.32"}, "--hop (1.28, now 0.32)"),
        ({"model": "b" * 64}, "model (--bundle)"),
        ({"hop_s": "0.32", "model": "b" * 64}, "--hop (1.28, now 0.32), model (--bundle)"),
        ({"version of htsat-edge": "2"}, "version of htsat-edge (none, now 2)"),
        ({"shown": '["Dog"]', "labels": '["Dog"]'}, "--labels"),
        ({"gate_dbfs": "1"}, "gate_dbfs of --config (none, now 1)"),
        (
            dict.fromkeys(("channel", "scores", "start", "source", "groups"), "1"),
            "--channel (none, now 1), --scores (none, now 1), --start (none, now 1) and 2 more",
        ),
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


def use(folder):
    """All that a run does with a journal that it goes on with."""
    with begin(folder) as journal:
        journal.add_found([ArchiveFile(BASE / f"{number}.wav", 10, 1) for number in range(3)])
        for file in journal.todo():
            journal.spans(file.path)
        journal.totals()
        write_tables(journal, ["csv", "desed"], 2.0)


def test_damage_anywhere_is_one_line_or_none(tmp_path):
    origin = Origin(datetime(2026, 5, 1), "name", 52.5, 13.25, "SM4 S4A00123")
    with begin(tmp_path / "whole") as journal:
        journal.add_found([ArchiveFile(BASE / f"{number}.wav", 10, 1) for number in range(3)])
        for number in range(2):
            events = FoundEvent(0, "Dog", 0.0, 1.5, 0.5), FoundEvent(0, "Rain", 0.5, 60.0, 0.25)
            found = FoundInRecording(60.0, 8000, 1, Quality(5, 0.5, 0.5), events, origin)
            journal.finish(BASE / f"{number}.wav", found)
        span = Span(BASE / "2.wav", 0, 2)
        journal.keep_span(span.path, SpanScores(span, (b"12", b"3"), Quality(5, 0.1), 8000, 2, 30.5))
    content = (tmp_path / "whole" / "journal.sqlite").read_bytes()
    used = [at for at, byte in enumerate(content) if byte]
    chance, refused = random.Random(0), 0
    for run in range(150):
        folder = tmp_path / str(run)
        folder.mkdir()
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 1, 20])):
            damaged[chance.choice(used)] = chance.randrange(256)
        damaged[:100] = content[:100]  # else it is none of ours
        (folder / "journal.sqlite").write_bytes(damaged)
        with suppress(HtsatEdgeError):
            use(folder)
            continue
        refused += 1
    assert 20 < refused < 150


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
