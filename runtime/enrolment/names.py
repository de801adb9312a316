"""Names of sounds, and of their files."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from htsat_edge.runtime.common.files import is_part
from htsat_edge.runtime.models.sounds import HEAD_SUFFIXES, KEPT_NAME

LONGEST_NAME = 40


def tidy_label(label: str) -> str:
    """Return a label as it is written: composed (NFC), with single spaces."""
    return unicodedata.normalize("NFC", " ".join(label.split()))


def is_kept(path: Path) -> bool:
    """Return whether a file in a sound's folder is ours: a recording, or one that was not finished."""
    return KEPT_NAME.fullmatch(path.name) is not None or is_part(path)


def new_name(folder: Path, label: str) -> str:
    """Return a name for a sound that no other, and nothing foreign, has in a folder: "Küche, Tür" is kuche-tur."""
    plain = unicodedata.normalize("NFKD", label.casefold()).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_NAME].strip("-") or "sound"
    number, name = 1, slug
    while not _is_free(folder, name):
        number += 1
        name = f"{slug}-{number}"
    return name


def _is_free(folder: Path, name: str) -> bool:
    if any(os.path.lexists(folder / f"{name}{suffix}") for suffix in (".json", *HEAD_SUFFIXES)):
        return False
    own = folder / name
    if not os.path.lexists(own):
        return True
    # A crash has left it before the sound was one.
    return own.is_dir() and not own.is_symlink() and all(is_kept(one) for one in own.iterdir())
