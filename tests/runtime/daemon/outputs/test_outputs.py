"""Queues that are bounded, sending again, and what becomes of lines when an output is slow, dead or full."""

import io
import json
import sqlite3
import threading
import time

import pytest
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import JsonLines
from htsat_edge.runtime.daemon.config import Store as StoreConfig
from htsat_edge.runtime.daemon.outputs import Output, RefusedError
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout
from htsat_edge.runtime.daemon.outputs.store import Store


def lines(count, start=0):
    return [{"type": "start", "source": "yard", "label": "Dog", "onset": float(i)} for i in range(start, start + count)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.CLOSE_S", 2.0)


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


class Collector(Output):
    """Keeps what it gets; fails or waits when told to."""

    def __init__(self, queued=1000):
        super().__init__("collector", queued)
        self.got = []
        self.fails = 0
        self.refuses = False
        self.free = threading.Event()
        self.free.set()

    def send(self, lines):
        self.free.wait()
        if self.refuses:
            raise RefusedError("no")
        if self.fails:
            self.fails -= 1
            raise ConnectionError("not now")
        self.got += lines


def test_lines_arrive_in_order_and_failures_lose_none(caplog):
    output = Collector()
    output.fails = 3
    output.start()
    for line in lines(500):
        output.offer(line)
    output.close()
    assert output.got == lines(500)
    assert (output.sent, output.dropped, output.failures) == (500, 0, 3)
    assert caplog.text.count("not now; it is tried again") == 1
    assert caplog.text.count("works again") == 1


def test_a_slow_one_never_makes_anybody_wait_and_its_losses_are_counted(caplog):
    output = Collector(queued=10)
    output.free.clear()
    output.start()
    begun = time.monotonic()
    for line in lines(500):
        output.offer(line)
    assert time.monotonic() - begun < 1
    output.free.set()
    output.close()
    assert output.sent + output.dropped == 500
    assert output.dropped >= 400
    assert output.got == sorted(output.got, key=lambda line: line["onset"])
    assert caplog.text.count("is 10 lines behind, and loses some") == 1


def test_one_that_hangs_does_not_keep_the_program_from_ending(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.CLOSE_S", 0.2)
    output = Collector()
    output.free.clear()
    output.start()
    for line in lines(3):
        output.offer(line)
    begun = time.monotonic()
    output.close()
    assert time.monotonic() - begun < 1
    output.free.set()


def test_what_is_refused_for_good_is_not_sent_again():
    output = Collector()
    output.refuses = True
    output.start()
    output.offer(lines(1)[0])
    wait_for(lambda: output.dropped == 1)
    output.refuses = False
    output.offer(lines(1, 1)[0])
    output.close()
    assert output.got == lines(1, 1)


def test_stdout_is_json_lines():
    stream = io.StringIO()
    output = Stdout(stream)
    output.start()
    for line in lines(3):
        output.offer(line)
    output.close()
    assert [json.loads(line) for line in stream.getvalue().splitlines()] == lines(3)


def test_nobody_reads_stdout_any_more():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    output = Stdout(Closed())
    output.start()
    output.offer(lines(1)[0])
    output.close()
    assert output.dropped == 1


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_is_rotated_and_old_ones_go(tmp_path):
    path = tmp_path / "logs" / "events.jsonl"
    output = JsonLinesFile(JsonLines(path=path, rotate_mb=0.01, keep=2))
    output.batch = 10
    output.start()
    for line in lines(1000):
        output.offer(line)
    output.close()
    files = [path.with_name("events.jsonl.2"), path.with_name("events.jsonl.1"), path]
    assert sorted(path.parent.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 10_000 for file in files)
    kept = [line for file in files for line in read_lines(file)]
    assert kept == lines(len(kept), 1000 - len(kept))


def test_half_a_line_that_a_power_cut_has_left_goes(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(lines(1)[0]) + '\n{"type": "sta')
    output = JsonLinesFile(JsonLines(path=path))
    output.start()
    output.offer(lines(1, 1)[0])
    output.close()
    assert read_lines(path) == lines(2)


def test_a_full_disk_leaves_no_half_line_and_what_was_not_written_is_written_later(tmp_path):
    """/dev/full would do for a whole write; a limit on the file's size stops in the middle of one."""
    import resource

    path = tmp_path / "events.jsonl"
    output = JsonLinesFile(JsonLines(path=path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    output.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for line in lines(50):
            output.offer(line)
        wait_for(lambda: output.failures > 2)
        assert path.stat().st_size <= 1000
        assert read_lines(path) == lines(len(read_lines(path)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    output.close()
    assert read_lines(path) == lines(50)


def test_a_file_that_cannot_be_written_is_told_before_anything_begins(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HtsatEdgeError, match=r"outputs.json_lines.path: .*: cannot be written: "):
        JsonLinesFile(JsonLines(path=tmp_path / "file" / "events.jsonl")).start()


def stored(path):
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT line FROM events ORDER BY id").fetchall()
    database.close()
    return [json.loads(row[0]) for row in rows]


def test_lines_are_stored_and_can_be_asked_for(tmp_path):
    path = tmp_path / "state" / "events.db"
    for _ in range(2):  # two runs
        output = Store(StoreConfig(path=path))
        output.start()
        for line in lines(120):
            output.offer(line)
        output.close()
    assert stored(path) == lines(120) * 2
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT count(*), max(onset), label FROM events").fetchone() == (240, 119.0, "Dog")
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT count(DISTINCT session) FROM events").fetchone() == (2,)
    database.close()


def test_a_locked_database_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.store.BUSY_S", 0.05)
    path = tmp_path / "events.db"
    output = Store(StoreConfig(path=path))
    output.start()
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    for line in lines(300):
        output.offer(line)
    wait_for(lambda: output.failures > 1)
    assert output.sent == 0
    other.rollback()
    other.close()
    output.close()
    assert stored(path) == lines(300)


def test_what_was_stored_before_the_failure_was_noticed_is_not_stored_twice(tmp_path):
    path = tmp_path / "events.db"
    output = Store(StoreConfig(path=path))
    output.start()
    send, failed = output.send, []

    def send_and_fail(batch):
        send(batch)
        if not failed:
            failed.append(True)
            raise sqlite3.OperationalError("disk I/O error")

    output.send = send_and_fail
    for line in lines(10):
        output.offer(line)
    output.close()
    assert failed
    assert stored(path) == lines(10)


def test_old_events_go(tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    output = Store(StoreConfig(path=path, keep_days=1))
    output.start()
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    output.offer(lines(1)[0])
    wait_for(lambda: output.sent == 1)
    monkeypatch.undo()
    output.close()
    again = Store(StoreConfig(path=path, keep_days=1))
    again.start()
    wait_for(lambda: stored(path) == [])
    again.close()


def test_a_damaged_database_is_kept_aside_and_a_new_one_begun(tmp_path, caplog):
    path = tmp_path / "events.db"
    path.write_text("this is no database, and long enough to be seen as none" * 50)
    output = Store(StoreConfig(path=path))
    output.start()
    output.offer(lines(1)[0])
    output.close()
    assert stored(path) == lines(1)
    (aside,) = tmp_path.glob("events.db.damaged-*")
    assert aside.read_text().startswith("this is no database")
    assert "file is not a database; it is kept as events.db.damaged-" in caplog.text


def test_a_database_that_is_damaged_while_it_is_used(tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    output = Store(StoreConfig(path=path))
    output.start()
    for line in lines(200):
        output.offer(line)
    wait_for(lambda: output.sent == 200)
    output.closed()
    path.write_bytes(b"no database at all" * 1000)
    for line in lines(10, 200):
        output.offer(line)
    output.close()
    assert stored(path) == lines(10, 200)
    assert len(list(tmp_path.glob("events.db.damaged-*"))) >= 1


def test_a_clock_that_was_never_set_forgets_nothing(tmp_path, monkeypatch):
    path = tmp_path / "events.db"
    output = Store(StoreConfig(path=path, keep_days=1))
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    output.start()
    output.offer(lines(1)[0])
    wait_for(lambda: output.sent == 1)
    output.idle()
    output.close()
    assert stored(path) == lines(1)


def test_a_path_that_cannot_be_is_told_before_anything_begins(tmp_path):
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(HtsatEdgeError, match=r"outputs.store.path: .*folder.db: unable to open database file"):
        Store(StoreConfig(path=tmp_path / "folder.db")).start()


def test_a_closed_output_does_not_go_on(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.CLOSE_S", 0.2)
    output = Collector()
    output.fails = 10**9
    output.start()
    for line in lines(300):
        output.offer(line)
    output.close()
    output._thread.join(2)
    assert not output._thread.is_alive()
    assert (output.sent, output.dropped) == (0, 300)
