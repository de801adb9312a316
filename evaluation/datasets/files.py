"""List what lies in folders, once for all readers; no file is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import SUFFIXES

JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Written by operating systems beside what people put there; hidden files are junk, too (._x.wav, .DS_Store)."""


@dataclass(frozen=True)
class Files:
    """The files and folders that a person named, and what lies in the folders at any depth."""

    paths: tuple[Path, ...]
    """As they were named."""
    found: tuple[Path, ...]
    """Every file among them and in them, in the order of the names, without hidden ones and those of systems."""

    @cached_property
    def recordings(self) -> list[Path]:
        """Those that have the name of a recording."""
        return [path for path in self.found if path.suffix.lower() in SUFFIXES]

    @cached_property
    def tables(self) -> list[Path]:
        """All others: tables, lists, licences."""
        return [path for path in self.found if path.suffix.lower() not in SUFFIXES]

    def named(self, pattern: str) -> list[Path]:
        """Return the tables whose path ends like a pattern of pathlib, such as `meta/esc50.csv` or `*_segments.csv`."""
        return [path for path in self.tables if path.match(pattern)]

    def prefer_given(self, found: Sequence[Path]) -> list[Path]:
        """Return those of the files that a person named; where there are none, those that lie in folders."""
        return [path for path in found if path in self.paths] or list(found)

    def the(self, pattern: str, what: str) -> Path:
        """Return the one table whose path ends like a pattern; raise an HtsatEdgeError unless there is one."""
        found = self.prefer_given(self.named(pattern))
        if len(found) != 1:
            count = f"there are {len(found)}, name one" if found else "there is none"
            raise HtsatEdgeError(f"{self}: want {what}; {count}")
        return found[0]

    def __str__(self) -> str:
        return ", ".join(map(str, self.paths))


def list_files(paths: Sequence[Path]) -> Files:
    """Return the files among the paths and in the folders among them, at any depth.

    Raise an HtsatEdgeError where a path is not there, or a folder cannot be read.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found |= dict.fromkeys(_walk(path))
        elif path.exists():
            found[path] = None
        else:
            raise HtsatEdgeError(f"{path}: no such file or folder")
    return Files(tuple(paths), tuple(found))


def is_junk(name: str) -> bool:
    """Return whether a name is that of a hidden file or folder, or of one that an operating system wrote."""
    return name.startswith(".") or name in JUNK


def _walk(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield the files in a folder and below; links are followed, but not back to a folder above."""
    try:
        status = folder.stat()
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not is_junk(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise HtsatEdgeError(f"{folder}: cannot be read: {error.strerror}") from None
    own = (status.st_dev, status.st_ino)
    if own in above:
        return
    for entry in entries:
        # The entry of a link to itself raises an error.
        if (folder / entry.name).is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _walk(folder / entry.name, above | {own})
        elif entry.is_symlink() or entry.is_file():
            yield folder / entry.name
