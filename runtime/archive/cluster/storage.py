"""Recordings at URLs, such as s3://bucket/folder, which fsspec reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.archive.records import ArchiveFile
from htsat_edge.runtime.archive.walk import SYSTEM_FOLDERS, Unreadable, matches
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.common.urls import is_url, user_part, whole_url, without_user
from htsat_edge.runtime.dsp.audio import SUFFIXES

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

COPIED_AT_ONCE = 1 << 24
"""Bytes."""
CHANGED = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What the file systems of fsspec call the time of the last change."""


def walk_urls(
    url: str | Path, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[ArchiveFile | Unreadable]:
    """Yield the recordings below a URL, and what cannot be read; what is taken is what `walk` takes of a folder.

    Parameters
    ----------
    url
        A folder, or one recording.
    include, exclude
        Patterns for the name of a file, or for what follows the URL, as those of `walk`.

    Raises
    ------
    HtsatEdgeError
        There is nothing, it cannot be read, or fsspec lacks the library for this kind of URL.
    """
    url = whole_url(url).rstrip("/")
    if ":" in user_part(url):
        raise HtsatEdgeError(f"{without_user(url)}: tables would show its password; give it to fsspec's own library")
    with _reported(url):
        system, root = _open(url)
        named = system.info(root)
        if named["type"] == "file":
            yield _found(system, Path(url), named)
            return
        waiting = [(Path(url), str(named["name"]))]
        while waiting:
            folder, name = waiting.pop()
            try:
                entries = _listed(system, name)
            except OSError as error:
                yield Unreadable(folder, f"cannot be read: {in_one_line(error)}")
                continue
            for path, entry in ((folder / name, entry) for name, entry in entries):
                parts = path.parts[len(Path(url).parts) :]
                if matches(exclude, path.name, parts):
                    continue
                if entry["type"] == "directory":
                    waiting.append((path, str(entry["name"])))
                elif path.suffix.lower() in SUFFIXES and (not include or matches(include, path.name, parts)):
                    yield _found(system, path, entry)


def look_at_url(path: Path) -> ArchiveFile:
    """Return the size and the time of the last change of a recording at a URL; raise an HtsatEdgeError or OSError."""
    system, name = _open(path)
    return _archive_file(path, system.info(name))


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yield a copy, of the same name, of a recording at a URL; it is removed at the end."""
    system, name = _open(path)
    with tempfile.TemporaryDirectory(prefix="htsat-edge-") as folder:
        copy = Path(folder, PurePosixPath(name).name)
        with system.open(name, "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, COPIED_AT_ONCE)
        yield copy


def _open(name: str | Path) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and its name there."""
    url = whole_url(name)
    if not is_url(url):
        raise HtsatEdgeError("is no URL such as s3://bucket/folder")
    with needing(f"{url.partition(':')[0]}://", "fsspec", 'pip install "htsat-edge[cluster]"'):
        import fsspec
    try:
        system, found = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:  # it names the library that it lacks, or knows no such URLs
        raise HtsatEdgeError(in_one_line(error)) from None
    return system, str(found)


def _listed(system: AbstractFileSystem, folder: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what a walk may take of a folder, by name; fsspec's own walk hides what it cannot list."""
    entries = [(PurePosixPath(entry["name"]).name, entry) for entry in system.ls(folder, detail=True)]
    is_itself = folder.rstrip("/")  # stores of objects may have one of the folder's own name
    wanted = [
        (name, entry)
        for name, entry in entries
        if entry["name"].rstrip("/") != is_itself and not name.startswith(".") and name not in SYSTEM_FOLDERS
    ]
    return sorted(wanted, key=itemgetter(0))


def _found(system: AbstractFileSystem, path: Path, entry: dict[str, Any]) -> ArchiveFile | Unreadable:
    """Return a recording if it can be found again by its URL, as a path keeps it."""
    if _open(path) != (system, str(entry["name"])):
        return Unreadable(path, "cannot be read: its URL leads elsewhere, as with // or ? in it")
    return _archive_file(path, entry)


def _archive_file(path: Path, entry: dict[str, Any]) -> ArchiveFile:
    changed = next((entry[name] for name in CHANGED if entry.get(name) is not None), 0)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return ArchiveFile(path, int(entry["size"]), round(seconds * 1e9))


@contextmanager
def _reported(url: str) -> Iterator[None]:
    try:
        yield
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{url}: {error}") from None
    except FileNotFoundError:
        raise HtsatEdgeError(f"{url}: is not there") from None
    except Exception as error:  # each library of fsspec has errors of its own
        raise HtsatEdgeError(f"{url}: cannot be read: {in_one_line(error)}") from None
