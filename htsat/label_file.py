"""Read lists of labels, in the order of a network's outputs, from the forms in which people have them.

A table's own numbers decide the order, and not its rows: one that was sorted by name still says which output is which.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.datasets.columns import NAMES
from htsat_edge.htsat.checkpoint.claims import CLASS_KEYS, in_order
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.models.bundle import find_ancestors

LABEL_COLUMNS = (
    *("label", "display_name", "label_name", "class_name", "classname", "class", "category", "event_label", "name"),
    *("labels", "classes"),
)
"""Columns of labels, the first of them that is there counts."""
INDEX_COLUMNS = ("index", "idx", "output", "number", *NAMES["number"], "id", "", "unnamed:_0")
"""Columns of numbers; the last two are what pandas makes of its own index."""
PERHAPS_NAMES = ("id", "mid", "mids", "", "unnamed:_0")
"""Columns of numbers unless none of their values is one, such as AudioSet's /m/09x0r."""
NUMBERED_LINE = re.compile(r"(\d+)\s*[,;:\t ]\s*(\S.*)")


@dataclass(frozen=True)
class LabelFile:
    """The labels of a network."""

    labels: list[str]
    """In the order of the outputs."""
    ordered_by: str | None = None
    """The column by which the rows were put into another order."""
    parents: dict[str, list[str]] = field(default_factory=dict)
    """By label, the labels that are more general, one level up; of a column `parents`, where several are apart by ;."""


def read_audioset() -> LabelFile:
    """Return AudioSet's labels."""
    return read_label_file(CONFIGS / "labels" / "audioset.csv", 527)


def read_label_file(path: Path, classes: int) -> LabelFile:
    """Return the labels of a label file: a table with or without numbers, a list in JSON, or a label a line.

    Raises
    ------
    HtsatEdgeError
        It names not each of so many classes once, or its numbers contradict each other.
    """
    text = read_text(path)
    if text.lstrip().startswith(("[", "{")):
        found = LabelFile(_from_json(path, text))
    else:
        found = _from_table(path, text, classes)
    if len(found.labels) != classes:
        raise HtsatEdgeError(f"{path}: has {len(found.labels)} labels, but the network has {classes} classes")
    if repeated := {label for label in found.labels if found.labels.count(label) > 1}:
        raise HtsatEdgeError(f"{path}: listed twice: {listed(sorted(repeated))}")
    for number, label in enumerate(found.labels, start=1):
        if not label:
            raise HtsatEdgeError(f"{path}: row {number} has no label")
    for label, parents in found.parents.items():
        for parent in parents:
            if parent not in found.labels:
                hint = suggest(parent, found.labels)
                raise HtsatEdgeError(f"{path}: the parent {parent!r} of {label!r} is none of its labels{hint}")
        if label in find_ancestors(label, found.parents):
            raise HtsatEdgeError(f"{path}: by its parents, {label!r} lies below itself")
    return found


def _from_json(path: Path, text: str) -> list[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HtsatEdgeError(f"{path}: is not JSON: {error}") from None
    inner = [content.get(key) for key in CLASS_KEYS] if isinstance(content, dict) else []
    found = next((names for names in map(in_order, (content, *inner)) if names is not None), None)
    if found is None:
        raise HtsatEdgeError(
            f"{path}: holds no labels: want a list of names, or id2label with every number from 0, as in a config.json"
        )
    return [name.strip() for name in found]


def _from_table(path: Path, text: str, classes: int) -> LabelFile:
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else ""
    delimiter = max("\t;,", key=first.count)
    try:
        rows = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        ]
    except csv.Error as error:
        raise HtsatEdgeError(f"{path}: is not CSV: {error}") from None
    rows = [row for row in rows if any(row)]
    header = [re.sub(r"[\s-]+", "_", cell.casefold()) for cell in (rows[0] if rows else [])]
    if set(header) & set(LABEL_COLUMNS):
        return _by_columns(path, header, rows[0], rows[1:])
    numbered = [NUMBERED_LINE.fullmatch(line.strip()) for line in lines]
    if rows and all(len(row) > 1 and row[0].isdecimal() for row in rows):  # FSD50K's vocabulary.csv has no header
        return _ordered(path, "the first column", [(row[0], row[1]) for row in rows])
    if all(numbered) and len(numbered) == classes:
        return _ordered(path, "the first column", [(found[1], found[2]) for found in numbered if found])
    if len(lines) == classes and (path.suffix == ".txt" or len(header) == 1):
        return LabelFile([line.strip() for line in lines])
    raise HtsatEdgeError(
        f"{path}: has no column of labels; it has {listed(map(repr, rows[0])) if rows else 'nothing'}, and known are "
        f"{listed(LABEL_COLUMNS, most=len(LABEL_COLUMNS))}; or give a label a line, {classes} lines"
    )


def _by_columns(path: Path, header: Sequence[str], shown: Sequence[str], rows: Sequence[list[str]]) -> LabelFile:
    """Return the labels of a table with a header, in the order of its numbers if it has any."""
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            raise HtsatEdgeError(
                f"{path}: row {number} has {len(row)} columns, but the header {len(header)}; is a quote missing?"
            )
    cells = {name: [row[i] if i < len(row) else "" for row in rows] for i, name in reversed([*enumerate(header)])}
    known = [name for name in LABEL_COLUMNS if name in cells]
    indices = [name for name in INDEX_COLUMNS if name in cells]
    if len(known) > 1 and all(cell.isdecimal() for cell in cells[known[0]]):  # `label,name` of 0,dog
        indices.append(known.pop(0))
    labels = cells[known[0]]
    if "" in labels:
        raise HtsatEdgeError(f"{path}: row {labels.index('') + 1} has no {shown[header.index(known[0])]}")
    several = zip(labels, cells.get("parents", ()), strict=False)
    parents = {label: [name.strip() for name in cell.split(";") if name.strip()] for label, cell in several if cell}
    found = []
    for name in indices:
        if name in PERHAPS_NAMES and not any(_whole(cell) is not None for cell in cells[name]):
            continue
        column = f"the column '{shown[header.index(name)]}'"
        found.append(_ordered(path, column, [*zip(cells[name], labels, strict=True)]))
    if not found:
        _refuse_other_order(path, [(shown[i], cells[name]) for i, name in enumerate(header) if name != known[0]])
        return LabelFile(labels, parents=parents)
    for other in found[1:]:
        if other.labels != found[0].labels:
            raise HtsatEdgeError(f"{path}: its columns of numbers contradict each other; keep that of the outputs")
    return replace(found[0], parents=parents)


def _refuse_other_order(path: Path, columns: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raise an HtsatEdgeError where a column of an unknown name numbers the rows in another order than theirs.

    It may be that of the outputs or, as a rank, another: only a person knows.
    """
    for name, cells in columns:
        numbers = [_whole(cell) for cell in cells]
        begin = int(0 not in numbers)
        if set(numbers) == {*range(begin, begin + len(cells))} and numbers != [*range(begin, begin + len(cells))]:
            raise HtsatEdgeError(
                f"{path}: the column {name!r} numbers the rows in another order; call it index where that is the order "
                "of the outputs, or take it out"
            )


def _ordered(path: Path, column: str, pairs: Sequence[tuple[str, str]]) -> LabelFile:
    """Return labels in the order of their numbers from 0 or 1; a pair may be there often, as in ESC-50's table.

    Numbers that are none, are two labels', or leave gaps are refused.
    """
    mend = "number the outputs from 0, or take the column out if the rows are in their order"
    names: dict[int, str] = {}
    for row, (cell, label) in enumerate(pairs, start=1):
        number = _whole(cell)
        if number is None:
            raise HtsatEdgeError(f"{path}: row {row} has {cell!r} in {column}, which is no number; {mend}")
        if names.setdefault(number, label) != label:
            raise HtsatEdgeError(f"{path}: {number} in {column} is both {names[number]!r} and {label!r}; {mend}")
    begin = int(min(names, default=0) == 1)
    missing = sorted(set(range(begin, begin + len(names))) - set(names))
    if missing:
        raise HtsatEdgeError(f"{path}: {column} lacks the number {missing[0]}; {mend}")
    labels = [names[number] for number in sorted(names)]
    return LabelFile(labels, column if labels != [*dict.fromkeys(label for _, label in pairs)] else None)


def _whole(cell: str) -> int | None:
    """Return a number from 0 on, which pandas may have written as 3.0."""
    found: Any = re.fullmatch(r"(\d{1,9})(\.0+)?", cell)
    return int(found[1]) if found else None
