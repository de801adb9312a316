"""Read tables of Wildlife Acoustics' Kaleidoscope, and of programs that write them, such as BirdNET."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup
from htsat_edge.evaluation.datasets.names import as_label
from htsat_edge.evaluation.datasets.rows import TableRow, columns_of, read_rows, with_point
from htsat_edge.evaluation.datasets.scans import heard_files, is_events
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence, join, missing_label, parse_span
from htsat_edge.runtime.common.errors import HtsatEdgeError

FILE, OFFSET, DURATION = "in file", "offset", "duration"
CLASSES = ("manual id", "auto id", "top1match", "common_name", "scientific_name")
"""Columns that name what sounds, in the order in which they are asked; first of all a person's."""
NOTHING = {BACKGROUND, "nocall", "noise", "noid", "no id"}


def tables(files: Files) -> list[Path]:
    """Return Kaleidoscope's tables; those that were named before those that lie in folders."""
    return files.prefer_given(
        [path for path in files.tables if path.suffix.lower() in (".csv", ".tsv", ".txt") and _is_table(path)]
    )


def marks(files: Files) -> bool:
    """Return whether there are such tables, unless a scan has written them beside its own, which say more."""
    found = tables(files)
    return bool(found) and (found[0] in files.paths or not any(map(is_events, files.tables)))


def read(files: Files) -> Dataset:
    """Read tables and the recordings that they name.

    What a person has entered (MANUAL ID) counts before what a program has found (AUTO ID, TOP1MATCH). An event that
    several channels have is one. Where a row has no offset, its class sounds at an unknown time.
    """
    found = tables(files)
    if not found:
        columns = " or ".join(map(str.upper, CLASSES))
        raise HtsatEdgeError(f"{files}: want tables of Kaleidoscope, with IN FILE and {columns}")
    lookup = Lookup(files, beside=found[0].parent)
    named: dict[Path, list[TableRow]] = defaultdict(list)
    missing: set[str] = set()
    for table in found:
        for row in _read_rows(table):
            name = "/".join(filter(None, (row["indir"].rstrip("\\/"), row["folder"].strip("\\/"), row[FILE])))
            if not row[FILE]:
                raise HtsatEdgeError(f"{row.where} has no file")
            path = lookup.find(row.where, name)
            if path is None:
                missing.add(name)
            else:
                named[path].append(row)
        for name in heard_files(table):
            if (path := lookup.find(str(table), name)) is not None:
                named.setdefault(path, [])
    if not named:
        raise lookup.none_of(", ".join(map(str, found)), len(missing))
    return Dataset([_labelled(path, rows) for path, rows in named.items()], len(missing))


def _is_table(path: Path) -> bool:
    columns = set(map(_plain, columns_of(path)))
    return FILE in columns and not columns.isdisjoint(CLASSES)


def _read_rows(table: Path) -> list[TableRow]:
    given = next((name for name in columns_of(table) if _plain(name) == FILE), FILE)
    rows = read_rows(table, (given,))
    return [TableRow(row.where, {_plain(name): cell for name, cell in row.fields.items()}) for row in rows]


def _plain(column: str) -> str:
    """Return a column's name without the star that it has where Kaleidoscope lets a person edit it."""
    return column.rstrip("* ")


def _labelled(path: Path, rows: list[TableRow]) -> Labelled:
    """Return a recording with what its rows say, which may be that nothing sounds."""
    classes = [(row, _class(row)) for row in rows]
    heard = [(row, label) for row, label in classes if label.casefold() not in NOTHING]
    timed = all(row[OFFSET] for row, _ in heard)
    events = [Occurrence(*_span_s(row), label) for row, label in heard] if timed else []
    return Labelled(
        path,
        frozenset(label for _, label in heard),
        tuple(join(events)) if timed else None,
        where=rows[0].where if rows else str(path),
    )


def _class(row: TableRow) -> str:
    label = next(filter(None, (row[column] for column in CLASSES)), "")
    if not label:
        raise missing_label(row.where)
    return as_label(row.where, label)


def _span_s(row: TableRow) -> tuple[float, float]:
    onset, duration = with_point(row[OFFSET]), with_point(row[DURATION])
    try:
        offset = repr(round(float(onset) + float(duration), 6))
    except ValueError:
        offset = duration
    return parse_span(row.where, onset, offset)
