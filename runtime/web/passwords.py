"""The password of the page: a file that holds its hash (scrypt)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing

SCHEME = "htsat-edge-scrypt"
COST, BLOCK, LANES = 1 << 14, 8, 5
"""16 MB and about 0.2 s; OWASP's minimum for scrypt, in the form that needs least memory."""
MOST_COST, MOST_BLOCK, MOST_LANES = 1 << 17, 16, 16
SHORTEST, LONGEST = 8, 1000
MOST_FILE = 1000


@dataclass(frozen=True)
class PasswordHash:
    """A hash, and how it was made."""

    cost: int
    block: int
    lanes: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str, cost: int, block: int, lanes: int) -> PasswordHash:
        """Return a new hash of a password."""
        salt = secrets.token_bytes(16)
        return cls(cost, block, lanes, salt, _scrypt(password, salt, cost, block, lanes))

    def matches(self, password: str) -> bool:
        """Return whether this is the hash of a password."""
        digest = _scrypt(password, self.salt, self.cost, self.block, self.lanes)
        return secrets.compare_digest(digest, self.digest)

    def __str__(self) -> str:
        texts = (base64.b64encode(value).decode() for value in (self.salt, self.digest))
        return ":".join([SCHEME, str(self.cost), str(self.block), str(self.lanes), *texts])


def read_password(path: Path) -> PasswordHash:
    """Return the hash in a file; raise an HtsatEdgeError where it is none, or where others may read or write it."""
    again = "write it again with `htsat-edge web --set-password FILE`"
    try:
        with _open_regular(path) as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise HtsatEdgeError(f"{path}: others may read it or write to it: chmod 600 {path}")
            content = file.read(MOST_FILE)
    except FileNotFoundError:
        raise HtsatEdgeError(f"{path}: no such file; write it with `htsat-edge web --set-password {path}`") from None
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        scheme, *numbers, salt, digest = content.decode("ascii").strip().split(":")
        cost, block, lanes = (int(number) for number in numbers)
        found = PasswordHash(
            cost, block, lanes, base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
        )
    except (ValueError, binascii.Error):
        raise HtsatEdgeError(f"{path}: is no hash of a password; {again}") from None
    power = cost > 1 and not cost & (cost - 1)
    within = power and cost <= MOST_COST and 0 < block <= MOST_BLOCK and 0 < lanes <= MOST_LANES
    if scheme != SCHEME or not within or len(found.salt) < 16 or len(found.digest) != 32:
        raise HtsatEdgeError(f"{path}: is no hash of a password; {again}")
    return found


def write_password(path: Path, password: str) -> None:
    """Write the hash of a password to a file that its owner alone may read; raise an HtsatEdgeError where it cannot.

    A file that holds anything else is left alone.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise HtsatEdgeError(f"the password has {len(password)} characters, want {SHORTEST} to {LONGEST}")
    if path.exists() and not _is_ours(path):
        raise HtsatEdgeError(f"{path}: is there, and is no hash of a password; name another file, or delete it")
    content = f"{PasswordHash.of(password, COST, BLOCK, LANES)}\n"
    umask = os.umask(0o077)
    try:
        with replacing(path.resolve()) as part:
            part.write_text(content)
    finally:
        os.umask(umask)


def _open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; raise an HtsatEdgeError where it is a pipe, which may wait for ever, or a device."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise HtsatEdgeError(f"{path}: is no regular file; name another")
    return file


def _is_ours(path: Path) -> bool:
    try:
        with _open_regular(path) as file:
            head = file.read(len(SCHEME))
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
    return head in (b"", SCHEME.encode())


def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    memory = 128 * block * (cost + lanes + 2)
    return hashlib.scrypt(
        password.encode(errors="surrogatepass"), salt=salt, n=cost, r=block, p=lanes, maxmem=2 * memory, dklen=32
    )
