"""Send what is heard to those who watch, by a Unix socket: one JSON object a line, and nothing is read.

Whatever happens on the other side, nobody here waits for it: who is slow misses lines, who reads nothing is left.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import identity
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.daemon.supervision import SupervisedThread, describe, kind_of

MOST_CONNECTIONS = 4
"""Of more, the oldest is closed."""
MOST_QUEUED = 200
"""Messages that wait for the thread; of more the oldest are left out."""
MOST_WAITING = 1 << 20
"""Bytes that wait for a connection; lines for which there is no room are left out."""
STALLED_S = 10.0
"""After which a connection that takes nothing is closed."""
STATUS_S = 2.0
ACCEPT_S = 0.02
"""Between two connections at least, so that whoever connects without end costs little."""
CLOSE_S = 2.0
KEY = "web.socket"
logger = logging.getLogger(__name__)


class Connection:
    """One who watches, and the bytes that wait for it."""

    def __init__(self, peer: socket.socket) -> None:
        """Write to a socket, and never wait for it."""
        peer.setblocking(False)
        self.peer = peer
        self._waiting = bytearray()
        self._moved_s = time.monotonic()

    @property
    def waits(self) -> bool:
        """Whether there are bytes that the other side has not taken."""
        return bool(self._waiting)

    def put(self, line: bytes) -> None:
        """Take a line, if there is room for it."""
        if not self._waiting:
            self._moved_s = time.monotonic()
        if len(self._waiting) + len(line) <= MOST_WAITING:
            self._waiting += line

    def send(self) -> None:
        """Send as much as the other side takes; raise an OSError where it has gone, or takes nothing for long."""
        try:
            while self._waiting:
                del self._waiting[: self.peer.send(self._waiting)]
                self._moved_s = time.monotonic()
        except BlockingIOError:
            if time.monotonic() - self._moved_s > STALLED_S:
                raise TimeoutError("it reads nothing") from None


class LiveServer:
    """A socket that only this user can connect to, and the thread that serves it."""

    name = "live"

    def __init__(self, path: Path, status: Callable[[], Message]) -> None:
        """Serve at a path; `status` says how the daemon gets on."""
        self._path, self._status = path, status
        self._queue: deque[Callable[[], Message]] = deque(maxlen=MOST_QUEUED)
        self._stop = threading.Event()
        self._warnings = RepeatedWarnings(logger)
        self._thread = SupervisedThread(f"live {path}", self._serve, lambda _: None, self._stop)
        self._ours: tuple[int, int] | None = None
        """Which file the socket is."""
        self.connected = False
        """Whether anybody is connected."""

    def start(self) -> None:
        """Open the socket; raise an HtsatEdgeError where that cannot be done."""
        self._listener = open_socket(self._path)
        self._ours = identity(self._path)
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._thread.start()

    def offer(self, message: Message) -> None:
        """Send a message to those who watch, without waiting."""
        self.put(lambda: message)

    def put(self, make: Callable[[], Message]) -> None:
        """Send a message to those who watch, without waiting; it is made in the thread, and only if there are any."""
        if self.connected:
            self._queue.append(make)
            self._wake()

    def close(self) -> None:
        """End every connection, and remove the socket; it must have been started."""
        self._stop.set()
        self._wake()
        self._thread.join(CLOSE_S)
        with suppress(OSError):
            if identity(self._path) == self._ours:
                self._path.unlink()
        for one in (self._listener, self._woken, self._waker):
            one.close()
        self._warnings.close()

    def _wake(self) -> None:
        with suppress(OSError):  # it is full: the thread will wake all the same
            self._waker.send(b"\0")

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector, ExitStack() as opened:
            connections: list[Connection] = []
            opened.callback(self._close_all, connections)
            selector.register(self._listener, selectors.EVENT_READ, self._listener)
            selector.register(self._woken, selectors.EVENT_READ, self._woken)
            status, status_s = b"", -STATUS_S
            while not self._stop.is_set():
                ready = selector.select(STATUS_S / 2 if connections else None)
                fresh: Connection | None = None
                for key, events in ready:
                    if key.data is self._listener:
                        fresh = self._accept(selector, connections)
                    elif key.data is self._woken:
                        self._woken.recv(4096)
                    elif events & selectors.EVENT_READ:  # it has gone; or it writes, which nobody wants to read
                        self._drop(selector, connections, key.data)
                if connections and time.monotonic() - status_s >= STATUS_S:
                    status, status_s, fresh = self._line(self._status), time.monotonic(), None
                    self._put(connections, status)
                if fresh is not None:
                    fresh.put(status)
                while self._queue:
                    self._put(connections, self._line(self._queue.popleft()))
                self._send(selector, connections)

    def _accept(self, selector: selectors.BaseSelector, connections: list[Connection]) -> Connection | None:
        """Take a new connection, and leave the oldest where there are too many."""
        try:
            peer, _ = self._listener.accept()
        except OSError:  # it has gone again, or there are no more descriptors
            self._stop.wait(ACCEPT_S)
            return None
        connection = Connection(peer)
        selector.register(peer, selectors.EVENT_READ, connection)
        connections.append(connection)
        if len(connections) > MOST_CONNECTIONS:
            self._drop(selector, connections, connections[0])
        self.connected = True
        self._stop.wait(ACCEPT_S)
        return connection

    def _drop(self, selector: selectors.BaseSelector, connections: list[Connection], one: Connection) -> None:
        if one in connections:
            connections.remove(one)
            selector.unregister(one.peer)
            one.peer.close()
        if not connections:
            self.connected = False
            self._queue.clear()

    def _close_all(self, connections: list[Connection]) -> None:
        self.connected = False
        for connection in connections:
            connection.peer.close()

    def _line(self, make: Callable[[], Message]) -> bytes:
        """Return a message as a line; nothing where it cannot be made."""
        try:
            return f"{make().encoded}\n".encode()
        except Exception as error:
            self._warnings.warn(kind_of(error), f"{self.name}: {describe(error)}; it is not shown on the page")
            return b""

    def _put(self, connections: list[Connection], line: bytes) -> None:
        for connection in connections:
            connection.put(line)

    def _send(self, selector: selectors.BaseSelector, connections: list[Connection]) -> None:
        for connection in list(connections):
            try:
                connection.send()
            except OSError:
                self._drop(selector, connections, connection)
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.waits else 0)
            if selector.get_key(connection.peer).events != events:
                selector.modify(connection.peer, events, connection)


def open_socket(path: Path) -> socket.socket:
    """Return a listening Unix socket of this user alone; raise an HtsatEdgeError where there can be none at a path."""
    check_socket(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(os.fsencode(path))
        path.chmod(0o600)  # nobody can connect before it listens
        listener.setblocking(False)
        listener.listen()
    except OSError as error:
        listener.close()
        raise HtsatEdgeError(f"{KEY}: {path}: cannot be used: {error.strerror or error}; give another path") from None
    return listener


def check_socket(path: Path) -> None:
    """Raise an HtsatEdgeError unless there is nothing at a path, or a socket that nobody listens at any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise HtsatEdgeError(f"{KEY}: {path}: is no socket, and is left as it is; give another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(os.fsencode(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except BlockingIOError:  # so many want to connect that this one would have to wait
        pass
    except OSError as error:
        raise HtsatEdgeError(f"{KEY}: {path}: cannot be used: {error.strerror or error}; give another path") from None
    raise HtsatEdgeError(f"{KEY}: {path}: another program listens there: does `htsat-edge listen` run already?")
