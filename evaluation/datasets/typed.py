"""Read tables whose cells have types, Parquet and JSON Lines, as if they were text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing_archive
from htsat_edge.runtime.common.text import in_one_line

PARQUET, JSONL = ".parquet", ".jsonl"
SUFFIXES = (PARQUET, JSONL)


def read_typed(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the columns of a table, and its rows, each as long as these.

    Raises
    ------
    HtsatEdgeError
        It cannot be read, is no such table, or holds text that no file and no class can be called.
    """
    if path.suffix.lower() == PARQUET:
        return _read_parquet(path)
    rows = list(_read_objects(path))
    if not rows:
        raise HtsatEdgeError(f"{path}: is empty")
    header = tuple(dict.fromkeys(name for _, row in rows for name in row))
    return header, [_as_cells(where, [row.get(name) for name in header]) for where, row in rows]


def columns_of_typed(path: Path) -> list[str]:
    """Return the columns of a table as they stand there, by its beginning alone; none where that cannot be read."""
    try:
        if path.suffix.lower() == PARQUET:
            return list(_open_parquet(path).schema_arrow.names)
        with path.open(encoding="utf-8-sig") as file:
            first = json.loads(next((line for line in file if line.strip()), ""))
    except (OSError, ValueError, RecursionError, HtsatEdgeError):
        return []
    return list(first) if isinstance(first, dict) else []


def _read_parquet(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    try:
        file = _open_parquet(path)
        header = tuple(file.schema_arrow.names)
        columns = (batch.to_pydict() for batch in file.iter_batches())
        groups = [zip(*(batch[name] for name in header), strict=True) for batch in columns]
    except (OSError, ValueError, KeyError) as error:  # the errors of pyarrow are such
        raise HtsatEdgeError(f"{path}: is no Parquet table: {in_one_line(error)}") from None
    rows = [cells for group in groups for cells in group]
    return header, [_as_cells(f"{path}: row {number}", cells) for number, cells in enumerate(rows, 1)]


def _open_parquet(path: Path) -> Any:
    with needing_archive(f"{path}: a table in Parquet", "pyarrow"):
        from pyarrow.parquet import ParquetFile
    try:
        return ParquetFile(path)
    except (OSError, ValueError) as error:
        raise HtsatEdgeError(f"{path}: is no Parquet table: {in_one_line(error)}") from None


def _read_objects(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the object of each line, with its place."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HtsatEdgeError(f"{where} is no JSON: {in_one_line(error)}") from None
        if not isinstance(row, dict):
            raise HtsatEdgeError(f'{where} is no object, want one a line, such as {{"file": "a.wav", "label": "Dog"}}')
        yield where, row


def _as_cells(where: str, values: Iterable[Any]) -> list[str]:
    """Return values as a table of text has them; raise an HtsatEdgeError where a text cannot be in one."""
    cells = [_as_cell(value).strip() for value in values]
    for cell in cells:
        if "\0" in cell or not _is_unicode(cell):
            raise HtsatEdgeError(f"{where} holds {cell!a}, which is no text; take the NUL or the half character out")
    return cells


def _as_cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
