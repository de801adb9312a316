"""Read DESED (N. Turpault and others: Sound event detection in domestic environments, 2019)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.datasets.columns import STRONG
from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup
from htsat_edge.evaluation.datasets.rows import TableRow, columns_of, read_rows
from htsat_edge.evaluation.labels import Labelled, Occurrence, join, missing_label, parse_span
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest

CLASSES = CONFIGS / "datasets" / "desed.csv"
WEAK = ("filename", "event_labels")
SPLITS = {"train": "train", "validation": "val", "eval": "test", "Ground-truth": "test"}
"""By folder of metadata and audio."""
WHOLE, PARTS = "validation.tsv", ("eval_dcase2018.tsv", "test_dcase2018.tsv")
"""The two parts of a table lie beside it."""


def tables(files: Files) -> list[Path]:
    """Return DESED's tables of strong or weak labels, those that were named before those that lie in folders."""
    tsvs = [path for path in files.tables if path.suffix.lower() == ".tsv"]
    found = files.prefer_given([path for path in tsvs if path in files.paths or _kind(path)])
    return [path for path in found if path.name not in PARTS or path.with_name(WHOLE) not in found]


def read(files: Files) -> Dataset:
    """Read TSVs of strong labels (filename, onset, offset, event_label) and of weak ones (filename, event_labels).

    Splits are those of the folders in which the tables lie; a recording that has strong labels needs no weak ones.
    """
    found = tables(files)
    if not found:
        raise HtsatEdgeError(
            f"{files}: want DESED's TSV files ({', '.join(STRONG)}, or {', '.join(WEAK)}) and its audio"
        )
    classes = _classes()
    lookup = Lookup(files, beside=_home(found[0]))
    by_path: dict[Path, Labelled] = {}
    named: dict[Path, set[str]] = {}
    for table in found:
        labelled = _read_table(table, classes)
        named[table] = set(labelled)
        for name, one in labelled.items():
            path = lookup.find(one.where, name, [*table.parts[:-1], table.stem], _of_split(one.split))
            if path is not None:
                named[table].discard(name)
                by_path[path] = _merge(by_path.get(path), replace(one, path=path))
    if not by_path:
        raise lookup.none_of(", ".join(map(str, found)), sum(map(len, named.values())))
    return Dataset(list(by_path.values()), sum(map(len, named.values())), classes=classes)


def marks(files: Files) -> bool:
    """Return whether there are tables of DESED's columns, with no other classes than its ten.

    Its recordings are named without folders; other programs, `htsat-edge scan` among them, write paths.
    """
    rows = [row for table in tables(files) if _kind(table) for row in _rows(table)]
    labels = {label for row in rows for label in _labels(row)}
    return bool(labels) and labels <= _classes().keys() and not any("/" in row["filename"] for row in rows)


def _classes() -> dict[str, list[str]]:
    """Return the labels of AudioSet that belong to each class."""
    classes: dict[str, list[str]] = defaultdict(list)
    for row in read_csv(CLASSES, ["class", "label"]):
        classes[row["class"]].append(row["label"])
    return dict(classes)


def _rows(table: Path) -> list[TableRow]:
    return read_rows(table, WEAK if _kind(table) == "weak" else STRONG)


def _labels(row: TableRow) -> list[str]:
    """Return the classes of a row, one or, in a table of weak labels, several."""
    named = row["event_label"] or row["event_labels"]
    return [label.strip() for label in named.split(",")] if named else []


def _of_split(split: str) -> Callable[[Path], bool]:
    """Return whether a recording may be of a split: those of several have the same names."""
    return lambda path: _split(path) in (split, "")


def _kind(table: Path) -> str:
    columns = set(columns_of(table))
    return "strong" if set(STRONG) <= columns else "weak" if set(WEAK) <= columns else ""


def _home(table: Path) -> Path:
    """Return the folder of a set in which a table lies: the one that holds `metadata`."""
    above = [folder.parent for folder in table.parents if folder.name == "metadata"]
    return above[0] if above else table.parent


def _split(path: Path) -> str:
    """Return the split of a table or recording by its folders below metadata or audio; empty where they do not say."""
    parts = path.parts[:-1]
    for top in ("metadata", "audio"):
        if top in parts:
            below = parts[len(parts) - parts[::-1].index(top) :]
            return next((SPLITS[part] for part in below if part in SPLITS), "")
    return ""


def _read_table(table: Path, classes: Mapping[str, list[str]]) -> dict[str, Labelled]:
    """Return what a table says of each recording that it names, under its name."""
    strong, split = _kind(table) != "weak", _split(table)
    events: dict[str, list[Occurrence]] = defaultdict(list)
    labels: dict[str, set[str]] = defaultdict(set)
    for row in _rows(table):
        name, own = row["filename"], _labels(row)
        labels[name].update(own)
        for label in own:
            if label not in classes:
                wrong = f"{row.where} has class '{label}', which is none of DESED's"
                raise HtsatEdgeError(f"{wrong}{suggest(label, classes)}")
        if not own and (row["onset"] or not strong):  # in a table of strong labels such a row says that nothing sounds
            raise missing_label(row.where)
        if strong and own:
            events[name].append(Occurrence(*parse_span(row.where, row["onset"], row["offset"]), own[0]))
    return {
        name: Labelled(
            table,
            frozenset(own),
            tuple(join(events[name])) if strong else None,
            split,
            where=f"{table}: {name}",
        )
        for name, own in labels.items()
    }


def _merge(known: Labelled | None, other: Labelled) -> Labelled:
    """Return the more exact of two statements on a recording; raise an HtsatEdgeError where they contradict."""
    if known is None or known == other:
        return other
    if known.events is None and other.events is not None:
        return other
    if other.events is None and known.events is not None:
        return known
    raise HtsatEdgeError(f"{other.where} has other labels than {known.where}; leave one of the tables out")
