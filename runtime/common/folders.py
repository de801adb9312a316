"""Try whether files can be written into a folder, and leave nothing there."""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError

FREE_MB = 200


def try_folder(folder: Path) -> str:
    """Return the room in a folder, or in the one that it will be made in; raise where it cannot be written to."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise HtsatEdgeError(f"{there}: is no folder")
    try:
        with tempfile.TemporaryFile(dir=there, buffering=0) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise HtsatEdgeError(f"{there}: cannot be written to by {_user()}: {error.strerror}") from None
    free = shutil.disk_usage(there).free / 1e6
    if free < FREE_MB:
        raise HtsatEdgeError(f"{there}: {free:.0f} MB are free, want {FREE_MB}")
    return f"{folder}: {free / 1000:.1f} GB are free"


def try_file(path: Path) -> str:
    """Return the room for a file; raise where it, or one in its place, cannot be written."""
    if path.exists():
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            raise HtsatEdgeError(f"{path}: cannot be written to by {_user()}: {error.strerror}") from None
    return try_folder(path.parent)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container, whose user may have no name
        return f"user {os.getuid()}"
