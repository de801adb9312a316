"""Read tables of any dialect: commas, semicolons, tabs or bars, with a header or without, as programs write them.

Tables in Parquet and JSON Lines are read as well, as if they were text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.evaluation.datasets.typed import SUFFIXES as TYPED
from htsat_edge.evaluation.datasets.typed import read_typed
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError

DELIMITERS = (",", ";", "\t", "|")
SUFFIXES = (".csv", ".tsv", ".tab", *TYPED)


@dataclass(frozen=True)
class Table:
    """The rows of a table, each as long as the header."""

    path: Path
    header: tuple[str, ...]
    """As it stands there; numbers of the columns where there is none."""
    has_header: bool
    rows: list[list[str]]
    """Without spaces around the cells, and without empty rows."""

    def where(self, number: int) -> str:
        """Return how messages name a row, from 1 on."""
        return f"{self.path}: row {number}"


def read_table(path: Path, is_header: Callable[[Sequence[str]], bool]) -> Table:
    """Read a table.

    Parameters
    ----------
    path
        The file: UTF-8, or UTF-16 with its mark; Parquet or JSON Lines by its suffix.
    is_header
        Whether cells are the names of columns: it also decides between delimiters.

    Raises
    ------
    HtsatEdgeError
        It cannot be read, or has a row with more cells than the header; the message names the row.
    """
    if path.suffix.lower() in TYPED:
        header, rows = read_typed(path)
        return Table(path, header, True, rows)
    text = read_text(path)
    if "\0" in text:
        raise HtsatEdgeError(f"{path}: holds NUL characters: is no table, or UTF-16 without its mark; save it as UTF-8")
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').lower().startswith("sep="):  # a spreadsheet's own line
        text = rest
    by_delimiter = {delimiter: _split(path, text, delimiter) for delimiter in _candidates(text)}
    known = {delimiter: rows for delimiter, rows in by_delimiter.items() if rows and is_header(rows[0])}
    delimiter = max(known or by_delimiter, key=lambda one: _width(by_delimiter[one]))
    rows = by_delimiter[delimiter]
    if not rows:
        raise HtsatEdgeError(f"{path}: is empty")
    header = tuple(rows[0]) if known else tuple(str(i + 1) for i in range(len(rows[0])))
    table = Table(path, header, bool(known), rows[bool(known) :])
    for number, row in enumerate(table.rows, 1):
        if len(row) > len(header):
            raise HtsatEdgeError(
                f"{table.where(number)} has {len(row)} cells, but there are {len(header)} columns; put a cell that "
                f"holds {delimiter!r} in double quotes"
            )
        row += [""] * (len(header) - len(row))
    return table


def _candidates(text: str) -> list[str]:
    """Return the delimiters that the first line may be split by."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return [delimiter for delimiter in DELIMITERS if delimiter in first] or [","]


def _width(rows: Sequence[Sequence[str]]) -> tuple[bool, int]:
    """Return how well rows are split: alike, and into many cells."""
    widths = {len(row) for row in rows}
    return len(widths) == 1, min(widths, default=0)


def _split(path: Path, text: str, delimiter: str) -> list[list[str]]:
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise HtsatEdgeError(f"{path}: is not CSV: {error}") from None
    stripped = [[cell.strip() for cell in row] for row in rows]
    return [row for row in stripped if any(row)]
