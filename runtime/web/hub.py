"""What the daemon hears, from its socket to every browser that looks."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.daemon.live.frames import DeviceStatus

logger = logging.getLogger(__name__)

MOST_CLIENTS = 64
MOST_WAITING = 200
"""Events that wait for a browser; of more the oldest are left out."""
HISTORY_S = 40.0
MOST_HISTORY = 2000
"""Frames of all sources."""
LINGER_S = 30.0
"""After which the daemon is left alone when nobody looks any more."""
AGAIN_S = (0.5, 1.0, 2.0)
"""Before each further try to reach the daemon; the last again and again."""
KEEP_ALIVE_S = 15.0
MOST_LINE = 1 << 20
STATUS_S = 2.0
"""How long to wait for the first status of a daemon that is there."""


class Client:
    """A browser that looks, and what waits for it."""

    def __init__(self, sources: Collection[str], frames: bool) -> None:
        """Take what comes of some sources, or of all where none is named; with or without frames."""
        self._sources, self._frames = frozenset(sources), frames
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._news = asyncio.Event()
        self._closing = False

    def wants(self, name: str, source: str | None) -> bool:
        """Return whether an event of a source is for this browser."""
        return (self._frames or name != "frame") and (source is None or not self._sources or source in self._sources)

    def put(self, event: bytes) -> None:
        """Have an event sent; it never waits."""
        if not self._closing:
            self._waiting.append(event)
            self._news.set()

    def close(self, last: bytes = b"") -> None:
        """Send one more event, and end."""
        if last:
            self.put(last)
        self._closing = True
        self._news.set()

    async def events(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, and a comment now and then, which shows whether the browser is there."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closing:
                return
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), KEEP_ALIVE_S)
            except asyncio.TimeoutError:
                yield b":\n\n"


class Hub:
    """One connection to the daemon while anybody looks, and what comes by it for each who does."""

    def __init__(self, path: Path | None) -> None:
        """Connect to a Unix socket when somebody looks; without one, nothing ever comes."""
        self._path = path
        self._clients: list[Client] = []
        self._history: deque[tuple[float, str, bytes]] = deque(maxlen=MOST_HISTORY)
        self._device: bytes | None = None
        self._running: bool | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wanted_s = 0.0
        self._closed = path is None
        self._warnings = RepeatedWarnings(logger)

    def add(self, sources: Collection[str], frames: bool = True) -> Client:
        """Return a new client, which gets what is known and what comes; where there are too many, the oldest goes."""
        client = Client(sources, frames)
        if self._closed:
            client.close()
            return client
        if self._running is not None:
            client.put(_daemon_event(self._running))
        if self._device is not None:
            client.put(self._device)
        if past := [event for _, source, event in self._history if client.wants("frame", source)]:
            client.put(b"".join(past))
        self._clients.append(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.pop(0).close(_event("bye", json.dumps({"reason": "too many look at this page"})))
        self._connect()
        return client

    def remove(self, client: Client) -> None:
        """Forget a client that has gone."""
        self._wanted_s = time.monotonic()
        with suppress(ValueError):
            self._clients.remove(client)

    async def status(self) -> DeviceStatus | None:
        """Return how the daemon gets on; None where it does not run."""
        if self._closed:
            return None
        self._connect()
        end_s = time.monotonic() + STATUS_S
        while self._running is not False and self._device is None and (left_s := end_s - time.monotonic()) > 0:
            self._changed.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left_s)
        if self._device is None or not self._running:
            return None
        _, _, line = self._device.partition(b"\ndata: ")
        try:
            return DeviceStatus.model_validate_json(line)
        except ValidationError:
            self._warnings.warn("status", "the daemon's status cannot be read: is it of another version?")
            return None

    async def close(self) -> None:
        """End every client, and the connection."""
        self._closed = True
        for client in self._clients:
            client.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _connect(self) -> None:
        self._wanted_s = time.monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """Read what the daemon sends, for as long as anybody looks; where it is not there, try again."""
        tries = 0
        try:
            while self._is_wanted():
                assert self._path is not None
                with suppress(OSError, ValueError):  # a line that is too long is a ValueError
                    reader, writer = await asyncio.open_unix_connection(self._path, limit=MOST_LINE)
                    try:
                        tries = 0
                        self._note_running(True)
                        await self._read(reader)
                    finally:
                        writer.close()
                if self._is_wanted():
                    self._note_running(False)
                    await asyncio.sleep(AGAIN_S[min(tries, len(AGAIN_S) - 1)])
                    tries += 1
        finally:
            self._running, self._device = None, None
            self._history.clear()
            self._changed.set()

    def _is_wanted(self) -> bool:
        return bool(self._clients) or time.monotonic() - self._wanted_s < LINGER_S

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while self._is_wanted():
            try:
                line = await asyncio.wait_for(reader.readline(), LINGER_S)
            except asyncio.TimeoutError:
                continue
            if not line.endswith(b"\n"):
                return
            try:
                content = json.loads(line)
                kind, source = str(content["type"]), content["source"]
            except (ValueError, KeyError, TypeError):
                self._warnings.warn("line", "the daemon has sent what is no message")
                continue
            self._publish(kind, source, line[:-1])

    def _publish(self, kind: str, source: str | None, line: bytes) -> None:
        name = kind if kind in ("frame", "device") else "message"
        event = _event(name, line.decode())
        if kind == "device":
            self._device = event
            self._changed.set()
        elif kind == "frame":
            now = time.monotonic()
            self._history.append((now, str(source), event))
            while self._history[0][0] < now - HISTORY_S:
                self._history.popleft()
        for client in self._clients:
            if client.wants(name, source):
                client.put(event)

    def _note_running(self, running: bool) -> None:
        if not running:
            self._device = None
            self._history.clear()
        if running != self._running:
            self._running = running
            for client in self._clients:
                client.put(_daemon_event(running))
        self._changed.set()


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def _daemon_event(running: bool) -> bytes:
    return _event("daemon", json.dumps({"running": running}))
