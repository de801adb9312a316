"""Read a labelled corpus of recordings: a folder with a manifest, or with one folder for each class."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr

from htsat_edge.evaluation.labels import BACKGROUND, refuse_missing
from htsat_edge.evaluation.manifest import read_manifest
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp import audio
from htsat_edge.runtime.dsp.audio import AudioFile

SUFFIXES = audio.SUFFIXES | {".aif", ".aiff"}
HELD = 0.2
"""The share of the groups of a class that is held back for validation, where no split is given."""
QUIET_DB = -30.0
"""The ends of a recording that are this far below its loudest moment are cut off."""
MOMENT_S = 0.02
SILENT = 1e-4
LATE_S = 0.05
"""An offset may lie this much behind the end: labels are rounded."""


@dataclass(frozen=True)
class Recording:
    """A part of one file, in which one class sounds from its first sample to its last."""

    path: Path
    label: str
    group: str
    """Recordings of one group come from one pack or author; a group is in one split."""
    split: str
    """`train` or `val`; empty while it is not chosen."""
    onset_s: float = 0.0
    offset_s: float | None = None
    """None: the whole file, without the quiet at its ends."""

    @property
    def held(self) -> bool:
        """Whether it is held back from training, to measure on."""
        return self.split == "val"


def read_corpus(folder: Path) -> list[Recording]:
    """Read a corpus, with a split for every recording.

    Parameters
    ----------
    folder
        Has a manifest.csv (evaluation/manifest.py), or a folder of recordings for each class.

    Raises
    ------
    HtsatEdgeError
        The folder is not a corpus, or one without recordings to learn from or held back; the message says why.
    """
    manifest = folder / "manifest.csv"
    if manifest.exists():
        return _read_manifest(manifest)
    if not folder.is_dir():
        raise HtsatEdgeError(f"{folder}: no such folder")
    recordings = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if not place.name.isprintable():
            raise HtsatEdgeError(f"{folder}: the name of the folder {place.name!r} cannot be a label")
        own = [path for path in sorted(place.iterdir()) if path.suffix.lower() in SUFFIXES]
        if not own:
            raise HtsatEdgeError(f"{place}: holds no recording; put some into it, or remove it")
        recordings += [Recording(path, place.name, f"{place.name}/{path.name}", "") for path in own]
    if not recordings:
        raise HtsatEdgeError(f"{folder}: has neither a manifest.csv nor a folder of recordings for each class")
    return _complete(folder, choose_splits(recordings))


def read_corpora(folders: Sequence[Path]) -> list[Recording]:
    """Read several corpora, as `read_corpus` does one."""
    return [recording for folder in folders for recording in read_corpus(folder)]


def _read_manifest(path: Path) -> list[Recording]:
    """Read a manifest with classes; without splits, choose them. Rows with the split `test` are left out."""
    rows = read_manifest(path, classes=True)
    refuse_missing(path, (row.path for row in rows if row.split != "test"))
    recordings = [
        Recording(row.path, row.label or "", row.group, row.split, *(row.span_s or (0.0, None)))
        for row in rows
        if row.split != "test"
    ]
    return _complete(path, recordings if any(row.split for row in rows) else choose_splits(recordings))


def _complete(where: Path, recordings: list[Recording]) -> list[Recording]:
    """Return the recordings; raise an HtsatEdgeError unless there are some to learn from, and some held back."""
    found = {recording.held for recording in recordings if recording.label != BACKGROUND}
    for held, purpose in ((False, "to learn from"), (True, "held back (split val), to measure on")):
        if held not in found:
            raise HtsatEdgeError(f"{where}: has no recording {purpose}")
    return recordings


def choose_splits(recordings: Iterable[Recording]) -> list[Recording]:
    """Hold back a fifth of the groups of each class, and at least one of two; the same groups each time.

    A group that holds several classes is in one split, too.
    """
    recordings = list(recordings)
    groups: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        groups[recording.label].add(recording.group)
    split: dict[str, str] = {}
    for _, own in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = max(1, round(HELD * len(own))) if len(own) > 1 else 0
        held = sum(split.get(group) == "val" for group in own)
        free = sorted(own - split.keys(), key=lambda group: (zlib.crc32(group.encode()), group))
        for i, group in enumerate(free):
            split[group] = "val" if i < wanted - held else "train"
    return [replace(recording, split=split[recording.group]) for recording in recordings]


def read_mono(recording: Recording, sample_rate: int) -> FloatArray:
    """Return the samples of a recording, mixed to one channel and resampled: (S,).

    Raise an HtsatEdgeError where the file is shorter than its labels say, or silent.
    """
    samples, rate = _read(recording.path)
    lasts_s = len(samples) / rate
    end_s = lasts_s if recording.offset_s is None else recording.offset_s
    if end_s > lasts_s + LATE_S:
        raise HtsatEdgeError(f"{recording.path}: lasts {lasts_s:.3f} s, but has an offset at {end_s:g} s")
    part = samples[round(recording.onset_s * rate) : round(end_s * rate)]
    if not len(part):
        raise HtsatEdgeError(
            f"{recording.path}: lasts {lasts_s:.3f} s, and its labels leave nothing of it from {recording.onset_s:g} s "
            "on"
        )
    if recording.offset_s is None and recording.label != BACKGROUND:
        part = trim(part, rate)
    if not np.abs(part).max() > SILENT:
        raise HtsatEdgeError(f"{recording.path}: is silent where its label is {recording.label}")
    return np.asarray(soxr.resample(part, rate, sample_rate), np.float32)


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[FloatArray, int]:
    """Read a whole file; the last one is kept, for the next event in it."""
    file = AudioFile(path)
    return np.concatenate(list(file.blocks(file.samples))), file.sample_rate


def trim(samples: FloatArray, sample_rate: int) -> FloatArray:
    """Cut off the quiet at the ends."""
    moment = max(1, round(MOMENT_S * sample_rate))
    padded = np.pad(samples, (0, -len(samples) % moment))
    power = np.square(padded, dtype=np.float64).reshape(-1, moment).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (QUIET_DB / 10))
    return samples[loud[0] * moment : (loud[-1] + 1) * moment] if len(loud) else samples
