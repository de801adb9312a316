"""Refuse to write to what htsat-edge has not written.

Whatever htsat-edge writes more than once carries a mark: a database its application id, a file of messages its first
line, a clip the name of the program within it, a file that is not finished its own name. A wrong path in a
configuration must not destroy anything, so only what carries its mark is ever added to, moved or deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError

PROGRAM = "htsat-edge"
"""What marks say."""


def refuse_foreign(key: str, path: Path, has_mark: Callable[[Path], bool]) -> None:
    """Raise an HtsatEdgeError unless there is nothing at `path`, an empty file, or one that carries our mark.

    Parameters
    ----------
    key
        Of the configuration that names the path, for the error.
    path
        The file. It is opened for reading only, and only where it is a regular file.
    has_mark
        Returns whether a file that is not empty was written by htsat-edge.
    """
    try:
        if path.exists() and not path.is_file():
            raise HtsatEdgeError(f"{key}: {path}: is no regular file")
        ours = not path.exists() or path.stat().st_size == 0 or has_mark(path)
    except OSError as error:
        raise HtsatEdgeError(f"{key}: {path}: cannot be read: {error.strerror}") from None
    if not ours:
        raise HtsatEdgeError(f"{key}: {path}: was not written by {PROGRAM}, and is left as it is; give another path")
