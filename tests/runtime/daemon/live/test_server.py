"""The live socket, with clients that do what they must not: whoever offers messages never waits, and never fails."""

import json
import os
import select
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.live import server as live
from htsat_edge.runtime.daemon.live.server import LiveServer, check_socket
from htsat_edge.runtime.daemon.messages import ClockSet, GapMessage

STATUS = ClockSet(time=None, by_s=1)


def gap(number):
    return GapMessage(source="yard", onset=number, offset=number, time=None, reason="x" * 1000)


class Watcher:
    """A client that keeps the lines that it reads; the last is None when it was closed."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.lines = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        with self.socket.makefile("rb") as lines, suppress(OSError):
            self.lines += map(json.loads, iter(lines.readline, b""))
        self.lines.append(None)

    @property
    def onsets(self):
        return [line["onset"] for line in self.lines if line and line["type"] == "gap"]

    def close(self):
        self.socket.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.db.live"


@pytest.fixture
def server(path):
    made = LiveServer(path, lambda: STATUS)
    made.start()
    yield made
    made.close()
    assert not path.exists()


@pytest.fixture
def connect(path):
    made = []

    def begin(kind=Watcher):
        made.append(kind(path))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def silent(path):
    """A client that never reads."""
    one = socket.socket(socket.AF_UNIX)
    one.connect(str(path))
    return one


def offer(server, first, count):
    """Offer gaps; return the longest time in seconds that one took."""
    longest_s = 0.0
    for number in range(first, first + count):
        begun = time.perf_counter()
        server.offer(gap(number))
        longest_s = max(longest_s, time.perf_counter() - begun)
    return longest_s


def test_only_this_user_can_connect_and_gets_the_status_then_what_comes(path, server, connect, wait_for):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.put(lambda: pytest.fail("nobody watches"))
    watcher = connect()
    wait_for(lambda: watcher.lines, 20)
    server.offer(gap(1))
    wait_for(lambda: watcher.onsets, 20)
    assert watcher.lines[:2] == [json.loads(STATUS.encoded), json.loads(gap(1).encoded)]
    watcher.socket.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: not server.connected, 20)


def test_the_status_comes_again_and_again(monkeypatch, server, connect, wait_for):
    monkeypatch.setattr(live, "STATUS_S", 0.05)
    watcher = connect()
    wait_for(lambda: len(watcher.lines) > 3, 20)


def test_who_never_reads_holds_up_nobody_and_is_left(monkeypatch, server, connect, wait_for):
    monkeypatch.setattr(live, "MOST_WAITING", 100_000)
    deaf, watcher = connect(silent), connect()
    wait_for(lambda: watcher.lines, 20)
    for first in range(0, 2000, 50):
        offer(server, first, 50)
        wait_for(lambda number=first: number + 49 in watcher.onsets, 20)
    assert watcher.onsets == list(range(2000))
    monkeypatch.setattr(live, "STALLED_S", 0.05)
    monkeypatch.setattr(live, "STATUS_S", 0.1)
    wait_for(lambda: closed(deaf), 20)
    assert watcher.lines[-1] is not None


def test_what_waits_is_bounded_and_lines_stay_whole(monkeypatch):
    monkeypatch.setattr(live, "MOST_WAITING", 300_000)
    near, far = socket.socketpair()
    with near, far:
        connection, line = live.Connection(near), b"x" * 9_999 + b"\n"
        for _ in range(1000):
            connection.put(line)
            connection.send()
            assert len(connection._waiting) <= 300_000
        far.setblocking(False)
        got = b""
        with suppress(BlockingIOError):
            while got := got + far.recv(1 << 20):
                connection.send()
    assert not connection.waits
    assert got == line * (len(got) // len(line))
    assert len(got) < 200 * len(line)


def closed(one):
    """Whether the other side has closed; nothing is read."""
    poll = select.poll()
    poll.register(one, select.POLLRDHUP)
    return bool(poll.poll(0))


def test_who_writes_or_goes_in_the_midst_of_a_line_disturbs_nobody(server, connect, wait_for):
    watcher, garbage = connect(), connect(silent)
    wait_for(lambda: watcher.lines, 20)
    garbage.sendall(os.urandom(100_000)[:100])
    wait_for(lambda: closed(garbage), 20)
    for number in range(20):
        leaver = connect(silent)
        offer(server, number, 1)
        leaver.recv(10)
        leaver.close()
    wait_for(lambda: len(watcher.onsets) == 20, 20)


def test_of_too_many_the_oldest_are_closed(server, connect, wait_for):
    many = [connect() for _ in range(50)]
    wait_for(lambda: [one.lines[-1:] == [None] for one in many] == [True] * 46 + [False] * 4, 20)
    wait_for(lambda: all(one.lines for one in many[-4:]), 20)
    server.offer(gap(1))
    wait_for(lambda: all(one.onsets == [1] for one in many[-4:]), 20)


def test_what_cannot_be_made_is_left_out(server, connect, wait_for, caplog):
    watcher = connect()
    wait_for(lambda: watcher.lines, 20)
    server.put(lambda: 1 / 0)
    server.offer(gap(1))
    wait_for(lambda: watcher.onsets, 20)
    assert "ZeroDivisionError" in caplog.text


def test_a_thread_that_fails_is_begun_again(server, connect, wait_for, monkeypatch, short_pauses):
    first = connect()
    wait_for(lambda: first.lines, 20)
    monkeypatch.setattr(LiveServer, "_send", lambda *_: 1 / 0)
    offer(server, 0, 1)
    wait_for(lambda: first.lines[-1] is None and not server.connected, 20)
    monkeypatch.undo()
    second = connect()
    wait_for(lambda: second.lines, 20)


def test_what_is_no_socket_of_ours_is_left_as_it_is(path):
    path.write_text("mine")
    for look in (LiveServer(path, lambda: STATUS).start, lambda: check_socket(path)):
        with pytest.raises(HtsatEdgeError, match=r"web.socket: .*events.db.live: is no socket, and is left as it is"):
            look()
    assert path.read_text() == "mine"


def test_one_daemon_does_not_take_the_socket_of_another(path, server, connect, wait_for):
    other = LiveServer(path, lambda: STATUS)
    with pytest.raises(HtsatEdgeError, match=r"another program listens there: does `htsat-edge listen` run already"):
        other.start()
    watcher = connect()
    wait_for(lambda: watcher.lines, 20)


def test_the_socket_of_a_daemon_that_was_killed_is_taken_over(path, wait_for):
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    assert path.exists()
    server = LiveServer(path, lambda: STATUS)
    server.start()
    watcher = Watcher(path)
    wait_for(lambda: watcher.lines, 20)
    watcher.close()
    path.rename(path.with_name("moved"))
    path.write_text("another's")
    server.close()
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    ("name", "message"), [("x" * 200, "path too long"), ("missing/live", "No such file"), ("file/live", "Not a dir")]
)
def test_a_path_that_cannot_be_is_an_error_of_one_line(name, message, tmp_path):
    (tmp_path / "file").touch()
    server = LiveServer(tmp_path / name, lambda: STATUS)
    with pytest.raises(HtsatEdgeError, match=f"web.socket: .*: cannot be used: .*{message}"):
        server.start()
