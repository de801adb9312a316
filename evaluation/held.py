"""Read the recordings that nothing is learned from, and of these the ones in which no class of a model sounds."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from htsat_edge.evaluation.datasets import Dataset, read_dataset
from htsat_edge.evaluation.datasets.checking import check
from htsat_edge.evaluation.datasets.names import is_near
from htsat_edge.evaluation.datasets.splits import to_measure_on
from htsat_edge.evaluation.labels import BACKGROUND, SPLITS, Labelled, unknown_label
from htsat_edge.runtime.common.errors import HtsatEdgeError


def held_back(dataset: Dataset, split: str | None = None) -> list[Labelled]:
    """Return the recordings that are held back; with a split those of it, and those that name none."""
    if split is None:
        return to_measure_on(dataset.recordings, dataset.name)
    return [recording for recording in dataset.recordings if recording.split in ("", split)]


def read_held(
    paths: Sequence[Path], split: str | None = None, layout: str | None = None, fold: int | None = None
) -> list[Labelled]:
    """Return the recordings that are held back, as `held_back` does, without what is damaged; print their counts."""
    dataset = read_dataset(paths, layout, fold)
    return held_back(check(paths, dataset, held_back(dataset, split)), split)


def refuse_without_class(option: str, recordings: Iterable[Labelled]) -> None:
    """Raise an HtsatEdgeError where the classes of a recording are not known."""
    for recording in recordings:
        if recording.labels is None:
            raise HtsatEdgeError(f"{option}: {recording.path.name} has no class")


def without_labels(recordings: Iterable[Labelled], labels: Iterable[str]) -> list[tuple[Path, str]]:
    """Return the recordings in which no such label sounds, each with its class: background where it has none.

    Raise an HtsatEdgeError where a class is nearly one of the labels: what a model rightly finds would count as false.
    """
    known = set(labels)
    found: dict[Path, frozenset[str]] = {}
    checked = set(known)
    for recording in recordings:
        for name in sorted((recording.labels or frozenset()) - checked):
            if is_near(name, known):
                raise unknown_label(recording.where or str(recording.path), name, known)
            checked.add(name)
        found[recording.path] = found.get(recording.path, frozenset()) | (recording.labels or frozenset())
    return [(path, min(own, default=BACKGROUND)) for path, own in found.items() if not own & known]


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add --split."""
    parser.add_argument(
        "--split",
        choices=SPLITS[1:],
        help="of what is held back in every set, play only this, and what names no split: test has served to choose "
        "nothing (default: both)",
    )
