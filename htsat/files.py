"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile
from safetensors import SafetensorError

from runtime.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when all is written; a UserError where it cannot be."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.chmod(0o644)  # safetensors would have it read by its owner alone
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError, soundfile.LibsndfileError) as error:
        # torch raises RuntimeError, and each of the others its own, for a full disk.
        part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {' '.join(str(error).split())}") from None
