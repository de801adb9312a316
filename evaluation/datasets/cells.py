"""Read the cells of a manifest into rows, and refuse what contradicts itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.evaluation.datasets.columns import SCAN, STRONG, Columns, is_plural
from htsat_edge.evaluation.datasets.names import as_label, split_labels
from htsat_edge.evaluation.datasets.places import Places
from htsat_edge.evaluation.datasets.rows import Pairs, with_point
from htsat_edge.evaluation.datasets.splits import find_splits
from htsat_edge.evaluation.datasets.tables import Table
from htsat_edge.evaluation.labels import BACKGROUND, SPLITS, missing_label, parse_span
from htsat_edge.runtime.common.errors import HtsatEdgeError

EMPTY = ("nan", "NaN")
"""What pandas writes for a cell that is empty."""
FOLD = re.compile(r"(?:fold)?[ _-]*0*(\d+)(?:\.0+)?", re.IGNORECASE)
NUMBER = re.compile(r"-?\d+(?:\.0+)?|/[mgt]/\w+")
"""Of a class, or its machine identifier in AudioSet's ontology."""


@dataclass(frozen=True)
class Row:
    """A row of a manifest."""

    where: str
    """Manifest and row, for messages."""
    path: Path
    labels: tuple[str, ...] | None
    """None where the manifest has no classes; without names for background."""
    span_s: tuple[float, float] | None
    """Onset and offset; None where they are not given."""
    split: str
    """One of SPLITS; empty where the manifest has no splits."""
    group: str
    fold: str = ""
    channel: str = ""
    end: Path | None = None
    """The recording in which the event ends, where that is another one."""


def read_cells(table: Table, columns: Columns, places: Places) -> list[Row]:
    """Return the rows of a manifest; raise an HtsatEdgeError at one that lacks something or contradicts another."""
    names = _choose_names(table, columns)
    splits = _read_splits(table, columns)
    several = names is not None and is_plural(columns.header[names])
    folds, groups, files, channels, ends = (
        _column(table, columns.first(kind)) for kind in ("fold", "group", "file", "channel", "end_file")
    )
    is_strong = columns.plain == {*STRONG}
    is_whole = is_strong or columns.plain >= {*SCAN}
    rows = []
    for i, cells in enumerate(table.rows):
        where = table.where(i + 1)
        if not files[i]:
            raise HtsatEdgeError(f"{where} has no file")
        span_s = _read_span(where, cells, columns)
        cell = None if names is None else cells[names]
        if is_strong and not (cell or span_s):
            cell = BACKGROUND
        rows.append(
            Row(
                where=where,
                path=places.find(where, files[i]),
                labels=None if cell is None else _read_labels(where, cell, several, is_whole),
                span_s=span_s,
                split=splits[i],
                group=groups[i] or files[i],
                fold=found[1] if (found := FOLD.fullmatch(folds[i])) else folds[i],
                channel=channels[i],
                end=places.find(where, ends[i]) if ends[i] not in ("", files[i]) else None,
            )
        )
    _refuse_numbers(table, columns, names)
    _refuse_partial(table.path, rows)
    return rows


def _column(table: Table, place: int | None) -> list[str]:
    return [""] * len(table.rows) if place is None else [cells[place] for cells in table.rows]


def _read_labels(where: str, cell: str, several: bool, whole: bool = False) -> tuple[str, ...]:
    """Return the classes of a cell, which is one where `whole` is said."""
    if not cell or cell in EMPTY:
        raise missing_label(where)
    names = [as_label(where, name) for name in ([cell] if whole else split_labels(cell, several))]
    return tuple(dict.fromkeys(name for name in names if name != BACKGROUND))


def _read_span(where: str, cells: Sequence[str], columns: Columns) -> tuple[float, float] | None:
    onset, offset, duration = (
        with_point(cells[place]) if (place := columns.first(kind)) is not None else ""
        for kind in ("onset", "offset", "duration")
    )
    if onset and duration and columns.first("offset") is None:
        try:
            offset = repr(float(onset) + float(duration))
        except ValueError:
            offset = duration
    return parse_span(where, onset, offset) if onset or offset else None


def _read_splits(table: Table, columns: Columns) -> list[str]:
    """Return the split of each row, by the column or by the folders that the files lie in."""
    files = [cell.replace("\\", "/").split("/") for cell in _column(table, columns.first("file"))]
    by_folder = find_splits({parts[0] for parts in files if len(parts) > 1})
    lie_in = [by_folder.get(parts[0], "") if len(parts) > 1 else "" for parts in files]
    if not all(lie_in):  # Train beside Fire and Rain holds the sounds of trains
        lie_in = [""] * len(files)
    place = columns.first("split")
    if place is None:
        return lie_in
    given = _column(table, place)
    known = find_splits(set(given))
    for number, (value, folder) in enumerate(zip(given, lie_in, strict=True), 1):
        if value and value not in known:
            raise HtsatEdgeError(f"{table.where(number)} has split '{value}', want one of {', '.join(SPLITS)}")
        if value and folder and known[value] != folder:
            name = files[number - 1]
            raise HtsatEdgeError(
                f"{table.where(number)} has split '{value}', but its file lies in {name[0]}: {'/'.join(name)}"
            )
    return [known.get(value, "") for value in given]


def _choose_names(table: Table, columns: Columns) -> int | None:
    """Return the place of the column with the names of classes.

    Raise an HtsatEdgeError where several columns have names, and do not agree.
    """
    places = columns.by_kind["class"]
    named = [p for p in places if not all(NUMBER.fullmatch(cells[p]) for cells in table.rows)] or places[:1]
    for place in named[1:]:
        for number, cells in enumerate(table.rows, 1):
            if cells[place] != cells[named[0]]:
                first, other = columns.header[named[0]], columns.header[place]
                raise HtsatEdgeError(
                    f"{table.where(number)} has {first} '{cells[named[0]]}' and {other} '{cells[place]}', both names "
                    "of classes; leave one of the columns out"
                )
    return named[0] if named else None


def _refuse_numbers(table: Table, columns: Columns, names: int | None) -> None:
    """Raise an HtsatEdgeError where a number of a class stands beside two names, or a name beside two numbers."""
    if names is None:
        return
    for place in {*columns.by_kind["class"], *columns.by_kind["number"]} - {names}:
        pairs = Pairs(columns.header[place], columns.header[names])
        for number, cells in enumerate(table.rows, 1):
            if cells[place] and cells[names]:
                pairs.check(table.where(number), cells[place], cells[names])


def _refuse_partial(manifest: Path, rows: Sequence[Row]) -> None:
    """Raise an HtsatEdgeError where some rows say what others leave open, or where rows on one recording differ."""
    first: dict[Path, Row] = {}
    any_split, any_fold = any(row.split for row in rows), any(row.fold for row in rows)
    for row in rows:
        for given, value, name in ((any_split, row.split, "split"), (any_fold, row.fold, "fold")):
            if given and not value:
                raise HtsatEdgeError(f"{row.where} has no {name}, but others have; give all or none")
        if (first.setdefault(row.path, row).span_s is None) != (row.span_s is None):
            raise HtsatEdgeError(
                f"{manifest}: {row.path.name} has an onset and an offset in some of its rows; give all or none"
            )
        if first[row.path].group != row.group:
            raise HtsatEdgeError(
                f"{manifest}: recording {row.path} has the groups {first[row.path].group} and {row.group}; give it one"
            )
        for value, other, name in (
            (row.split, first[row.path].split, "splits"),
            (row.fold, first[row.path].fold, "folds"),
        ):
            if other != value:
                raise HtsatEdgeError(
                    f"{manifest}: recording {row.path} has the {name} {other} and {value}; give it one"
                )
