"""Read what `htsat-edge scan` writes: the events, and beside them the table of the recordings that it has heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from htsat_edge.evaluation.datasets.columns import SCAN, is_header
from htsat_edge.evaluation.datasets.rows import TableRow, columns_of, read_rows
from htsat_edge.evaluation.datasets.tables import Table, read_table
from htsat_edge.evaluation.datasets.typed import SUFFIXES as TYPED
from htsat_edge.evaluation.labels import BACKGROUND

EVENTS, FILES = "events", "files"
"""Names of its tables."""
SUFFIXES = (".csv", *TYPED)
FILE_COLUMNS = {"file", "duration", "events", "failure"}
NO_SOUNDS = {FILES: FILE_COLUMNS, "failed": {"file", "reason"}}
"""What tables have that list recordings, but no sounds."""
CROSSING = "with an event that goes on in another file"


def is_events(path: Path) -> bool:
    """Return whether a table holds the events of a scan; where there are none, JSON Lines have no columns."""
    if path.stem != EVENTS:
        return False
    columns = set(columns_of(path))
    return columns >= {*SCAN} if columns else _is_empty(path) and bool(_read_files(path))


def is_about_files(path: Path) -> bool:
    """Return whether a table is one of a scan that lists recordings, but no sounds."""
    return path.stem in NO_SOUNDS and set(columns_of(path)) >= NO_SOUNDS[path.stem]


def read_events(path: Path) -> Table:
    """Read the events of a scan, with a row for each recording that it has heard and in which nothing sounds.

    Raise an HtsatEdgeError where one of the tables cannot be read.
    """
    table = Table(path, SCAN, True, []) if _is_empty(path) else read_table(path, is_header)
    names = [name.lower() for name in table.header]
    events = (dict(zip(names, row, strict=True)) for row in table.rows)
    silent = [{"file": file, "label": BACKGROUND} for file in silent_files(path, events)]
    return replace(table, rows=table.rows + [[row.get(name, "") for name in names] for row in silent])


def heard_files(table: Path) -> list[str]:
    """Return the recordings that were heard to their end, by the table that a scan has left beside its events."""
    return [row["file"] for row in _read_files(table) if not row["failure"]]


def silent_files(table: Path, events: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the recordings that a scan has heard to their end and in which nothing sounds.

    Parameters
    ----------
    table
        That of the events.
    events
        Its rows. A recording whose rows a person took out counts, too; but not where events go on in other recordings
        (`--continuous`), since such a one may lie between the two that a row names.
    """
    named, is_continuous = set(), False
    for event in events:
        named.add(event["file"])
        is_continuous |= bool(event.get("end_file"))
    heard = [row for row in _read_files(table) if not row["failure"] and row["file"] not in named]
    return [row["file"] for row in heard if row["events"] == "0" or not is_continuous]


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _read_files(table: Path) -> list[TableRow]:
    """Return the rows of the table of recordings beside one of events; nothing where there is none."""
    beside = [table.with_name(f"{FILES}{suffix}") for suffix in (table.suffix.lower(), *SUFFIXES)]
    found = next((path for path in beside if set(columns_of(path)) >= FILE_COLUMNS), None)
    return read_rows(found, FILE_COLUMNS) if found else []
