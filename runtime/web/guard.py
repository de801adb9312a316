"""What stands before the page: who may ask, from where, how much at once, and what browsers may do with the answers."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.web.logins import Logins
from htsat_edge.runtime.web.sound_zip import MOST_BYTES

logger = logging.getLogger(__name__)

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
OPEN_PATHS = ("/api/session", "/api/login", "/api/logout")
"""Below /api, what needs no login; other paths are those of files that everybody may have."""
READING = ("GET", "HEAD")
MOST_BODY, MOST_VERDICTS_BODY = 1 << 16, 1 << 20
MOST_FILE = {"/api/sounds/uploads": 20_000_000, "/api/sounds/import": MOST_BYTES}
"""Bytes of a body that is a file, which its route writes to disk as it comes."""
BODY_S, FILE_S = 20.0, 120.0
"""Within which a body must have come."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(self), geolocation=()",
}


class RefusalError(Exception):
    """A request that is not answered as wanted."""

    def __init__(self, status: int, detail: str) -> None:
        """Answer with a status and what is wrong."""
        super().__init__(detail)
        self.status = status


class Guard:
    """Refuses what no browser of ours sends, and adds the headers of every answer, also of errors."""

    def __init__(self, app: ASGIApp, logins: Logins, cookie: str, names: Sequence[str]) -> None:
        """Stand before an app, which browsers know by `names` beside those of this device."""
        self._app, self._logins, self._cookie = app, logins, cookie
        device = socket.gethostname().lower()
        known = [*LOCAL_NAMES, device, f"{device}.local", *names]  # names that no domain of somebody else's can have
        self._names = {_bracketed(name.lower()) for name in known}
        self._warnings = RepeatedWarnings(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                add_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            body = await self._check(scope, receive)
            await self._app(scope, body, send_guarded)
        except RefusalError as error:
            # What is left of the body is not read, so that nothing else can come on this connection.
            answer = JSONResponse({"detail": str(error)}, error.status, {"Connection": "close"})
            await answer(scope, receive, send_guarded)
        except Exception as error:
            self._warnings.warn(type(error).__name__, visible(f"{scope['path']}: {type(error).__name__}: {error}"))
            if begun:
                raise
            detail = "the page has failed here; its log says more"
            await JSONResponse({"detail": detail}, 500)(scope, receive, send_guarded)

    async def _check(self, scope: Scope, receive: Receive) -> Receive:
        """Return what gives the body; raise a RefusalError where the request is not answered."""
        headers = Headers(scope=scope)
        host = self._check_host(headers, scope)
        self._check_origin(headers, host, scope["method"])
        if scope["path"].startswith("/api/"):
            if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
                raise RefusalError(403, "the request comes from another page")
            if scope["path"] not in OPEN_PATHS and not self._logins.is_in(token_of(headers, self._cookie)):
                raise RefusalError(401, "log in first")
        if (most_file := MOST_FILE.get(scope["path"])) is not None:
            return bounded(headers, receive, most_file, FILE_S)
        most = MOST_VERDICTS_BODY if scope["path"] == "/api/verdicts" else MOST_BODY
        return await read_body(headers, receive, most)

    def _check_host(self, headers: Headers, scope: Scope) -> str:
        """Return for which host the request is; another name that leads here may be one of DNS rebinding."""
        hosts = headers.getlist("host")
        own = scope.get("server")
        names = self._names | ({_bracketed(own[0])} if own else set())
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if host not in names and host.rpartition(":")[0] not in names:
            raise RefusalError(403, f"this page is not known as {visible(host[:100])}; add that name to `web.names`")
        return host

    def _check_origin(self, headers: Headers, host: str, method: str) -> None:
        """Raise where another page has sent the request."""
        origins = headers.getlist("origin")
        if not origins and method in READING:
            return
        if not origins:
            raise RefusalError(403, f"{method} needs a header Origin, the address of this page")
        for origin in origins:
            scheme, _, rest = origin.lower().partition("://")
            if scheme not in ("http", "https") or without_port(rest, scheme) != without_port(host, scheme):
                raise RefusalError(403, "the request comes from another page")


def add_headers(headers: MutableHeaders, path: str) -> None:
    """Add the headers that every answer has."""
    for name, value in HEADERS.items():
        headers[name] = value
    # The page is looked at anew each time: a stale script must not meet a new API.
    headers.setdefault("Cache-Control", "no-store" if path.startswith("/api/") else "no-cache")


def token_of(headers: Headers, cookie: str) -> str | None:
    """Return the value of a cookie; others, which may be of any program of this host, do not matter."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(cookie)


async def read_body(headers: Headers, receive: Receive, most: int) -> Receive:
    """Return what gives the body that has come; raise a RefusalError where it is too long or too slow."""
    receive_part = bounded(headers, receive, most, BODY_S)
    parts, more = list[bytes](), True
    while more:
        message = await receive_part()
        more = message.get("more_body", False)
        parts.append(message.get("body", b""))
    return replaying(b"".join(parts), receive)


def bounded(headers: Headers, receive: Receive, most: int, seconds: float) -> Receive:
    """Return what gives a body as it comes, and raises a RefusalError where that is too long or too slow."""
    too_long = RefusalError(413, f"the body is longer than {most} bytes")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > most:
        raise too_long
    end_s, size, more = time.monotonic() + seconds, 0, True

    async def receive_part() -> Message:
        nonlocal size, more
        if not more:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), end_s - time.monotonic())
        except asyncio.TimeoutError:
            raise RefusalError(408, "the body has not come in time") from None
        if message["type"] == "http.disconnect":
            raise RefusalError(400, "the body has not come whole")
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        if size > most:
            raise too_long
        return message

    return receive_part


def replaying(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then whatever comes."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again


def without_port(host: str, scheme: str) -> str:
    """Return a host with its port, unless that is the scheme's own."""
    name, _, port = host.rpartition(":")
    usual = {"http": "80", "https": "443"}[scheme]
    return name if name and port == usual else host


def _bracketed(name: str) -> str:
    """Return a name or an address as a URL has it."""
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
