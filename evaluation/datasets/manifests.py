"""Read manifests: tables that list recordings, with what is known of each.

A manifest has a row for each sound, and these columns, under any of the names in columns.py; all but the file are
optional:

`file`
    The recording, relative to the manifest or to a folder `audio` beside it.
`class`
    What sounds, in every row, one or several; `background` where no labelled class does.
`onset`, `offset`
    When, in seconds: both or neither, in all rows of a recording or in none.
`split`
    `train`: learned from. `val`: held back, to choose by and to measure on. `test`: held back, only to measure on.
    In all rows or in none.
`fold`
    The part of a cross-validation.
`group`
    Recordings that are alike (one device, one day, one author), all in one split. By default the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from htsat_edge.evaluation.datasets.cells import Row, read_cells
from htsat_edge.evaluation.datasets.columns import STRONG, find_columns, is_header, is_recording, unknown_columns
from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.folders import marks as holds_classes
from htsat_edge.evaluation.datasets.places import Places
from htsat_edge.evaluation.datasets.rows import columns_of
from htsat_edge.evaluation.datasets.scans import CROSSING, is_about_files, is_events, read_events
from htsat_edge.evaluation.datasets.splits import find_splits
from htsat_edge.evaluation.datasets.tables import SUFFIXES, read_table
from htsat_edge.evaluation.datasets.typed import SUFFIXES as TYPED
from htsat_edge.evaluation.labels import Labelled, Occurrence, is_there, join, refuse_missing
from htsat_edge.runtime.common.errors import HtsatEdgeError

HEADERS = (("file",), ("file", "class"), ("file", "onset", "offset", "class"))
"""The columns of a manifest without a header."""
USUAL = ("manifest", "metadata", "labels", "annotations")
"""Names of manifests in a folder, beside folders of recordings that may have any names; the first is taken."""


def marks(files: Files) -> bool:
    """Return whether a table is named, or lies in a folder."""
    return bool(_tables(files))


def read(files: Files) -> Dataset:
    """Read manifests, one or several, each with columns of its own."""
    tables = _tables(files)
    given = {path for path in files.paths if not path.is_dir()}
    if other := sorted(given - set(tables)):
        raise HtsatEdgeError(f"{files}: want manifests, or recordings without labels, not both; {other[0]} is none")
    if not tables:
        raise HtsatEdgeError(f"{files}: want a manifest, such as manifest.csv; there is none")
    folders = [
        path for path in files.paths if path.is_dir() and not any(table.is_relative_to(path) for table in tables)
    ]
    for folder in folders:
        if own := [path for path in files.tables if path.parent == folder and path.stem.casefold() in USUAL]:
            raise HtsatEdgeError(f"{files}: {own[0]} is a manifest, too; name folders, or manifests, not both")
    if given:
        folders = [path for path in files.paths if path.is_dir()]
    recordings: dict[Path, Labelled] = {}
    missing = 0
    crossing: list[Path] = []
    for path in tables:
        found, gone, cut = _read(path, folders, _split_of(path, tables))
        crossing += cut
        for recording in found:
            if (first := recordings.setdefault(recording.path, recording)) is not recording:
                raise HtsatEdgeError(
                    f"{recording.where} names {recording.path}, and so does {first.where}; name it once"
                )
        missing += gone
    if not recordings:
        raise HtsatEdgeError(f"{files}: has only recordings {CROSSING}")
    return Dataset(list(recordings.values()), missing).setting_aside(CROSSING, crossing)


def read_labelled(path: Path, folders: Sequence[Path] = (), split: str = "") -> tuple[list[Labelled], int]:
    """Return the recordings of a manifest, with what sounds in each, and how many of those it names are missing.

    Raises
    ------
    HtsatEdgeError
        The manifest is not well-formed, contradicts itself, or more than a tenth of its recordings is missing.
    """
    found, missing, _ = _read(path, folders, split)
    return found, missing


def read_manifest(path: Path, classes: bool = False, folders: Sequence[Path] = ()) -> list[Row]:
    """Read and check a manifest, whose recordings need not be there.

    Parameters
    ----------
    path
        The table.
    classes
        Whether it must have classes, unless it has nothing but files, splits and groups.
    folders
        Folders that its names may be relative to.

    Raises
    ------
    HtsatEdgeError
        The file cannot be read, or is no manifest; the message names the row.
    """
    table = read_events(path) if is_events(path) else read_table(path, is_header)
    places = Places(path, folders)
    header = table.header if table.has_header else _guess_header(path, table.rows[0], places)
    columns = find_columns(path, header)
    if classes and columns.first("class") is None and columns.unknown:
        raise unknown_columns(path, header, "no column of classes")
    return read_cells(table, columns, places)


def read_splits(files: Files) -> dict[Path, str]:
    """Return the split of each recording of manifests, which need not be there and need no classes.

    It is `train` where there are folds alone: a recording of another fold may be learned from.
    """
    tables = _tables(files)
    folders = [path for path in files.paths if path.is_dir()]
    return {
        row.path: row.split or _split_of(path, tables) or ("train" if row.fold else "")
        for path in tables
        for row in read_manifest(path, folders=folders)
    }


def _read(path: Path, folders: Sequence[Path], split: str) -> tuple[list[Labelled], int, list[Path]]:
    """Return what `read_labelled` does, and the recordings that an event touches which goes on in another one."""
    by_path: dict[Path, list[Row]] = defaultdict(list)
    for row in read_manifest(path, classes=True, folders=folders):
        by_path[row.path].append(row)
    if not by_path:
        raise HtsatEdgeError(f"{path}: names no recording")
    missing = _find_missing(path, by_path)
    crossing = {one for rows in by_path.values() for row in rows if row.end for one in (row.path, row.end)} - missing
    left_out = missing | crossing
    found = [_labelled(recording, rows) for recording, rows in by_path.items() if recording not in left_out]
    named = [recording if recording.split else replace(recording, split=split) for recording in found]
    return named, len(missing), sorted(filter(is_there, crossing))


def _guess_header(path: Path, first: Sequence[str], places: Places) -> tuple[str, ...]:
    """Return the columns of a table without a header; raise an HtsatEdgeError where its first row is no recording's."""
    header = next((names for names in HEADERS if len(names) == len(first)), None)
    if header is not None and len(first) == 2 and is_recording(first[1]) and not is_recording(first[0]):
        header = ("class", "file")
    there = header is not None and (
        is_recording(name := first[header.index("file")]) or is_there(places.find(str(path), name))
    )
    if header is None or not there:
        raise unknown_columns(path, first, "no header that is known")
    return header


def _find_missing(manifest: Path, by_path: Mapping[Path, Sequence[Row]]) -> set[Path]:
    """Return the recordings that are missing; raise an HtsatEdgeError where they are many, and no split as a whole."""
    by_split: dict[str, list[Path]] = defaultdict(list)
    for recording, rows in by_path.items():
        by_split[rows[0].split].append(recording)
    there = {split: any(map(is_there, own)) for split, own in by_split.items()}
    return {
        recording
        for split, own in by_split.items()
        for recording in (refuse_missing(manifest, own) if there[split] or not any(there.values()) else own)
    }


def _labelled(path: Path, rows: Sequence[Row]) -> Labelled:
    first = rows[0]
    common = Labelled(path, split=first.split, group=first.group, fold=first.fold, where=first.where)
    if first.labels is None:
        return common
    names = frozenset(label for row in rows for label in row.labels or ())
    events = [Occurrence(*row.span_s, label) for row in rows if row.span_s for label in row.labels or ()]
    if len({row.channel for row in rows}) > 1:  # a sound that several channels have is one
        events = join(events)
    return replace(
        common,
        labels=names,
        events=tuple(events) if events or not names else None,
        backgrounds_s=tuple(row.span_s for row in rows if row.span_s and not row.labels),
    )


def _tables(files: Files) -> list[Path]:
    """Return the tables that are named; else those in the folders.

    These are of a usual name, or those of a scan, or have DESED's columns, or lie beside no folders of classes.
    """
    named = [path for path in files.paths if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if named:
        return named
    near = [path for path in files.tables if path.suffix.lower() in SUFFIXES and _is_near(path, files)]
    for name in USUAL:
        if found := [path for path in near if path.stem.casefold() == name]:
            return found
    if found := [path for path in near if is_events(path)]:
        return _one_form_each(found)
    if found := [path for path in near if set(columns_of(path)) == {*STRONG}]:
        return found
    if holds_classes(files):
        return []
    return [path for path in near if path.suffix.lower() not in TYPED and not is_about_files(path)]


def _one_form_each(found: Sequence[Path]) -> list[Path]:
    """Return tables of events, of those that a scan has written in several forms one."""
    forms = sorted(found, key=lambda path: SUFFIXES.index(path.suffix.lower()))
    return list({path.parent: path for path in reversed(forms)}.values())


def _is_near(path: Path, files: Files) -> bool:
    """Return whether a table lies in a folder that was named, or in one of a split in it."""
    return path.parent in files.paths or (path.parent.parent in files.paths and bool(find_splits([path.parent.name])))


def _split_of(path: Path, tables: Sequence[Path]) -> str:
    """Return the split that several manifests are named by (train.csv, test.csv; or train/metadata.csv)."""
    for names in ([table.stem for table in tables], [table.parent.name for table in tables]):
        splits = find_splits(names)
        if len(tables) > 1 and len(splits) == len(set(names)) > 1:
            return splits[path.stem if path.stem in splits else path.parent.name]
    return ""
