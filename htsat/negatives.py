"""Sounds that are none of the user's: what a training on a few classes learns to leave alone.

Of a closed world of five classes a network makes one of the five of everything. So the package ships recordings of many
others, as log-mels of the bundled model's front end: negatives.npz has the codes, negatives.csv their classes, groups,
splits and licences; packages and attributions are in configs/corpus.csv, under the same file. No group is in two
splits, and `test` has recordings that the bundled model has not learned from. build_negatives.py makes the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from htsat_edge.evaluation.datasets.names import is_near, near_key
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.label_file import read_audioset
from htsat_edge.htsat.scenes import Sound
from htsat_edge.htsat.variations import from_db
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.models.bundle import find_ancestors

NEGATIVES = Path(__file__).with_name("negatives.npz")
TABLE = Path(__file__).with_name("negatives.csv")
COLUMNS = ("file", "class", "group", "split", "licence")
STEP_DB = np.float32(4.0)
DEPTH = 15
"""Codes are steps below the loudest band of a recording; what is further below counts as this."""

Split = Literal["train", "val", "test"]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ForeignSounds:
    """Recordings of classes that are none of the user's, and of backgrounds."""

    recordings: Sequence[Recording]
    """Their paths are names of files in the corpus, which is not there."""
    codes: Sequence[Codes]
    """Of each recording, (T, F)."""
    peaks_db: Sequence[float]
    """Level of the loudest band of each."""
    left_out: Sequence[str]
    """Classes that are not among them, since they are the user's, or lie above or below one of these in AudioSet."""

    def sounds(self, split: Split) -> list[Sound]:
        """Return the sounds of a split, always the same."""
        rng = np.random.default_rng(0)
        parts = zip(self.recordings, self.codes, self.peaks_db, strict=True)
        return [Sound(own, (decode(codes, peak, rng),)) for own, codes, peak in parts if own.split == split]


def load_negatives(front_end: FrontEnd, labels: Sequence[str], path: Path = NEGATIVES) -> ForeignSounds | None:
    """Return what ships with the package, without the classes `labels` and those above and below them.

    For a network with another front end print that it cannot be used, and return None. Raise an HtsatEdgeError where
    the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            made_for = FrontEnd.model_validate_json(str(content["front_end"]))
            ends = np.cumsum(content["frames"])
            codes = np.split(np.ascontiguousarray(content["codes"].T), ends[:-1])
            peaks, files = content["peaks_db"].tolist(), content["files"].tolist()
    except Exception:  # numpy and what it unpacks with fail in a dozen ways at a damaged file
        raise HtsatEdgeError(f"{path}: is missing or damaged; install the package anew") from None
    if front_end != made_for:
        print("negatives: not used, they are log-mels of another front end than this network's")
        return None
    known = {row["file"]: row for row in read_csv(path.with_suffix(".csv"), COLUMNS)}
    recordings = [Recording(Path(f), known[f]["class"], known[f]["group"], known[f]["split"]) for f in files]
    left_out = related(labels)
    kept = [i for i, own in enumerate(recordings) if near_key(own.label) not in left_out]
    return ForeignSounds(
        [recordings[i] for i in kept],
        [codes[i] for i in kept],
        [peaks[i] for i in kept],
        sorted({own.label for own in recordings if near_key(own.label) in left_out}),
    )


def related(labels: Sequence[str]) -> set[str]:
    """Return labels, with all that lie above or below one of them in AudioSet's tree; of each its `near_key`."""
    parents = read_audioset().parents
    own = {near_key(label) for label in labels}
    below = {name for name in parents if not own.isdisjoint(map(near_key, find_ancestors(name, parents)))}
    above = {above for name in parents if near_key(name) in own for above in find_ancestors(name, parents)}
    return own | {near_key(name) for name in below | above}


def without_namesake(names: Sequence[str]) -> list[str]:
    """Return the names that are none of AudioSet's: what sounds like these may be among the negatives by another."""
    known = read_audioset().labels
    return [name for name in names if not is_near(name, known)]


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise an HtsatEdgeError where one of the training file's `not_negative` is no class of AudioSet."""
    for name in without_namesake(names):
        hint = suggest(name, read_audioset().labels)
        raise HtsatEdgeError(f"not_negative: {name!r} is none of AudioSet's classes{hint}")


def encode(log_mel: FloatArray) -> tuple[Codes, float]:
    """Return the codes of a log-mel (T, F) in dB, and the level of its loudest band."""
    peak = log_mel.max()
    return np.minimum(np.rint((peak - log_mel) / STEP_DB), DEPTH).astype(np.uint8), float(peak)


def decode(codes: Codes, peak_db: float, rng: np.random.Generator) -> FloatArray:
    """Return the power of codes, anywhere within their steps: a network would know the steps, and them by these."""
    within = rng.random(codes.shape, np.float32) - np.float32(0.5)
    return from_db(np.float32(peak_db) - STEP_DB * (codes + within)).astype(np.float32)
