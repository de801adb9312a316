"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError


def part_of(path: Path) -> Path:
    """What is written first, and takes the place of a file when all is well."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: Path, *errors: type[Exception]) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when all is written.

    An HtsatEdgeError where it cannot be: for an OSError, and for `errors` that the library which writes has of its own.
    """
    part = part_of(path)
    caught: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield part
        part.chmod(0o644)  # safetensors would have it read by its owner alone
        part.replace(path)
    except caught as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise HtsatEdgeError(f"{path}: cannot be written: {reason}; what was there is as it was") from None
    finally:
        part.unlink(missing_ok=True)
