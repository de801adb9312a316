"""SQLite's locks on a file, which a process loses with any descriptor of it that it closes."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.schema import check_version, has_mark
from htsat_edge.runtime.store.sqlite import kept_from_opening
from htsat_edge.runtime.store.verdicts import put_verdicts

ANOTHER_PROGRAM = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
print(*database.execute("SELECT count(*) FROM events").fetchone())
database.close()
"""


def read(path):
    with StoreReader(path) as reader:
        assert reader.events(EventFilter(), 9).total


LOOKS = {
    "read": read,
    "judge": lambda path: put_verdicts(path, [Verdict(event=1, decision="wrong")]),
    "mark": has_mark,
    "version": check_version,
}


def count_elsewhere(path):
    """The events that another program finds, such as one that makes a copy; it may write, and ends."""
    command = [sys.executable, "-c", ANOTHER_PROGRAM, path]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_at_what_this_process_writes_lets_no_other_delete_its_log(look, filler):
    filler.event("Dog", 1.0, 2.0)
    look(filler.path)
    assert count_elsewhere(filler.path) == 1
    filler.event("Dog", 3.0, 4.0)
    assert count_elsewhere(filler.path) == 2


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_look_at_what_this_process_reads(look, filler, tmp_path):
    """By another name, too."""
    filler.event("Dog", 1.0, 2.0)
    link = tmp_path / "link.db"
    link.symlink_to(filler.path)
    with StoreReader(filler.path) as reader:
        filler.database.close()
        look(link)
        assert count_elsewhere(filler.path) == 1
        assert filler.path.with_name(f"{filler.path.name}-wal").exists()
        assert reader.info().events == 1


def test_what_this_process_has_closed_is_looked_at_again(filler):
    filler.database.close()
    assert has_mark(filler.path)
    with closing(sqlite3.connect(filler.path)) as database:
        database.execute("PRAGMA application_id = 1234")
    assert not has_mark(filler.path)


def test_one_may_be_closed_while_another_one_is_opened(filler, monkeypatch):
    """By the same thread: Python closes one that nobody has any more wherever it likes."""

    def close_within():
        with kept_from_opening(filler.path) as was_open:
            filler.database.close()
        with kept_from_opening(filler.path) as is_open:
            found.append((was_open, is_open))

    found = []
    thread = threading.Thread(target=close_within, daemon=True)
    with monkeypatch.context() as patch:  # one that is stuck holds a lock of its own
        patch.setattr("htsat_edge.runtime.store.sqlite._OPENING", threading.Lock())
        thread.start()
        thread.join(10)
    assert found == [(True, False)]
