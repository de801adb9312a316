"""A file that one process at a time holds until it ends, with the number of that process in it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

FLAGS = os.O_RDWR | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
"""To open one with; it is made with os.O_CREAT."""


def lock(descriptor: int) -> bool:
    """Hold an open file; return whether no other process does. A file system that knows no locks keeps nobody out."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def sign(descriptor: int) -> None:
    """Write the number of this process into a file that it holds."""
    with suppress(OSError):  # the disk is full
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def read_holder(descriptor: int) -> str:
    """Return the number of the process that holds a file; empty where it has only just begun."""
    text = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
    return text if text.isdecimal() else ""
