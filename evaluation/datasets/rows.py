"""Read the rows of tables with known columns, and refuse those that contradict each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.evaluation.datasets.tables import DELIMITERS, read_table
from htsat_edge.evaluation.datasets.typed import SUFFIXES as TYPED
from htsat_edge.evaluation.datasets.typed import columns_of_typed
from htsat_edge.runtime.common.errors import HtsatEdgeError

SNIFFED = 1 << 14
"""Characters in which the first line of a table ends."""


@dataclass(frozen=True)
class TableRow:
    """A row of a table."""

    where: str
    """Table and row, for messages."""
    fields: Mapping[str, str]
    """By column, in lower case."""

    def __getitem__(self, column: str) -> str:
        """Return what stands in a column; nothing where the table does not have it."""
        return self.fields.get(column, "")


def read_rows(path: Path, columns: Collection[str]) -> list[TableRow]:
    """Return the rows of a table with a header, in any dialect.

    Parameters
    ----------
    path
        The file.
    columns
        What its header must have, in lower case.

    Raises
    ------
    HtsatEdgeError
        It cannot be read, or lacks a column; the message names those that it has.
    """
    table = read_table(path, lambda cells: set(columns) <= {cell.lower() for cell in cells})
    if not table.has_header:
        seen = ", ".join(filter(None, table.rows[0]))
        raise HtsatEdgeError(f"{path}: want the columns {', '.join(columns)}; its first line has {seen}")
    header = [name.lower() for name in table.header]
    return [
        TableRow(table.where(number), dict(zip(header, row, strict=True))) for number, row in enumerate(table.rows, 1)
    ]


def columns_of(path: Path) -> list[str]:
    """Return the columns of a table in lower case, by its first line alone; none where that cannot be read."""
    if path.suffix.lower() in TYPED:
        return [name.lower() for name in columns_of_typed(path)]
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            line = file.readline(SNIFFED)
    except OSError:
        return []
    return [name.strip().strip('"').lower() for name in line.split(max(DELIMITERS, key=line.count))]


def with_point(number: str) -> str:
    """Return a number with a decimal point, where programs in other languages wrote a comma."""
    return number.replace(",", ".") if "." not in number else number


class Pairs:
    """Two columns that name the same thing, such as a class and its number."""

    def __init__(self, first: str, second: str) -> None:
        """Remember the columns."""
        self.columns = first, second
        self._seen: dict[tuple[int, str], tuple[str, str]] = {}

    def check(self, where: str, first: str, second: str) -> None:
        """Raise an HtsatEdgeError where an earlier row had one of the two with another."""
        for side, own, other in ((0, first, second), (1, second, first)):
            known, earlier = self._seen.setdefault((side, own), (other, where))
            if known != other:
                name, others = self.columns[side], self.columns[1 - side]
                raise HtsatEdgeError(f"{where} has {name} {own} with {others} {other}, but {earlier} with {known}")

    def items(self) -> Iterable[tuple[str, str]]:
        """Return every value of the first column with that of the second."""
        return [(own, other) for (side, own), (other, _) in self._seen.items() if side == 0]
