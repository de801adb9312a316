"""One process at a time writes a store: two that hear the same would each store every event."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from htsat_edge.runtime.common.errors import NotReadyError

FLAGS = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)


@dataclass
class HeldLock:
    """A lock that this process has."""

    descriptor: int
    holders: set[str] = field(default_factory=set)


HELD: dict[Path, HeldLock] = {}
"""By file. A daemon may begin while a thread of the one before, in this process, still writes."""


def hold(key: str, database: Path, holder: str) -> None:
    """Keep other processes from writing a database until each holder has released it, or this process has ended.

    Raise a NotReadyError, which begins with a key of the configuration, where another process writes it. A file system
    that knows no locks, or a folder that cannot be written to, does not keep anybody from anything.
    """
    # Not the database itself: to close that would drop the locks by which SQLite keeps its readers and writers apart.
    file = _lock_of(database)
    if file not in HELD:
        try:
            descriptor = os.open(file, FLAGS | os.O_CREAT, 0o666)
        except OSError:
            return
        if not _lock(descriptor):
            writer = _name(descriptor)
            os.close(descriptor)
            raise NotReadyError(f"{key}: {database}: {writer}")
        HELD[file] = HeldLock(descriptor)
        with suppress(OSError):  # the disk is full
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    HELD[file].holders.add(holder)


def release(database: Path, holder: str) -> None:
    """Let others write a database, where nobody else in this process holds it."""
    file = _lock_of(database)
    if (lock := HELD.get(file)) is not None:
        lock.holders.discard(holder)
        if not lock.holders:
            os.close(HELD.pop(file).descriptor)


def refuse_written(key: str, database: Path) -> None:
    """Raise a NotReadyError where another process writes a database; change nothing."""
    file = _lock_of(database)
    if file in HELD:
        return
    try:
        descriptor = os.open(file, FLAGS)
    except OSError:
        return
    try:
        if not _lock(descriptor):
            raise NotReadyError(f"{key}: {database}: {_name(descriptor)}")
    finally:
        os.close(descriptor)


def _lock_of(database: Path) -> Path:
    real = database.resolve()
    return real.with_name(f"{real.name}.lock")


def _lock(descriptor: int) -> bool:
    """Lock a file; return whether no other process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system knows no locks
        return True
    return True


def _name(descriptor: int) -> str:
    """Return which process has locked a file, and what to do."""
    text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    if not text.isdecimal():  # it has only just begun
        return "is written by another `htsat-edge listen`; end that or give another path"
    return f"is written by `htsat-edge listen`, process {text}; end that (kill {text}) or give another path"
