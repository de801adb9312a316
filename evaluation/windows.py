"""Cut recordings into the windows that the runtime would give to a model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from htsat_edge.evaluation.datasets import LAYOUTS, find_layout, folders, manifests, read_dataset
from htsat_edge.evaluation.datasets.dataset import NO_LABEL
from htsat_edge.evaluation.datasets.files import Files, list_files
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

UNSPLIT = ("label-studio", "raven", "audacity", "recordings")
"""Layouts without splits."""
BLOCK_S = 10.0
"""Read from a recording at a time."""
SILENT_DB = -65.0
"""A window whose loudest frame and band is below this holds no more than the last bits of a converter."""


def find_recordings(paths: Sequence[Path], layout: str | None = None, fold: int | None = None) -> list[Path]:
    """Return the recordings among `paths`, in folders among them at any depth, and in data sets, each once.

    Print how many these are, and what is left out. A calibration needs no labels: recordings without one are taken,
    too. Those of the splits val and test, and of the fold, are left out: calibration/accuracy.py measures on them. So
    are, beside the tables of a set with splits or folds, recordings that these do not name: they may be held back.

    Raises
    ------
    HtsatEdgeError
        There is no recording, or a table cannot be read.
    """
    splits: list[tuple[Path, str]] = []
    unnamed: set[str] = set()
    for files in _apart(paths) if layout is None and fold is None else [list_files(paths)]:
        named = _read_splits(files, layout, fold)
        known = {os.path.realpath(path) for path in named}
        others = [path for path in files.recordings if os.path.realpath(path) not in known]
        splits += named.items()
        if any(named.values()):
            unnamed.update(os.path.realpath(path) for path in others)
        else:
            splits += [(path, "") for path in others]
    held = {os.path.realpath(path) for path, split in splits if split not in ("train", "")}
    taken: dict[str, Path] = {}
    for path, _ in splits:
        if os.path.realpath(path) not in held:
            taken.setdefault(os.path.realpath(path), path)
    if not taken:
        raise HtsatEdgeError(f"--clips: no recording in {', '.join(map(str, paths))}")
    counts = {"held back": len(held), NO_LABEL: len(unnamed - held - taken.keys())}
    left_out = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    print(f"{', '.join(map(str, paths))}: {len(taken)} recordings{left_out and f'; left out: {left_out}'}", flush=True)
    return list(taken.values())


def _apart(paths: Sequence[Path]) -> list[Files]:
    """Return the paths apart, manifests together; all together where tables lie in other places than recordings."""
    each = [list_files([path]) for path in paths]
    layouts = [next((name for name, layout in LAYOUTS.items() if layout.marks(own)), "") for own in each]
    if not all(own.recordings or name in ("", "manifest") for own, name in zip(each, layouts, strict=True)):
        return [list_files(paths)]
    lists = [path for path, name in zip(paths, layouts, strict=True) if name == "manifest"]
    return [
        *([list_files(lists)] if lists else []),
        *(own for own, name in zip(each, layouts, strict=True) if name != "manifest"),
    ]


def _read_splits(files: Files, layout: str | None, fold: int | None) -> dict[Path, str]:
    """Return the split of each recording that tables name; `train` where only a fold could hold it back."""
    if layout is None and fold is None:
        if len(files.found) == 1 and files.paths == files.found and not manifests.marks(files):
            return {files.found[0]: ""}  # a recording, whatever its name
        name = find_layout(files)
        if name == "manifest":  # whatever the classes are
            return manifests.read_splits(files)
        if name == "folders":
            return folders.read_splits(files)
        if name in UNSPLIT and files.recordings:
            return {}
    found = read_dataset(files.paths, layout, fold).recordings
    return {recording.path: recording.split or ("train" if recording.fold else "") for recording in found}


def windows_of(file: AudioFile, info: ModelInfo) -> Iterator[FloatArray]:
    """Yield the windows (T, F) in dB of a recording, one after the other without overlap; none if it is too short."""
    stream = WindowStream(info, file.sample_rate, Settings(hop_s=info.steps * info.step_s))
    for block in file.blocks(round(BLOCK_S * file.sample_rate)):
        for window in stream.push(block):
            yield window.log_mel
    try:
        rest = stream.flush()
    except HtsatEdgeError:  # too short for a single frame
        return
    for window in rest:
        yield window.log_mel


def is_silent(window: FloatArray) -> bool:
    """Return whether a window (T, F) in dB holds no more than the last bits of a converter."""
    return bool(window.max() < SILENT_DB)
