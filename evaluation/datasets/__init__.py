"""Read recordings and what sounds in them, as they lie on disk: data sets, manifests, a folder for each class.

A reader is a function in a file of its own, `read(files: Files) -> Dataset`, and a row of LAYOUTS.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from htsat_edge.evaluation.datasets import (
    audacity,
    audioset,
    desed,
    esc50,
    folders,
    fsd50k,
    kaleidoscope,
    label_studio,
    manifests,
    raven,
    speech_commands,
    textgrid,
    unlabelled,
    urbansound8k,
)
from htsat_edge.evaluation.datasets.dataset import NO_LABEL, Dataset, join_sets
from htsat_edge.evaluation.datasets.files import Files, list_files
from htsat_edge.evaluation.datasets.names import refuse_near
from htsat_edge.evaluation.datasets.splits import refuse_cut_groups
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError

__all__ = ["LAYOUTS", "Dataset", "DatasetLayout", "Files", "find_layout", "read_dataset"]


AGAIN = "there once more"
NOT_UTF8 = "with a name that is not UTF-8"
SURROGATE = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes that are no UTF-8."""


@dataclass(frozen=True)
class DatasetLayout:
    """How a data set lies on disk."""

    read: Callable[[Files], Dataset]
    """Reads it; raises an HtsatEdgeError where it is not so."""
    marks: Callable[[Files], bool]
    """Whether files are of this layout, by what lies there; the first layout of the table that says so is taken."""


LAYOUTS: Mapping[str, DatasetLayout] = {
    "esc50": DatasetLayout(esc50.read, lambda files: bool(files.named("esc50.csv"))),
    "urbansound8k": DatasetLayout(urbansound8k.read, lambda files: bool(files.named("UrbanSound8K.csv"))),
    "speech-commands": DatasetLayout(speech_commands.read, lambda files: bool(speech_commands.tables(files))),
    "fsd50k": DatasetLayout(fsd50k.read, lambda files: bool(fsd50k.tables(files))),
    "audioset": DatasetLayout(audioset.read, lambda files: bool(audioset.tables(files))),
    "desed": DatasetLayout(desed.read, desed.marks),
    "label-studio": DatasetLayout(label_studio.read, lambda files: bool(label_studio.tables(files))),
    "kaleidoscope": DatasetLayout(kaleidoscope.read, kaleidoscope.marks),
    "manifest": DatasetLayout(manifests.read, manifests.marks),
    "raven": DatasetLayout(raven.read, lambda files: bool(raven.tables(files))),
    "audacity": DatasetLayout(audacity.read, audacity.marks),
    "textgrid": DatasetLayout(textgrid.read, textgrid.marks),
    "folders": DatasetLayout(folders.read, folders.marks),
    "recordings": DatasetLayout(unlabelled.read, lambda files: bool(files.recordings)),
}
"""Every layout by its name, in the order in which they are looked for."""


def read_dataset(paths: Sequence[Path], layout: str | None = None, fold: int | None = None) -> Dataset:
    """Read recordings with their labels.

    Parameters
    ----------
    paths
        Folders, tables and recordings of one layout.
    layout
        A name in LAYOUTS; by default it is found from what lies there.
    fold
        The fold of a cross-validation that is held back (split `val`); all others are learned from (`train`).

    Raises
    ------
    HtsatEdgeError
        The layout is not found, or what lies there contradicts it or itself; the message names the place.
    """
    files = list_files(paths)
    found = join_sets([_read(own, name) for own, name in _find_layouts(files, layout)])
    found = _drop_repeats(found)
    refuse_near({label: r.where or str(r.path) for r in found.recordings for label in r.labels or ()}.items())
    return found if fold is None else _hold_fold(files, found, str(fold))


def find_layout(files: Files) -> str:
    """Return the name of the layout that files are of; raise an HtsatEdgeError where they hold no recording."""
    for name, layout in LAYOUTS.items():
        if layout.marks(files):
            return name
    raise HtsatEdgeError(f"no recording in {files}")


def _find_layouts(files: Files, layout: str | None) -> list[tuple[Files, str]]:
    """Return the files with their layout; each folder with its own, where these differ."""
    if layout is not None:
        return [(files, layout)]
    several = len(files.paths) > 1 and all(path.is_dir() for path in files.paths)
    each = [list_files([path]) for path in files.paths] if several else []
    if each and all(own.recordings for own in each):
        layouts = [(own, find_layout(own)) for own in each]
        if len({name for _, name in layouts}) > 1:
            return layouts
    return [(files, find_layout(files))]


def _read(files: Files, layout: str) -> Dataset:
    dataset = replace(LAYOUTS[layout].read(files), name=layout)
    odd = [recording for recording in dataset.recordings if SURROGATE.search(str(recording.path))]
    dataset = dataset.without(NOT_UTF8, odd, ascii(str(odd[0].path)) if odd else "")
    refuse_cut_groups(dataset.recordings)
    return _count_unnamed(files, dataset)


def _count_unnamed(files: Files, dataset: Dataset) -> Dataset:
    """Return the set that counts the recordings that lie there and that its reader neither took nor set aside."""
    known = {
        os.path.realpath(path) for path in (*dataset.set_aside, *(recording.path for recording in dataset.recordings))
    }
    return dataset.setting_aside(NO_LABEL, [path for path in files.recordings if os.path.realpath(path) not in known])


def _drop_repeats(dataset: Dataset) -> Dataset:
    """Return the set with each file once, whatever links lead to it; raise an HtsatEdgeError where they disagree."""
    first: dict[str, Labelled] = {}
    again: list[Labelled] = []
    for recording in dataset.recordings:
        other = first.setdefault(os.path.realpath(recording.path), recording)
        if other is recording:
            continue
        again.append(recording)
        if (other.labels, other.events, other.split) != (recording.labels, recording.events, recording.split):
            raise HtsatEdgeError(
                f"{recording.where or recording.path}: is the file {other.path} again, with other labels or in another "
                "split; leave one of them out"
            )
    return dataset.without(AGAIN, again, str(again[0].path) if again else "")


def _hold_fold(files: Files, dataset: Dataset, fold: str) -> Dataset:
    folds = sorted({recording.fold for recording in dataset.recordings})
    if fold not in folds:
        there = f"only {', '.join(folds)}" if any(folds) else "nor any other"
        raise HtsatEdgeError(f"--fold: {files} has no fold {fold}, {there}")
    recordings = [replace(r, split="val" if r.fold == fold else "train") if r.fold else r for r in dataset.recordings]
    return replace(dataset, recordings=recordings)
