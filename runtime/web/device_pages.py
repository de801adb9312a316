"""Clips of a fleet, which stay on the devices: fetched from a device's own page when somebody listens."""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.cookies import CookieError, SimpleCookie

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.config.secret import Secret

KINDS = {".flac": "audio/flac", ".wav": "audio/wav"}
"""Of clips, by the end of their names."""
CONNECT_S, LONGEST_S = 5.0, 60.0
"""For each address of a device, and for a whole clip, a login included."""
MOST_CLIP, MOST_ANSWER = 20_000_000, 10_000
"""Bytes of a clip, and of any other answer of a device; the longest clip, 180 s in 16 bit at 48 kHz, has 17.3 MB."""
MOST_ADDRESS = 1000
"""Characters of a page's address."""
PASSED = ("Content-Range", "Accept-Ranges")
"""Headers of a device's answer that are taken over; the kind is known by the name of the clip."""


class DevicePageError(Exception):
    """A device does not give a clip: why, in words for people."""

    def __init__(self, status: int, detail: str) -> None:
        """Answer with a status and what is wrong."""
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass(frozen=True)
class FetchedClip:
    """A clip, or a range of it."""

    status: int
    """200, or 206 of a range."""
    content: bytes
    kind: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class PageAnswer:
    """What a device's page has answered."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes


class DevicePages:
    """The pages of devices, with one password for those that ask for one.

    What a device says is not trusted: its answer is sound, or none; redirections are not followed.
    """

    def __init__(self, password: Secret | None, hosts: Sequence[str] | None = None) -> None:
        """Log in with a password, which is read when it is needed; ask hosts of these patterns alone, None: any."""
        self._password, self._hosts = password, hosts
        self._cookies: dict[str, str] = {}

    def fetch(self, address: str, name: str, wanted_range: str | None = None) -> FetchedClip:
        """Return a clip from the page at an address; raise a DevicePageError where that does not give it."""
        page = split_address(address)
        if page is None:
            raise DevicePageError(502, "the device names no address of its page that can be asked")
        if self._hosts is not None and not is_listed(page, self._hosts):
            where = visible(page.hostname or "")
            raise DevicePageError(
                502, f"the device's page is at {where}, which is not among `page_hosts` of the collector"
            )
        headers = {} if wanted_range is None else {"Range": wanted_range}
        path = f"/api/clips/{urllib.parse.quote(name, safe='')}"
        end_s = time.monotonic() + LONGEST_S
        answer = self._ask(page, end_s, "GET", path, headers)
        if answer.status == 401:
            self._log_in(page, end_s)
            answer = self._ask(page, end_s, "GET", path, headers)
        return clip_of(answer, name)

    def _ask(
        self,
        page: urllib.parse.SplitResult,
        end_s: float,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> PageAnswer:
        """Return what a page answers until a time; `body` holds the password."""
        cookie = self._cookies.get(page.geturl())
        given = {**headers, "Accept-Encoding": "identity", **({"Cookie": cookie} if cookie else {})}
        with explained_failures(page), closing(connection_to(page)) as connection:
            connection.connect()
            if body is not None:
                check_way(page, connection)
            with bounded_time(connection, end_s):
                connection.request(method, f"{page.path.rstrip('/')}{path}", body, given)
                answer = connection.getresponse()
                most = MOST_CLIP if answer.status in (200, 206) else MOST_ANSWER
                return PageAnswer(answer.status, answer.headers, read_bounded(answer, most))

    def _log_in(self, page: urllib.parse.SplitResult, end_s: float) -> None:
        """Get a cookie; raise a DevicePageError where the device gives none."""
        if self._password is None:
            raise DevicePageError(
                502,
                "the device's page asks for a password: say in `page_password` of the collector where it is",
            )
        try:
            body = json.dumps({"password": self._password.read()}).encode()
        except HtsatEdgeError as error:
            raise DevicePageError(502, f"page_password: {error}") from None
        self._cookies.pop(page.geturl(), None)
        headers = {"Content-Type": "application/json", "Origin": f"{page.scheme}://{page.netloc}"}
        answer = self._ask(page, end_s, "POST", "/api/login", headers, body)
        if answer.status == 429:
            raise DevicePageError(502, "the device's page takes no password for a while: too many were tried; wait")
        if answer.status != 200:
            raise DevicePageError(502, "the device's page does not take the password that is `page_password` here")
        self._cookies[page.geturl()] = cookies_of(answer.headers)


def split_address(address: str | None) -> urllib.parse.SplitResult | None:
    """Return the parts of a page's address; None where it is none that a browser or we may be sent to."""
    text = address or ""
    try:
        parts = urllib.parse.urlsplit(text)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    printable = len(text) <= MOST_ADDRESS and text.isascii() and text.isprintable() and " " not in text
    bare = not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts if parts.scheme in ("http", "https") and named and bare and printable else None


def is_listed(page: urllib.parse.SplitResult, patterns: Sequence[str]) -> bool:
    """Return whether a page's host fits one of some patterns; 10.0.3.* is of addresses, not of 10.0.3.example.org."""
    host = page.hostname or ""
    try:
        ipaddress.ip_address(host)
        is_address = True
    except ValueError:
        is_address = False
    fitting = [pattern for pattern in patterns if fnmatchcase(host, pattern.lower())]
    return any(is_address or pattern.strip("*?.") == "" or not is_of_addresses(pattern) for pattern in fitting)


def is_of_addresses(pattern: str) -> bool:
    """Return whether a pattern is meant for addresses: no name is of digits alone."""
    return not any(character.isalpha() for character in pattern)


def connection_to(page: urllib.parse.SplitResult) -> http.client.HTTPConnection:
    """Return a connection to a page, which is not open yet."""
    assert page.hostname is not None
    if page.scheme == "https":
        return http.client.HTTPSConnection(
            page.hostname, page.port, timeout=CONNECT_S, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(page.hostname, page.port, timeout=CONNECT_S)


def check_way(page: urllib.parse.SplitResult, connection: http.client.HTTPConnection) -> None:
    """Raise a DevicePageError where a password would go through the Internet as everybody can read it."""
    peer = ipaddress.ip_address(connection.sock.getpeername()[0].partition("%")[0])
    if page.scheme == "http" and peer.is_global:
        raise DevicePageError(
            502, "the device's page is reached by http through the Internet: no password is sent there; use https"
        )


@contextmanager
def bounded_time(connection: http.client.HTTPConnection, end_s: float) -> Iterator[None]:
    """Cut a connection off when it is time, and raise a TimeoutError, also where a device sends byte by byte."""
    timer = threading.Timer(max(0.0, end_s - time.monotonic()), cut_off, [connection.sock])
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError):
        if time.monotonic() < end_s:
            raise
    finally:
        timer.cancel()
    if time.monotonic() >= end_s:  # what was read of a connection that is cut off may be anything
        raise TimeoutError


def cut_off(connected: socket.socket) -> None:
    """End a connection that another thread reads."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended already
        return


@contextmanager
def explained_failures(page: urllib.parse.SplitResult) -> Iterator[None]:
    """Say in words what goes wrong on the way to a device."""
    where = visible(f"{page.scheme}://{page.netloc}")
    try:
        yield
    except TimeoutError:
        raise DevicePageError(504, f"the device does not answer in time at {where}") from None
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or "TLS fails"
        raise DevicePageError(502, f"the device cannot be trusted at {where}: {reason}") from None
    except OSError as error:
        reason = error.strerror or "no connection"
        raise DevicePageError(502, f"the device cannot be reached at {where}: {reason}") from None
    except http.client.IncompleteRead:
        raise DevicePageError(502, "the device has sent a part of the clip alone; try again") from None
    except (http.client.HTTPException, UnicodeError, ValueError):
        raise DevicePageError(502, f"what answers at {where} is no page of htsat-edge") from None


def read_bounded(answer: http.client.HTTPResponse, most: int) -> bytes:
    """Return the body of an answer; raise a DevicePageError where it is too long, and where it does not come whole."""
    too_long = DevicePageError(502, f"the device sends more than {most / 1e6:g} MB")
    if answer.length is not None and answer.length > most:
        raise too_long
    content = bytearray(most + 1 if answer.length is None else answer.length)
    size = answer.readinto(content)  # read() would keep a list of chunks, however small they are
    if size > most:
        raise too_long
    if answer.length:
        raise http.client.IncompleteRead(b"")
    return bytes(memoryview(content)[:size])


def clip_of(answer: PageAnswer, name: str) -> FetchedClip:
    """Return the clip of an answer; raise a DevicePageError where it is none."""
    kind = KINDS[name[name.rindex(".") :]]
    if answer.status == 404:
        raise DevicePageError(404, "the device does not have this clip any more")
    if answer.status == 416:
        raise DevicePageError(416, "the clip has no such range")
    if answer.status == 401:
        raise DevicePageError(502, "the device's page has taken the password, and yet gives nothing")
    if answer.status not in (200, 206) or answer.headers.get_content_type() != kind:
        raise DevicePageError(502, f"the device's page does not give the clip (status {answer.status})")
    passed = {name: value for name in PASSED if (value := answer.headers.get(name)) is not None and value.isprintable()}
    return FetchedClip(answer.status, answer.content, kind, passed)


def cookies_of(headers: http.client.HTTPMessage) -> str:
    """Return the cookies that an answer sets, as they are sent back."""
    cookies = SimpleCookie()
    try:
        for value in headers.get_all("Set-Cookie", []):
            cookies.load(value)
    except CookieError:
        return ""
    return "; ".join(f"{cookie.key}={cookie.coded_value}" for cookie in cookies.values())
