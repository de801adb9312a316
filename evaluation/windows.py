"""Cut recordings into the windows that the runtime would give to a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from htsat_edge.evaluation.datasets import Dataset, find_layout, folders, manifests, read_dataset, tables
from htsat_edge.evaluation.datasets.files import list_files
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

SEVERAL = ("manifest", "folders", "recordings")
"""Layouts of which a calibration may be given several at once."""
BLOCK_S = 10.0
"""Read from a recording at a time."""
SILENT_DB = -65.0
"""A window whose loudest frame and band is below this holds no more than the last bits of a converter."""


def find_recordings(paths: Sequence[Path], layout: str | None = None, fold: int | None = None) -> list[Path]:
    """Return the recordings among `paths`, in folders among them at any depth, and in data sets, each once.

    Those of the splits val and test, and of the fold, are left out: calibration/accuracy.py measures on them.

    Raises
    ------
    HtsatEdgeError
        There is no recording, or a table cannot be read.
    """
    files = list_files(paths)
    name = layout or find_layout(files)
    if name in SEVERAL and layout is None and fold is None:
        found = [recording for path in paths for recording in _recordings_in(path)]
    else:
        found = _to_learn_from(read_dataset(paths, name, fold))
    if not found:
        raise HtsatEdgeError(f"--clips: no recording in {files}")
    return list(dict.fromkeys(found))


def _recordings_in(path: Path) -> list[Path]:
    """Return the recordings of a manifest, of a folder, or a single one; whatever its name."""
    files = list_files([path])
    if path.is_file() and path.suffix.lower() not in tables.SUFFIXES:
        return [path]
    if manifests.marks(files):
        return manifests.files_to_learn_from(files)
    if folders.marks(files):  # whatever the classes are
        root, splits = folders.find_root(path, files.recordings)
        held = [root / name for name, split in splits.items() if split != "train"]
        return [own for own in files.recordings if not any(own.is_relative_to(place) for place in held)]
    return files.recordings


def _to_learn_from(dataset: Dataset) -> list[Path]:
    return [recording.path for recording in dataset.recordings if recording.split in ("train", "")]


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
