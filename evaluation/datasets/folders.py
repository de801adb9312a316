"""Read a folder for each class, with recordings at any depth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files, is_junk
from htsat_edge.evaluation.datasets.names import as_label, refuse_near
from htsat_edge.evaluation.datasets.splits import find_splits
from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError

WRAPPERS = {"audio", "audios", "clips", "data", "dataset", "recordings", "sounds", "wav", "wavs"}
"""A folder of such a name that lies alone is no class: the classes lie in it."""
UNKNOWN = "of an unknown kind of file"
NO_RECORDINGS = {
    *("", ".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html", ".htm", ".log"),
    *(".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".py", ".ipynb", ".sh", ".bib", ".npy", ".npz", ".ini", ".toml"),
    *(".parquet", ".sqlite", ".textgrid", ".eaf"),
    *(".zip", ".gz", ".tar", ".tgz", ".xz", ".bz2", ".7z", ".rar", ".md5", ".sha256", ".xlsx", ".xls", ".ods", ".docx"),
}
"""Files that lie beside recordings and that nobody takes for one; others are counted."""


def marks(files: Files) -> bool:
    """Return whether recordings lie in folders of the folders that were named, and these may be classes."""
    return all(path.is_dir() for path in files.paths) and any(
        len(parts) > 1
        for folder in files.paths
        for _, parts in _parts(_unwrap(folder, files.recordings), files.recordings)
    )


def read(files: Files) -> Dataset:
    """Read folders that hold one for each class, or one for each split that holds one for each class.

    The class is the name of the folder, without spaces around it. Recordings may lie in further folders. Files that may
    be recordings of an unknown kind are counted.
    """
    recordings = [recording for folder in files.paths for recording in _read_folder(folder, files.recordings)]
    if not recordings:
        raise HtsatEdgeError(f"{files}: holds no folder of recordings for each class")
    odd = [path for path in files.tables if path.suffix.lower() not in NO_RECORDINGS]
    return Dataset(recordings).setting_aside(UNKNOWN, odd)


def read_splits(files: Files) -> dict[Path, str]:
    """Return the split of each recording by the folders that it lies in, whatever the classes are."""
    found: dict[Path, str] = {}
    for folder in files.paths:
        root, splits = find_root(folder, files.recordings)
        for path, parts in _parts(root, files.recordings):
            found[path] = splits.get(parts[0], "")
    return found


def _read_folder(folder: Path, found: Sequence[Path]) -> list[Labelled]:
    """Return the recordings of a folder that lie in one of a class."""
    root, splits = find_root(folder, found)
    recordings: list[Labelled] = []
    tops: list[tuple[str, str]] = []
    for place, split in ({root / name: split for name, split in splits.items()} or {root: ""}).items():
        own = defaultdict(list)
        for path, parts in _parts(place, found):
            if len(parts) > 1:
                own[parts[0]].append((path, "/".join(parts if place == root else (place.name, *parts))))
        _refuse_empty(place, own)
        for top, inside in own.items():
            tops.append((top, str(place)))
            label, where = as_label(place, top), str(place / top)
            labels, events = (frozenset[str](), ()) if label == BACKGROUND else (frozenset([label]), None)
            recordings += [Labelled(path, labels, events, split, group, where=where) for path, group in inside]
    refuse_near(tops)
    return recordings


def find_root(folder: Path, recordings: Sequence[Path]) -> tuple[Path, dict[str, str]]:
    """Return the folder in which those of the classes lie, or those of the splits; and the split of each of these.

    Raise an HtsatEdgeError where some are named like splits and others are not.
    """
    folder = _unwrap(folder, recordings)
    parts = [own for _, own in _parts(folder, recordings)]
    tops = sorted({own[0] for own in parts if len(own) > 1})
    nested = {own[0] for own in parts if len(own) > 2}
    splits = {name: split for name, split in find_splits(tops).items() if name in nested}
    others = [name for name in tops if name not in splits]
    if splits and others:
        raise HtsatEdgeError(
            f"{folder}: holds '{min(splits)}', which is named like a split and holds folders, and '{others[0]}', which "
            "is not; move or rename one of them"
        )
    return folder, splits


def _unwrap(folder: Path, recordings: Sequence[Path]) -> Path:
    """Return the folder that holds more than a single `audio` or the like, which is no class."""
    while True:
        tops = {own[0] for _, own in _parts(folder, recordings) if len(own) > 1}
        if len(tops) != 1 or min(tops).casefold() not in WRAPPERS:
            return folder
        folder = folder / min(tops)


def _parts(folder: Path, recordings: Iterable[Path]) -> list[tuple[Path, tuple[str, ...]]]:
    """Return the recordings in a folder, each with the folders and the name that it has there."""
    depth, own = len(folder.parts), folder.parts
    return [(path, parts[depth:]) for path in recordings if (parts := path.parts)[:depth] == own]


def _refuse_empty(place: Path, full: Collection[str]) -> None:
    """Raise an HtsatEdgeError where the folder of a class holds no recording: it may be of an unknown kind."""
    for path in sorted(place.iterdir()):
        if path.is_dir() and not is_junk(path.name) and path.name not in full:
            raise HtsatEdgeError(f"{path}: holds no recording; put some into it, or remove it")
