"""Post each message to an HTTP endpoint, as JSON."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import WebhookConfig
from htsat_edge.runtime.daemon.outputs.sender import MessageSender, RefusedError

AGAIN = (408, 425, 429)
"""Answers to a request that may be accepted later, beside the server's own faults from 500 on."""


class Deadline:
    """A moment at which connections are cut: a socket's own timeout begins anew with each byte."""

    def __init__(self, seconds: float) -> None:
        """Begin to count."""
        self._seconds, self._end_s = seconds, time.monotonic() + seconds
        self._sockets: list[socket.socket] = []

    @property
    def over(self) -> bool:
        """Whether the moment has come."""
        return time.monotonic() >= self._end_s

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """Cut at the moment, within this block, what is connected; what fails then is a TimeoutError."""
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if self.over:
                raise TimeoutError(f"has not answered within {self._seconds:g} s") from None
            raise
        finally:
            timer.cancel()
            for connected in self._sockets:
                connected.close()

    def watch(self, connected: socket.socket) -> None:
        """Cut this connection at the moment, too, whatever is made of the socket."""
        self._sockets.append(connected.dup())
        if self.over:  # looked at last: what is cut in between may not have had it yet
            raise TimeoutError

    def _cut(self) -> None:
        for connected in self._sockets:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)


class WatchedConnection(http.client.HTTPConnection):
    """A connection that ends with a deadline."""

    deadline: Deadline

    def connect(self) -> None:
        """Connect, before any TLS, and watch the socket."""
        super().connect()
        self.deadline.watch(self.sock)


class WatchedTlsConnection(http.client.HTTPSConnection, WatchedConnection):
    """The same with TLS, whose handshake is under the deadline, too."""


class WatchedHandler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens connections that end with a deadline."""

    def __init__(self, deadline: Deadline) -> None:
        """Prepare to open connections."""
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request."""
        return self.do_open(self._watched(WatchedConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request through TLS."""
        return self.do_open(self._watched(WatchedTlsConnection), req)

    def _watched(self, kind: type[WatchedConnection]) -> Any:
        def connection(*arguments: Any, **options: Any) -> WatchedConnection:
            made = kind(*arguments, **options)
            made.deadline = self._deadline
            return made

        return connection


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and carry the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: they become errors."""


class Webhook(MessageSender):
    """Posts one message after the other; what the server refuses for good is lost, and counted."""

    batch = 1

    def __init__(self, settings: WebhookConfig) -> None:
        """Prepare to post to the URL of the settings."""
        super().__init__(f"webhook {urllib.parse.urlsplit(settings.url).hostname}")  # the rest is often a secret
        self._settings = settings
        self._headers = {"Content-Type": "application/json", "User-Agent": "htsat-edge"}

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where the token is missing."""
        self._read_token()
        super().start()

    def check(self) -> str:
        """Ask the server for nothing but an answer, which changes nothing there."""
        self._read_token()
        try:
            self._ask("HEAD", None)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                raise HtsatEdgeError(f"{self.name}: answers 401 {error.reason}; is the token right?") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise HtsatEdgeError(f"{self.name}: {getattr(reason, 'strerror', None) or reason or repr(error)}") from None
        return f"{self.name.partition(' ')[2]} answers"

    def send(self, batch: Sequence[Message]) -> None:
        """Post a message."""
        (message,) = batch
        try:
            self._ask("POST", message.encoded.encode())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in AGAIN:
                raise RefusedError(f"answered {error.code} {error.reason}") from None
            raise

    def _read_token(self) -> None:
        if self._settings.token is not None:
            token = self._settings.token.read()
            if not token.isascii():
                raise HtsatEdgeError(f"{self.name}: the token holds what is not ASCII, and cannot be sent in a header")
            self._headers["Authorization"] = f"Bearer {token}"

    def _ask(self, method: str, content: bytes | None) -> None:
        """Send a request, and wait for the head of the answer: what else it says is not used, and may have no end."""
        request = urllib.request.Request(self._settings.url, content, self._headers, method=method)
        deadline = Deadline(self._settings.timeout_s)
        opener = urllib.request.build_opener(WatchedHandler(deadline), NoRedirects)
        with deadline.enforced():
            opener.open(request, timeout=self._settings.timeout_s).close()

    def is_outage(self, error: Exception) -> bool:
        """Return whether an error is the server's; one that it has at each try is the message's."""
        if isinstance(error, urllib.error.HTTPError):
            return error.code != 500
        return isinstance(error, http.client.HTTPException) or super().is_outage(error)
