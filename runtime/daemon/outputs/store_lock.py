"""One process at a time writes a store: two that hear the same would each store every event."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from htsat_edge.runtime.common.errors import NotReadyError
from htsat_edge.runtime.common.lock_file import FLAGS, lock, read_holder, sign


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
        if not lock(descriptor):
            writer = _name(descriptor)
            os.close(descriptor)
            raise NotReadyError(f"{key}: {database}: {writer}")
        HELD[file] = HeldLock(descriptor)
        sign(descriptor)
    HELD[file].holders.add(holder)


def release(database: Path, holder: str) -> None:
    """Let others write a database, where nobody else in this process holds it."""
    file = _lock_of(database)
    if (held := HELD.get(file)) is not None:
        held.holders.discard(holder)
        if not held.holders:
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
        if not lock(descriptor):
            raise NotReadyError(f"{key}: {database}: {_name(descriptor)}")
    finally:
        os.close(descriptor)


def _lock_of(database: Path) -> Path:
    real = database.resolve()
    return real.with_name(f"{real.name}.lock")


def _name(descriptor: int) -> str:
    """Return which process has locked a file, and what to do."""
    number = read_holder(descriptor)
    if not number:
        return "is written by another htsat-edge; end that or give another path"
    return f"is written by another htsat-edge, process {number}; end that (kill {number}) or give another path"
