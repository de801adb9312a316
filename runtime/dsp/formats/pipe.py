"""Recordings that come through a pipe: kept in a temporary file, since decoders need to look back."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from htsat_edge.runtime.common.errors import HtsatEdgeError

STDIN = Path("-")
"""The name of standard input, as other programs have it."""


def is_pipe(path: Path) -> bool:
    """Return whether what is read comes through a pipe, a terminal or a socket, and not from a file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return path == STDIN
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def keep(path: Path) -> IO[Any] | None:
    """Copy what comes through a pipe, until its end, to a temporary file that vanishes when it is closed.

    Return None where the path is that of a file. An OSError is one of the path.

    Raises
    ------
    HtsatEdgeError
        The path is neither a file nor a pipe, or there is no room. The message names no file.
    """
    status = os.fstat(0) if path == STDIN else path.stat()
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise HtsatEdgeError("is a directory, want a recording")
    if stat.S_ISCHR(mode) and status.st_rdev == Path(os.devnull).stat().st_rdev:
        raise HtsatEdgeError("is empty")
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise HtsatEdgeError("is a device, want a recording; `htsat-edge listen` reads microphones")
    if path != STDIN and not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return None
    with open(0, "rb", closefd=False) if path == STDIN else path.open("rb") as stream, ExitStack() as made:
        kept = made.enter_context(tempfile.NamedTemporaryFile(prefix="htsat-edge-"))
        try:
            shutil.copyfileobj(stream, kept)
            kept.flush()
        except OSError as error:
            raise HtsatEdgeError(
                f"cannot be kept in {tempfile.gettempdir()} until it ends: {error.strerror}; what has no end is "
                "for `htsat-edge listen --stdin`"
            ) from None
        made.pop_all()
        return kept
