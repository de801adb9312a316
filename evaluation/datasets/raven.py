"""Read selection tables of Raven, and of programs that write them, such as BirdNET."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup
from htsat_edge.evaluation.datasets.rows import TableRow, columns_of, read_rows, with_point
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence, join, missing_label, parse_span
from htsat_edge.runtime.common.errors import HtsatEdgeError

BEGIN, END, OFFSET = "begin time (s)", "end time (s)", "file offset (s)"
FILES = ("begin path", "begin file")
CLASSES = ("annotation", "label", "class", "common name", "species", "species code", "tag", "call type", "type")
"""Columns that may name what sounds, in the order in which they are looked for; people name their own in Raven."""
NOTHING = {BACKGROUND, "nocall"}
NAME = re.compile(
    r"(?P<recording>.+?)(\.Table\.\d+)?(\.BirdNET)?[._](selections?|selection\.table|results)", re.IGNORECASE
)
"""Of a table that does not say whose it is: recording.Table.1.selections.txt, recording.BirdNET.selection.table.txt."""
CROSSING = "with a selection that goes on in another file"


def tables(files: Files) -> list[Path]:
    """Return the selection tables; those that were named before those that lie in folders."""
    found = [
        path for path in files.tables if path.suffix.lower() in (".txt", ".tsv") and {BEGIN, END} <= _columns(path)
    ]
    return files.prefer_given(found)


def read(files: Files) -> Dataset:
    """Read selection tables and the recordings that they name, or beside which they lie.

    A selection that several views show, or several channels, is one event. A table without selections says that nothing
    sounds. Where a selection ends in another file than it began, both are left out: when it sounds in each is not said.
    """
    found = tables(files)
    if not found:
        raise HtsatEdgeError(f"{files}: want Raven's selection tables, with 'Begin Time (s)' and 'End Time (s)'")
    lookup = Lookup(files, beside=found[0].parent)
    events: dict[Path, set[Occurrence]] = defaultdict(set)
    sources: dict[Path, str] = {}
    missing: set[str] = set()
    crossing: dict[Path, None] = {}
    for table in found:
        rows = read_rows(table, (BEGIN, END))
        column = _class_column(table, rows)
        for name, own in _by_recording(table, rows).items():
            path = lookup.find(str(table), name, () if "/" in name or "\\" in name else table.parts[:-1])
            if path is None:
                missing.add(name)
                continue
            sources.setdefault(path, f"{table}: {name}")
            for row in own:
                if (event := _event(row, column)) is None:
                    continue
                events[path].add(event)
                if row["end file"] not in ("", row["begin file"]):
                    end = lookup.find(row.where, row["end file"], near=path.parts[:-1])
                    crossing |= dict.fromkeys([path] if end is None else [path, end])
    if not sources:
        raise lookup.none_of(", ".join(map(str, found)), len(missing))
    recordings = [
        Labelled(path, frozenset(event.label for event in events[path]), tuple(join(events[path])), where=where)
        for path, where in sources.items()
        if path not in crossing
    ]
    if not recordings:
        raise HtsatEdgeError(f"{', '.join(map(str, found))}: has only recordings {CROSSING}")
    return Dataset(recordings, len(missing)).setting_aside(CROSSING, crossing)


def _columns(path: Path) -> set[str]:
    return set(columns_of(path))


def _class_column(table: Path, rows: Sequence[TableRow]) -> str:
    """Return the column that names what sounds; raise an HtsatEdgeError where there is none."""
    columns = columns_of(table)
    found = [name for name in CLASSES if name in columns]
    filled = [name for name in found if any(row[name] for row in rows)]
    if not found and rows:
        raise HtsatEdgeError(
            f"{table}: none of its columns ({', '.join(columns)}) names what sounds, want one of {', '.join(CLASSES)}"
        )
    return (filled or found or [""])[0]


def _by_recording(table: Path, rows: Sequence[TableRow]) -> dict[str, list[TableRow]]:
    """Return the rows of each recording that a table names; by its own name where it names none."""
    found: dict[str, list[TableRow]] = defaultdict(list)
    for row in rows:
        found[next((row[column] for column in FILES if row[column]), _own_name(table))].append(row)
    return found or {_own_name(table): []}


def _own_name(table: Path) -> str:
    named = NAME.fullmatch(table.stem)
    return named["recording"] if named else table.stem


def _event(row: TableRow, column: str) -> Occurrence | None:
    """Return the event of a selection, with times in its recording; None where it says that nothing sounds."""
    if not row[column]:
        raise missing_label(row.where)
    begin, end = with_point(row[BEGIN]), with_point(row[END])
    onset_s, offset_s = parse_span(row.where, begin, end)
    if row[OFFSET]:  # times count from the first of several recordings that were open together
        try:
            shift_s = float(with_point(row[OFFSET])) - onset_s
            onset_s, offset_s = round(onset_s + shift_s, 6), round(offset_s + shift_s, 6)
        except ValueError:
            raise HtsatEdgeError(f"{row.where} has the file offset '{row[OFFSET]}', want seconds") from None
    return None if row[column].lower() in NOTHING else Occurrence(onset_s, offset_s, row[column])
