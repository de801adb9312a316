"""Read manifests: CSV files that list recordings, with what is known of each.

A manifest has a row for each sound, and these columns; all but `file` are optional:

`file`
    The recording, relative to the manifest.
`class`
    What sounds, in every row; `background` where no labelled class does.
`onset`, `offset`
    When, in seconds: both or neither, in all rows of a recording or in none.
`split`
    `train`: learned from. `val`: held back, to choose by and to measure on. `test`: held back, only to measure on.
    In all rows or in none.
`group`
    Recordings that are alike (one device, one day, one author), all in one split. By default the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.evaluation.labels import (
    BACKGROUND,
    Labelled,
    Occurrence,
    missing_label,
    parse_span,
    refuse_missing,
    refuse_mixed,
    refuse_overlaps,
    unknown_label,
)
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Row:
    """A row of a manifest."""

    where: str
    """Manifest and row, for messages."""
    path: Path
    label: str | None
    """None where the manifest has no classes."""
    span_s: tuple[float, float] | None
    """Onset and offset; None where they are not given."""
    split: str
    """One of SPLITS; empty where the manifest has no splits."""
    group: str

    @property
    def held_back(self) -> bool:
        """Whether nothing may be learned from it."""
        return self.split not in ("train", "")


def read_manifest(path: Path, classes: bool = False) -> list[Row]:
    """Read and check a manifest, whose recordings need not be there.

    Parameters
    ----------
    path
        The CSV file.
    classes
        Whether it must have the column `class`.

    Raises
    ------
    HtsatEdgeError
        The file cannot be read, or is no manifest; the message names the row.
    """
    found = read_csv(path, ["file", "class"] if classes else ["file"])
    rows = [_row(path, f"{path}: row {number}", fields) for number, fields in enumerate(found, 1)]
    _refuse_partial(path, rows)
    return rows


def read_labelled(path: Path, labels: Sequence[str]) -> list[Labelled]:
    """Return the recordings of a manifest to measure a model on, with what sounds in each.

    Rows with the split `train` are left out: what a model has learned from says nothing about it.

    Parameters
    ----------
    path
        The manifest.
    labels
        The classes of the model.

    Raises
    ------
    HtsatEdgeError
        The manifest is not well-formed, has other classes, or names recordings that are missing.
    """
    by_path: dict[Path, list[Row]] = defaultdict(list)
    for row in read_manifest(path):
        if row.split != "train":
            by_path[row.path].append(row)
    if not by_path:
        raise HtsatEdgeError(f"{path}: names no recording to measure on")
    refuse_missing(path, by_path)
    found = [_labelled(path, recording, rows, labels) for recording, rows in by_path.items()]
    refuse_mixed(str(path), found)
    return found


def _row(manifest: Path, where: str, fields: Mapping[str, str]) -> Row:
    label, split = fields.get("class"), fields.get("split") or ""
    if "class" in fields and not label:
        raise missing_label(where)
    if split and split not in SPLITS:
        raise HtsatEdgeError(f"{where} has split '{split}', want one of {', '.join(SPLITS)}")
    onset, offset = fields.get("onset"), fields.get("offset")
    return Row(
        where=where,
        path=manifest.parent / fields["file"],
        label=label,
        span_s=parse_span(where, onset, offset) if onset or offset else None,
        split=split,
        group=fields.get("group") or fields["file"],
    )


def _refuse_partial(manifest: Path, rows: Sequence[Row]) -> None:
    """Raise an HtsatEdgeError where some rows say what others leave open, or where splits cut what belongs together."""
    first: dict[Path, Row] = {}
    splits: dict[str, str] = {}
    any_split = any(row.split for row in rows)
    for row in rows:
        if any_split and not row.split:
            raise HtsatEdgeError(f"{row.where} has no split, but others have; give all or none")
        if (first.setdefault(row.path, row).span_s is None) != (row.span_s is None):
            raise HtsatEdgeError(
                f"{manifest}: {row.path.name} has an onset and an offset in some of its rows; give all or none"
            )
        for whole in (f"recording {row.path}", f"group '{row.group}'"):
            if splits.setdefault(whole, row.split) != row.split:
                raise HtsatEdgeError(f"{manifest}: {whole} has the splits {splits[whole]} and {row.split}; give it one")


def _labelled(manifest: Path, path: Path, rows: Sequence[Row], labels: Sequence[str]) -> Labelled:
    names: list[str] = []
    events: list[Occurrence] = []
    for row in rows:
        if row.label is None:
            return Labelled(path)
        if row.label == BACKGROUND:
            continue
        if row.label not in labels:
            raise unknown_label(row.where, row.label, labels)
        names.append(row.label)
        if row.span_s is not None:
            events.append(Occurrence(*row.span_s, row.label))
    refuse_overlaps(f"{manifest}: {path.name}", events)
    return Labelled(path, frozenset(names), tuple(events) if events or not names else None)
