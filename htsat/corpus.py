"""A labelled corpus of recordings: a folder with a manifest that says what each file holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from runtime.config import read_csv
from runtime.errors import UserError
from runtime.features import FloatArray

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
    return [Recording(path.parent / row["file"], row["class"], row["group"], row["split"]) for row in rows]


def read_mono(path: Path, sample_rate: int) -> FloatArray:
    """A whole recording, mixed to one channel and resampled: (S,)."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path}: {error.error_string}") from None
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, sample_rate), np.float32)
