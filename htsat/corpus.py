"""Take from labelled recordings the parts in which a single class sounds, to mix scenes of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soxr

from htsat_edge.evaluation.datasets.checking import LATE_S, SILENT, read_checked
from htsat_edge.evaluation.datasets.files import list_files
from htsat_edge.evaluation.datasets.names import refuse_near
from htsat_edge.evaluation.datasets.splits import to_learn_from
from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile

QUIET_DB = -30.0
"""The ends of a recording that are this far below its loudest moment are cut off."""
MOMENT_S = 0.02


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


def read_corpora(paths: Sequence[Path], layout: str | None = None, fold: int | None = None) -> list[Recording]:
    """Read recordings to mix scenes of, with a split for each; print what was read, and what was left out.

    Parameters
    ----------
    paths
        Folders of one data set, or of several, each with a manifest.csv, or a folder for each class, or of any layout
        that evaluation/datasets/ knows. With tables among them, they are one data set.
    layout, fold
        As `read_dataset` takes them.

    Raises
    ------
    HtsatEdgeError
        The paths hold no data set, or none with recordings to learn from and recordings held back.
    """
    recordings: list[Recording] = []
    for own in apart(paths):
        where = ", ".join(map(str, own))
        dataset = read_checked(own, layout, fold)
        labelled = [recording for recording in dataset.recordings if recording.labels is not None]
        if not labelled:
            raise HtsatEdgeError(f"{where}: has neither a manifest.csv with classes nor a folder for each class")
        found, untold = split_up(to_learn_from(labelled))
        if untold:
            print(f"  {untold} recordings more left out: several classes at once, without times")
        hint = "; with `examples: clips` in the training file, recordings are learned from whole" if untold else ""
        recordings += _complete(where, found, hint)
    refuse_near({r.label: str(r.path) for r in recordings if r.label != BACKGROUND}.items())
    return recordings


def split_up(recordings: Iterable[Labelled]) -> tuple[list[Recording], int]:
    """Return the parts in which one class sounds, and how many recordings have several classes without times."""
    parts: list[Recording] = []
    untold = 0
    for recording in recordings:
        labels, events = recording.labels or frozenset(), recording.events or ()
        own = [(event.label, event.onset_s, event.offset_s) for event in events]
        own += [(BACKGROUND, *span) for span in recording.backgrounds_s]
        if own:
            parts += [
                Recording(recording.path, label, recording.group, recording.split, onset_s, offset_s)
                for label, onset_s, offset_s in own
            ]
        elif len(labels) > 1:
            untold += 1
        else:
            parts.append(Recording(recording.path, min(labels, default=BACKGROUND), recording.group, recording.split))
    return parts, untold


def apart(paths: Sequence[Path]) -> list[list[Path]]:
    """Return each folder as a data set of its own; or all paths as one, where not all are folders with recordings."""
    several = all(path.is_dir() and list_files([path]).recordings for path in paths)
    return [[path] for path in paths] if several else [list(paths)]


def _complete(where: str, recordings: list[Recording], hint: str) -> list[Recording]:
    """Return the recordings; raise an HtsatEdgeError unless there are some to learn from, and some held back."""
    found = {recording.held for recording in recordings if recording.label != BACKGROUND}
    for held, purpose in ((False, "to learn from"), (True, "held back (split val), to measure on")):
        if held not in found:
            raise HtsatEdgeError(f"{where}: has no recording {purpose}{hint}")
    return recordings


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
