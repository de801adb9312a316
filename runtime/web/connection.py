"""Connections of browsers, bounded in number and patience: who sends or reads nothing is let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from htsat_edge.runtime.web.guard import HEADERS

MOST_CONNECTIONS = 256
"""Of more, the one that has waited longest with no whole request goes, or the new one where there is none."""
REQUEST_S = 15.0
"""Within which the headers of a request must have come."""
STALLED_S = 30.0
"""After which who does not read what is sent is let go."""


class Patience:
    """Ends a connection after some time, unless it is called off."""

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        """Call `end` so many seconds after `start`."""
        self._seconds, self._end = seconds, end
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait, unless that has begun."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class BoundedConnection(H11Protocol):
    """A connection of a browser."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(*args, **kwargs)
        self.idle_since_s = self.loop.time()
        self._request = Patience(REQUEST_S, self._lose_patience)
        self._stalled = Patience(STALLED_S, self._abort)

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_owed_nothing(self) -> bool:
        """Whether no request that has come whole is being answered."""
        return self.is_idle or self.cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request; make room where there are too many connections."""
        super().connection_made(transport)
        self._watch()
        # Those that were ended just now are among the connections for a moment.
        mine = [other for other in self.connections if isinstance(other, BoundedConnection)]
        there = [other for other in mine if not other.transport.is_closing()]
        if len(there) > MOST_CONNECTIONS:
            waiting = (other for other in there if other.is_owed_nothing)
            min(waiting, key=lambda other: other.idle_since_s, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._request.stop()
        self._stalled.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Note when an answer has been sent."""
        self.idle_since_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Begin to wait for one who does not read."""
        super().pause_writing()
        self._stalled.start()

    def resume_writing(self) -> None:
        """Go on."""
        self._stalled.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request of HTTP as all else is answered."""
        body = json.dumps({"detail": msg}).encode()
        fields = {
            **HEADERS,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        headers = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Bound the time until the headers of a request have come."""
        if not self.is_idle:
            self._request.stop()
        elif not self.transport.is_closing():
            self._request.start()

    def _lose_patience(self) -> None:
        self._request.stop()
        if self.is_idle:
            self._abort()

    def _abort(self) -> None:
        self.transport.abort()
