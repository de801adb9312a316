"""Who is logged in, and how often a password may be tried."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from htsat_edge.runtime.web.passwords import PasswordHash

MOST_SESSIONS = 100
SESSION_S = 30 * 86_400.0
"""From the login on."""
IDLE_S = 7 * 86_400.0
"""Without a request."""
MOST_ADDRESSES = 1000
MOST_TRYING, BUSY_S = 4, 1.0
"""Passwords that are tried or wait for it at a time; of more each is to be sent again so much later."""
Clock = Callable[[], float]


@dataclass
class Allowance:
    """How many tries are left; they come back one by one."""

    most: float
    every_s: float
    left: float
    at: float

    def fill(self, now: float) -> None:
        """Add what has come back since the last time."""
        self.left = min(self.most, self.left + (now - self.at) / self.every_s)
        self.at = now

    @property
    def wait_s(self) -> float:
        """Seconds until there is a try."""
        return max(0.0, (1 - self.left) * self.every_s)


class Throttle:
    """Bounds how often passwords are tried: by whoever tries, and over all of those that nobody knows.

    Only who has never logged in shares a bound with others. A browser that has, and a program on this device, have
    their own, so that nobody can lock the owner out.
    """

    OWN = (5.0, 20.0)
    """Tries at once, and seconds until another; of each address or known browser."""
    ALL = (30.0, 10.0)
    """The same, of all the unknown together."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Count from now on."""
        self._clock = clock
        self._own: OrderedDict[str, Allowance] = OrderedDict()
        self._all = Allowance(*self.ALL, self.ALL[0], clock())

    def wait_s(self, who: str, known: bool) -> float:
        """Count a try; return 0, or after how many seconds it may be made, in which case it does not count."""
        now = self._clock()
        own = self._own.setdefault(who, Allowance(*self.OWN, self.OWN[0], now))
        self._own.move_to_end(who)
        if len(self._own) > MOST_ADDRESSES:
            self._own.pop(next(other for other in self._own if other != LOCAL))
        bounds = [own] if known else [own, self._all]
        for bound in bounds:
            bound.fill(now)
        if wait_s := max(bound.wait_s for bound in bounds):
            return wait_s
        for bound in bounds:
            bound.left -= 1
        return 0.0

    def forgive(self, who: str) -> None:
        """Forget the tries of one who has logged in."""
        self._own.pop(who, None)


@dataclass
class LoggedIn:
    """A browser that is logged in."""

    began: float
    seen: float


class Logins:
    """The browsers that are logged in; they are kept in memory, so that all must log in again after a restart."""

    def __init__(self, password: PasswordHash | None, clock: Clock = time.monotonic) -> None:
        """Ask for a password; None: let everybody in."""
        self._password, self._clock = password, clock
        self._logins: OrderedDict[bytes, LoggedIn] = OrderedDict()
        self._throttle = Throttle(clock)
        self._lock, self._hashing = threading.Lock(), threading.Lock()
        self._trying = threading.BoundedSemaphore(MOST_TRYING)

    @property
    def needs_password(self) -> bool:
        """Whether one must log in."""
        return self._password is not None

    def is_in(self, token: str | None) -> bool:
        """Return whether a browser with a token may see the page."""
        if self._password is None:
            return True
        with self._lock:
            login = self._logins.get(_key(token or ""))
            now = self._clock()
            if login is None or now - login.began > SESSION_S or now - login.seen > IDLE_S:
                self._logins.pop(_key(token or ""), None)
                return False
            login.seen = now
            return True

    def try_password(self, password: str, address: str, device: str | None) -> tuple[str | None, float]:
        """Return a new token, or None and after how many seconds another try is possible: 0: at once.

        `device` is what `device_token` has given to the browser once before.
        """
        if self._password is None:
            return "", 0.0
        known = device is not None and self._is_device(device)
        who = f"device {device}" if known else network_of(address)
        with self._lock:
            wait_s = self._throttle.wait_s(who, known or who == LOCAL)
        if wait_s:
            return None, wait_s
        if not self._trying.acquire(blocking=known or who == LOCAL):  # the threads of the page are for others, too
            return None, BUSY_S
        try:
            with self._hashing:  # one at a time, whoever asks: each takes 16 MB
                matches = self._password.matches(password)
        finally:
            self._trying.release()
        if not matches:
            return None, 0.0
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._throttle.forgive(who)
            now = self._clock()
            self._logins[_key(token)] = LoggedIn(now, now)
            if len(self._logins) > MOST_SESSIONS:
                self._logins.popitem(last=False)
        return token, 0.0

    def log_out(self, token: str | None) -> None:
        """Forget a browser."""
        with self._lock:
            self._logins.pop(_key(token or ""), None)

    def device_token(self) -> str:
        """Return what a browser keeps when it has logged in, so that others' tries do not count against it.

        It lets nobody in. It holds until the password changes.
        """
        name = secrets.token_urlsafe(16)
        return f"{name}.{self._sign(name)}"

    def _is_device(self, token: str) -> bool:
        name, _, signature = token.partition(".")
        return hmac.compare_digest(signature.encode(), self._sign(name).encode())

    def _sign(self, name: str) -> str:
        key = b"" if self._password is None else self._password.digest
        return hmac.new(key, b"device " + name.encode(), hashlib.sha256).hexdigest()


LOCAL = "this device"


def network_of(address: str) -> str:
    """Return what tries are counted by: an address of IPv4, the network of one of IPv6; all of this device are one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return LOCAL if ip.is_loopback else str(ipaddress.ip_network((ip, 64), strict=False))
        ip = ip.ipv4_mapped
    return LOCAL if ip.is_loopback else str(ip)


def _key(token: str) -> bytes:
    """Return what a token is looked up by, whose time tells nothing of it."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
