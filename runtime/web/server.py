"""Serve the page until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.web.app import make_app
from htsat_edge.runtime.web.connection import BoundedConnection
from htsat_edge.runtime.web.settings import PageSettings

logger = logging.getLogger(__name__)

GRACE_S = 3
"""For answers that are being sent at the end."""
KEEP_ALIVE_S = 20
BACKLOG = 100
PROXIES = "127.0.0.1,::1"
"""Whose word is taken on where a request comes from."""


class PageServer(uvicorn.Server):
    """A server that ends live streams before it waits for answers, and whose signals belong to who runs it."""

    def __init__(self, app: FastAPI) -> None:
        """Serve an app of `make_app`."""
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedConnection,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                log_level="critical",  # the guard logs what is ours; a hostile browser could fill a log with the rest
                access_log=False,
                server_header=False,
                forwarded_allow_ips=PROXIES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._hub = app.state.hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        await self._hub.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def serve(settings: PageSettings, begun: Callable[[str], None]) -> None:
    """Serve a page until SIGTERM or Ctrl-C; `begun` gets its address.

    Raises
    ------
    HtsatEdgeError
        The port cannot be listened on, or the password cannot be read.
    """
    server = PageServer(make_app(settings))
    listener = open_port(settings.web.host, settings.web.port, configured=settings.config is not None)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, setattr, server, "should_exit", True)
        begun(address_of(listener))
        await server.serve([listener])

    with listener:
        asyncio.run(run())


def open_port(host: str, port: int, configured: bool = False) -> socket.socket:
    """Return a socket that listens; raise an HtsatEdgeError where that cannot be.

    `configured` says that a configuration has the port, for the message, and not the option of a command.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason, other = error.strerror or error, 8482 if port == 8481 else 8481
        advice = f"web: {{port: {other}}}" if configured else f"--port {other}"
        raise HtsatEdgeError(
            f"web: {host}:{port}: cannot be listened on: {reason}; take another port: {advice}"
        ) from None


def address_of(listener: socket.socket) -> str:
    """Return the address by which a browser on this device reaches a socket."""
    host, port, *_ = listener.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
