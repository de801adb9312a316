"""Read FSD50K (E. Fonseca and others: FSD50K: an Open Dataset of Human-Labeled Sound Events, 2020)."""

from __future__ import annotations

from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup
from htsat_edge.evaluation.datasets.names import names_of_audioset
from htsat_edge.evaluation.datasets.rows import Pairs, TableRow, columns_of, read_rows
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError

COLUMNS = ("fname", "labels", "mids")


def tables(files: Files) -> list[Path]:
    """Return FSD50K's tables of labels: dev.csv, eval.csv or both."""
    found = [*files.named("dev.csv"), *files.named("eval.csv")]
    return [table for table in found if set(COLUMNS) <= set(columns_of(table))]


def read(files: Files) -> Dataset:
    """Read FSD50K.ground_truth/dev.csv (train and val, by its column) and eval.csv (test), and folders of audio.

    Classes keep the set's names, such as Electric_guitar; their numbers in AudioSet say which of its labels they are.
    """
    found = tables(files)
    if not found:
        raise HtsatEdgeError(f"{files}: want FSD50K.ground_truth with dev.csv or eval.csv (fname, labels, mids)")
    mids = Pairs("class", "mid")
    home = found[0].parent
    lookup = Lookup(files, beside=home.parent if home.name == "FSD50K.ground_truth" else home)
    recordings, named = [], 0
    for table in found:
        part = table.stem
        for row in read_rows(table, COLUMNS):
            named += 1
            labels = _labels(row, mids)
            split = _split(row) if part == "dev" else "test"
            path = lookup.take(row.where, row["fname"], near=[f"FSD50K.{part}_audio", part])
            if path is not None:
                recordings.append(Labelled(path, labels, split=split, where=row.where))
    if not recordings:
        raise lookup.none_of(", ".join(map(str, found)), named)
    return Dataset(recordings, missing=named - len(recordings), classes=_classes(mids))


def _labels(row: TableRow, mids: Pairs) -> frozenset[str]:
    labels, own = row["labels"].split(","), row["mids"].split(",")
    if len(labels) != len(own) or not all(labels):
        raise HtsatEdgeError(f"{row.where} has {len(labels)} labels and {len(own)} mids, want as many of both")
    for label, mid in zip(labels, own, strict=True):
        mids.check(row.where, label, mid)
    return frozenset(labels)


def _split(row: TableRow) -> str:
    split = row["split"]
    if split not in ("train", "val"):
        raise HtsatEdgeError(f"{row.where} has split '{split}', want train or val")
    return split


def _classes(mids: Pairs) -> dict[str, list[str]]:
    """Return the label of AudioSet that each class is; none for eight of the 200, which AudioSet's 527 lack."""
    names = names_of_audioset()
    return {label: [names[mid]] if mid in names else [] for label, mid in sorted(mids.items())}
