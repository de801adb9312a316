"""A labelled corpus of recordings: a folder with a manifest, or with one folder for each class."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr
from htsat_edge.evaluation import labels as truth
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp import audio
from htsat_edge.runtime.dsp.audio import AudioFile

SPLITS = ("train", "val")
BACKGROUND = truth.BACKGROUND
"""The class of recordings that hold no event."""
SUFFIXES = audio.SUFFIXES | {".aif", ".aiff"}
HELD = 0.2
"""The share of the groups of a class that is held for validation, where no split is given."""
QUIET_DB = -30.0
"""What stands at the ends of a recording and is this far below its loudest moment is not the event."""
MOMENT_S = 0.02
SILENT = 1e-4
LATE_S = 0.05
"""An offset may lie this much behind the end: labels are rounded."""


@dataclass(frozen=True)
class Recording:
    """A part of one file, which holds one class from its first sample to its last."""

    path: Path
    label: str
    group: str
    """Recordings of one group come from one pack or author; a group is in one split only."""
    split: str
    """One of SPLITS, or nothing while it is not chosen."""
    onset_s: float = 0.0
    offset_s: float | None = None
    """None: the file is not cut, but for the quiet at its ends."""

    @property
    def held(self) -> bool:
        """Held back from training, to measure on."""
        return self.split == "val"


def read_corpus(folder: Path) -> list[Recording]:
    """Read FOLDER/manifest.csv, or where there is none, the recordings of FOLDER/CLASS/."""
    manifest = folder / "manifest.csv"
    if manifest.exists():
        return read_manifest(manifest)
    if not folder.is_dir():
        raise HtsatEdgeError(f"{folder}: no such folder")
    files = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if not place.name.isprintable():
            raise HtsatEdgeError(f"{folder}: the name of the folder {place.name!r} cannot be a label")
        own = [path for path in sorted(place.iterdir()) if path.suffix.lower() in SUFFIXES]
        if not own:
            raise HtsatEdgeError(f"{place}: holds no recording; put some into it, or remove it")
        files += own
    if not files:
        raise HtsatEdgeError(f"{folder}: has neither a manifest.csv nor a folder of recordings for each class")
    return check_splits(
        folder, [Recording(path, path.parent.name, f"{path.parent.name}/{path.name}", "") for path in files]
    )


def read_manifest(path: Path) -> list[Recording]:
    """Read a CSV with the columns `file` (relative to it) and `class`.

    It may have `onset` and `offset` (seconds, of one event in a longer file), `group` (default: the file) and `split`
    (train or val; default: every class has a fifth of its groups held).
    """
    recordings = [_recording(path, number, row) for number, row in enumerate(read_csv(path, ("file", "class")), 1)]
    return check_splits(path, recordings)


def _recording(path: Path, number: int, row: Mapping[str, str]) -> Recording:
    where = f"{path}: row {number}"
    split = row.get("split") or ""
    if split and split not in SPLITS:
        raise HtsatEdgeError(f"{where} has split '{split}', want one of {', '.join(SPLITS)}")
    onset_s = _seconds(row.get("onset") or "0", f"{where} has onset")
    offset_s = _seconds(row["offset"], f"{where} has offset") if row.get("offset") else None
    if offset_s is not None and offset_s <= onset_s:
        raise HtsatEdgeError(f"{where} has offset {offset_s:g}, want more than its onset, {onset_s:g}")
    group = row.get("group") or row["file"]
    return Recording(path.parent / row["file"], row["class"], group, split, onset_s, offset_s)


def _seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise HtsatEdgeError(f"{what} '{text}', want seconds")
    return value


def check_splits(where: Path, recordings: Iterable[Recording]) -> list[Recording]:
    """Give a split to the recordings that have none; refuse a corpus without one of both."""
    try:
        chosen = choose_splits(recordings)
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{where}: {error}") from None
    found = {recording.held for recording in chosen if recording.label != BACKGROUND}
    for held, what in ((False, "to learn from"), (True, "held back (split val)")):
        if held not in found:
            raise HtsatEdgeError(f"{where}: has no recording {what}, and without there is nothing to go by")
    return chosen


def choose_splits(recordings: Iterable[Recording]) -> list[Recording]:
    """Hold a fifth of the groups of each class for validation, and at least one of two; the same groups each time.

    A group that has its split keeps it, in all its classes.
    """
    recordings = list(recordings)
    split: dict[str, str] = {}
    for recording in recordings:
        if recording.split and (split.setdefault(recording.group, recording.split) == "val") != recording.held:
            raise HtsatEdgeError(f"group '{recording.group}' is both learned from and held; give all of it one split")
    groups: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        groups[recording.label].add(recording.group)
    for _, own in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = max(1, round(HELD * len(own))) if len(own) > 1 else 0
        held = sum(split.get(group) == "val" for group in own)
        free = sorted(own - split.keys(), key=lambda group: (zlib.crc32(group.encode()), group))
        for i, group in enumerate(free):
            split[group] = "val" if i < wanted - held else "train"
    return [r if r.split else replace(r, split=split[r.group]) for r in recordings]


def read_mono(recording: Recording, sample_rate: int) -> FloatArray:
    """The samples of a recording, mixed to one channel and resampled: (S,)."""
    samples, rate = _read(recording.path)
    lasts_s = len(samples) / rate
    end_s = lasts_s if recording.offset_s is None else recording.offset_s
    if end_s > lasts_s + LATE_S:
        raise HtsatEdgeError(f"{recording.path}: lasts {lasts_s:.3f} s, but an offset is {end_s:g}")
    part = samples[round(recording.onset_s * rate) : round(end_s * rate)]
    if not len(part):
        raise HtsatEdgeError(
            f"{recording.path}: lasts {lasts_s:.3f} s, and has nothing from {recording.onset_s:g} s on"
        )
    if recording.offset_s is None and recording.label != BACKGROUND:
        part = trim(part, rate)
    if not np.abs(part).max() > SILENT:
        raise HtsatEdgeError(f"{recording.path}: is silent where it should hold {recording.label}")
    return np.asarray(soxr.resample(part, rate, sample_rate), np.float32)


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[FloatArray, int]:
    """A whole file; the last one is kept, for the next event in it."""
    file = AudioFile(path)
    return np.concatenate(list(file.blocks(file.samples))), file.sample_rate


def trim(samples: FloatArray, sample_rate: int) -> FloatArray:
    """Without the quiet at its ends."""
    moment = max(1, round(MOMENT_S * sample_rate))
    padded = np.pad(samples, (0, -len(samples) % moment))
    power = np.square(padded, dtype=np.float64).reshape(-1, moment).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (QUIET_DB / 10))
    return samples[loud[0] * moment : (loud[-1] + 1) * moment] if len(loud) else samples
