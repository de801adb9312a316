"""Read what sets for cross-validation have in common: a table of clips, each cut from a recording, in a fold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup, stem
from htsat_edge.evaluation.datasets.rows import Pairs, TableRow, read_rows
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError

FOLDER = re.compile(r"fold[_-]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Clips:
    """How a set for cross-validation names things."""

    file: str
    """The columns: the clip's file name,"""
    number: str
    """its class as a number,"""
    category: str
    """its class,"""
    source: str
    """and the recording that it was cut from."""
    name: re.Pattern[str]
    """What the file name says of other columns, in groups of their names."""

    def read(self, files: Files, table: Path, home: str) -> Dataset:
        """Read the clips of a table that lies in the folder `home` of its set, or elsewhere.

        Raise an HtsatEdgeError where a row contradicts another, its file name or its folder, or no clip is there.
        """
        rows = read_rows(table, [self.file, "fold", self.category])
        lookup = Lookup(files, beside=table.parent.parent if table.parent.name == home else table.parent)
        classes = Pairs(self.number, self.category)
        recordings = []
        for row in rows:
            named = self._named(row)
            number = row[self.number] or named.get(self.number, row[self.category])
            classes.check(row.where, number, row[self.category])
            path = lookup.take(row.where, row[self.file], near=["audio", f"fold{row['fold']}"])
            if path is None:
                continue
            folder = FOLDER.fullmatch(path.parent.name)
            if folder and folder[1] != row["fold"]:
                raise HtsatEdgeError(f"{row.where} has fold {row['fold']}, but {path.name} lies in {path.parent}")
            group = row[self.source] or named.get(self.source, "")
            labels = frozenset([row[self.category]])
            recordings.append(Labelled(path, labels, group=group, fold=row["fold"], where=row.where))
        if not recordings:
            raise lookup.none_of(table, len(rows))
        return Dataset(recordings, missing=len(rows) - len(recordings))

    def _named(self, row: TableRow) -> dict[str, str]:
        """Return what the name of a clip says of it; raise an HtsatEdgeError where its row says otherwise."""
        for column in (self.file, "fold", self.category):
            if not row[column]:
                raise HtsatEdgeError(f"{row.where} has no {column}")
        found = self.name.fullmatch(stem(row[self.file]))
        named = found.groupdict() if found else {}
        for column, value in named.items():
            if row[column] and row[column] != value:
                raise HtsatEdgeError(
                    f"{row.where} has {column} {row[column]}, but its name {row[self.file]} has {value}"
                )
        return named
