"""Recordings at URLs, such as s3://bucket/folder, which fsspec reads."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.archive.records import ArchiveFile
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.dsp.audio import SUFFIXES

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.+)")
"""pathlib leaves one of the slashes."""
COPIED_AT_ONCE = 1 << 24
"""Bytes."""
CHANGED = ("mtime", "LastModified", "last_modified", "updated", "created")
"""What the file systems of fsspec call the time of the last change."""


def is_url(root: str | Path) -> bool:
    """Return whether a root, or a recording, is a URL."""
    return URL.fullmatch(str(root)) is not None


def walk_urls(url: str | Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Iterator[ArchiveFile]:
    """Yield the recordings below a URL, sorted within a folder.

    Parameters
    ----------
    url
        A folder, or one recording.
    include, exclude
        Patterns of names, or of what follows the URL; nothing included is everything.

    Raises
    ------
    HtsatEdgeError
        There is nothing, it cannot be read, or fsspec lacks the library for this kind of URL.
    """
    system, root = _open(url)
    scheme = _parts(url)[0]
    with _reported(url):
        if not system.exists(root):
            raise HtsatEdgeError("is not there")
        found = [("", [], {root: system.info(root)})] if system.isfile(root) else system.walk(root, detail=True)
        for _, folders, files in found:
            if isinstance(folders, dict):
                for name in sorted(folders):
                    if name.startswith("."):
                        del folders[name]
            for entry in sorted(files.values(), key=lambda entry: str(entry["name"])):
                name = PurePosixPath(entry["name"])
                relative = str(name).removeprefix(root).lstrip("/")
                is_wanted = name.suffix.lower() in SUFFIXES and not name.name.startswith(".")
                if is_wanted and (not include or _fits(relative, include)) and not _fits(relative, exclude):
                    yield _archive_file(scheme, entry)


def look_at_url(path: Path) -> ArchiveFile:
    """Return the size and the time of the last change of a recording at a URL; raise an HtsatEdgeError or OSError."""
    system, name = _open(path)
    return _archive_file(_parts(path)[0], system.info(name))


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Yield a copy, of the same name, of a recording at a URL; it is removed at the end."""
    system, name = _open(path)
    with tempfile.TemporaryDirectory(prefix="htsat-edge-") as folder:
        copy = Path(folder, PurePosixPath(name).name)
        with system.open(name, "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, COPIED_AT_ONCE)
        yield copy


def _open(url: str | Path) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and its name there."""
    scheme, rest = _parts(url)
    with needing(f"{scheme}://", "fsspec", 'pip install "htsat-edge[cluster]"'):
        import fsspec
    try:
        system, name = fsspec.url_to_fs(f"{scheme}://{rest}")
    except (ImportError, ValueError) as error:  # it names the library that it lacks, or knows no such URLs
        raise HtsatEdgeError(f"{scheme}://{rest}: {in_one_line(error)}") from None
    return system, str(name)


def _parts(url: str | Path) -> tuple[str, str]:
    found = URL.fullmatch(str(url))
    if found is None:
        raise HtsatEdgeError(f"{url}: is no URL such as s3://bucket/folder")
    scheme, rest = found.groups()
    return scheme, f"/{rest}" if scheme in ("file", "local") else rest


def _archive_file(scheme: str, entry: dict[str, Any]) -> ArchiveFile:
    changed = next((entry[name] for name in CHANGED if entry.get(name) is not None), 0)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    return ArchiveFile(Path(f"{scheme}://{str(entry['name']).lstrip('/')}"), int(entry["size"]), round(seconds * 1e9))


def _fits(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(fnmatchcase(name, pattern) or fnmatchcase(relative, pattern) for pattern in patterns)


@contextmanager
def _reported(url: str | Path) -> Iterator[None]:
    try:
        yield
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{url}: {error}") from None
    except Exception as error:  # each library of fsspec has errors of its own
        raise HtsatEdgeError(f"{url}: cannot be read: {in_one_line(error)}") from None
