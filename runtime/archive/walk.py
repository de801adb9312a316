"""Find recordings in folders, one after the other, however many there are."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.archive.records import ArchiveFile
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import identity
from htsat_edge.runtime.dsp.audio import SUFFIXES

WILD = re.compile(r"[*?[]")
ANY_FOLDERS = "**"
SYSTEM_FOLDERS = frozenset({"$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", "GUANO_BACKUP"})
"""Of operating systems and network drives, some of which may not even be listed; copies that programs keep."""
LARGEST = 2**63 - 1
"""What the journal can keep of a number."""


class Unreadable(NamedTuple):
    """What cannot be read, and why."""

    path: Path
    reason: str


class Root(NamedTuple):
    """Where a walk begins."""

    path: Path
    """Absolute: a file, or a folder."""
    pattern: tuple[str, ...] = ()
    """What paths below it look like, folder by folder; empty: all are wanted."""


@dataclass
class _Wanted:
    """What is wanted of one root."""

    root: Root
    include: Sequence[str]
    exclude: Sequence[str]
    seen: set[tuple[int, int]] = field(default_factory=set)
    """Folders that have been listed, or must not be, by device and inode."""

    def folder(self, path: Path) -> bool:
        """Return whether something below a folder may be wanted."""
        parts = path.relative_to(self.root.path).parts
        return _fits(parts, self.root.pattern, part_of=True) and not matches(self.exclude, path.name, parts)

    def file(self, path: Path) -> bool:
        """Return whether a file is wanted."""
        parts = path.relative_to(self.root.path).parts
        return (
            path.suffix.lower() in SUFFIXES
            and _fits(parts, self.root.pattern)
            and (not self.include or matches(self.include, path.name, parts))
            and not matches(self.exclude, path.name, parts)
        )

    def enter(self, folder: os.stat_result) -> bool:
        """Return whether a folder has not been listed yet: links may lead round in a circle, or twice to one place."""
        place = folder.st_dev, folder.st_ino
        if place in self.seen and folder.st_ino:  # 0: this file system does not tell files apart; it has no links
            return False
        self.seen.add(place)
        return True


def walk(
    roots: Sequence[Path], include: Sequence[str] = (), exclude: Sequence[str] = (), skip: Collection[Path] = ()
) -> Iterator[ArchiveFile | Unreadable]:
    """Yield the recordings in folders and below them, in the order of their names, and what cannot be read.

    Links are followed. Hidden files and folders are left out, those of operating systems, and files whose names do not
    end as those of recordings do; but a file that is named itself is always taken. Memory grows with the number of
    folders, and with the names in one of them, not with all files.

    Parameters
    ----------
    roots
        Folders, files, and patterns such as `/data/**/*.wav`, in which `**` stands for any folders.
    include, exclude
        Patterns for the name of a file, or for its path from its root on, in which `*` stands for any text. Only what
        matches one of `include`, where there are some, and none of `exclude` is taken; folders can be excluded, too.
        In all patterns, capital and small letters are the same.
    skip
        Folders that are not looked into.

    Raises
    ------
    HtsatEdgeError
        A root is missing, or is neither a folder nor a file.
    """
    found = [_root_of(root) for root in roots]
    left_out = {identity(path.resolve()) for path in skip if path.exists()}
    return (one for root in found for one in _walk(_Wanted(root, include, exclude, set(left_out))))


def common_folder(roots: Sequence[Path]) -> Path:
    """Return the deepest folder that all roots lie in, or are."""
    return Path(os.path.commonpath(folders_of(roots)))


def folders_of(roots: Sequence[Path]) -> list[Path]:
    """Return the folder that each root is, or lies in; of a pattern, the one that it begins in."""
    return [root.path if root.pattern or root.path.is_dir() else root.path.parent for root in map(_root_of, roots)]


def look_at(path: Path) -> ArchiveFile:
    """Return the size and the time of the last change of a file; raise an OSError where there is none."""
    return _archive_file(path, path.stat())


def _archive_file(path: Path, status: os.stat_result) -> ArchiveFile:
    return ArchiveFile(path, status.st_size, max(-LARGEST, min(status.st_mtime_ns, LARGEST)))


def _walk(wanted: _Wanted) -> Iterator[ArchiveFile | Unreadable]:
    """Yield what is in a root; with a stack, since folders may be nested deeper than Python's calls."""
    waiting = [iter([wanted.root.path])]
    while waiting:
        if (path := next(waiting[-1], None)) is None:
            waiting.pop()
            continue
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield _archive_file(path, status)
            elif not stat.S_ISDIR(status.st_mode):
                yield Unreadable(path, "is no regular file")
            elif wanted.enter(status):
                waiting.append(_children(path, wanted))
        except FileNotFoundError:
            if path.is_symlink():  # else it has been deleted meanwhile
                yield Unreadable(path, "is a link to what is not there")
        except OSError as error:
            yield Unreadable(path, f"cannot be read: {error.strerror}")


def _children(folder: Path, wanted: _Wanted) -> Iterator[Path]:
    """Return what is wanted of a folder, in the order of the names: one may hold a million files."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in SYSTEM_FOLDERS:
                continue
            path = folder / entry.name
            if wanted.folder(path) if _is_folder(entry) else wanted.file(path):
                names.append(entry.name)
    return map(folder.joinpath, sorted(names, key=os.fsencode))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where this user may not look
        return False


def _root_of(root: Path) -> Root:
    """Return where a walk begins; raise an HtsatEdgeError where that is not there."""
    wild = [number for number, part in enumerate(root.parts) if WILD.search(part)]
    # A name with brackets that is there is no pattern.
    fixed = next((at for at in wild if not os.path.lexists(Path(*root.parts[: at + 1]))), len(root.parts))
    base, pattern = Path(*root.parts[:fixed]), root.parts[fixed:]
    if pattern and pattern[-1] == ANY_FOLDERS:  # all that is in them
        pattern = (*pattern, "*")
    try:
        mode = base.stat().st_mode
        # `..` behind a link leads elsewhere than the text says.
        absolute = base.resolve() if ".." in base.parts else base.absolute()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        reason = "no such file or folder" if isinstance(error, FileNotFoundError) else f"cannot be read: {said}"
        raise HtsatEdgeError(f"{root}: {reason}") from None
    if not stat.S_ISDIR(mode) and (pattern or not stat.S_ISREG(mode)):
        raise HtsatEdgeError(f"{base}: is no {'folder' if pattern else 'folder and no regular file'}")
    return Root(absolute, pattern)


def _fits(parts: Sequence[str], pattern: Sequence[str], part_of: bool = False) -> bool:
    """Return whether a path, or a folder that it lies in, matches a pattern; or with `part_of`, may one below it."""
    end = len(pattern)
    reached = _with_none(pattern, {0})
    for part in parts:
        if end in reached:
            return True
        moved = {at if pattern[at] == ANY_FOLDERS else at + 1 for at in reached if _goes_on(part, pattern[at])}
        reached = _with_none(pattern, moved)
    return end in reached or (part_of and bool(reached))


def _with_none(pattern: Sequence[str], reached: set[int]) -> set[int]:
    """Add where a match also stands when each `**` that it has reached stands for no folder at all."""
    for at, part in enumerate(pattern):
        if at in reached and part == ANY_FOLDERS:
            reached.add(at + 1)
    return reached


def _goes_on(part: str, pattern: str) -> bool:
    return pattern == ANY_FOLDERS or _same(part, pattern)


def matches(patterns: Sequence[str], name: str, parts: Sequence[str]) -> bool:
    """Return whether one of several patterns matches a name, or the path that it ends, in capitals or not."""
    path = "/".join(parts)
    return any(_same(name, pattern) or _same(path, pattern) for pattern in patterns)


def _same(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())
