"""A labelled corpus of recordings: a folder with a manifest that says what each file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from runtime.audio import AudioFile
from runtime.config import read_csv
from runtime.errors import UserError
from runtime.features import FloatArray

SPLITS = ("train", "val")
BACKGROUND = "background"
"""The class of recordings that hold no event."""


@dataclass(frozen=True)
class Recording:
    """One file, which holds one class from its first sample to its last."""

    path: Path
    label: str
    group: str
    """Recordings of one group come from one pack or author; a group is in one split only."""
    split: str


def read_manifest(path: Path) -> list[Recording]:
    """Read a CSV with the columns `file` (relative to the manifest), `class`, `group` and `split`."""
    rows = read_csv(path, ("file", "class", "group", "split"))
    for number, row in enumerate(rows, start=1):
        if row["split"] not in SPLITS:
            raise UserError(f"{path}: row {number} has split '{row['split']}', want {' or '.join(SPLITS)}")
    found = {row["split"] for row in rows if row["class"] != BACKGROUND}
    for split in SPLITS:
        if split not in found:
            raise UserError(f"{path}: has no recording of split {split}, and without there is nothing to go by")
    return [Recording(path.parent / row["file"], row["class"], row["group"], row["split"]) for row in rows]


def read_mono(path: Path, sample_rate: int) -> FloatArray:
    """A whole recording, mixed to one channel and resampled: (S,)."""
    file = AudioFile(path)
    samples = np.concatenate(list(file.blocks(file.samples)))
    return np.asarray(soxr.resample(samples, file.sample_rate, sample_rate), np.float32)
