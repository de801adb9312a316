"""What a sound is told from: embeddings of other sounds and of backgrounds, compact enough to ship with a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.models.bundle import Bundle

NEGATIVES_FILE = "negatives.npz"
"""Of a bundle."""
BACKGROUND = "background"
"""The label of recordings in which nothing sounds that has a name."""
FALSE_ALARM = "false alarm"
"""The label of recordings that were wrongly taken for the sound; they count as much as all backgrounds."""
IntTable = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Negatives:
    """Recordings of other sounds and of backgrounds, by embeddings of some of their steps."""

    embeddings: FloatArray
    """(n, channels); of backgrounds all steps, in order."""
    recordings: IntTable
    """(n,): the recording of each, as a place in `labels`."""
    labels: Sequence[str]
    """Of each recording."""
    groups: Sequence[str]
    """Of each recording: what comes from one pack, or one author, is either learned from or tried on."""
    step_s: float

    @property
    def is_background(self) -> BoolArray:
        """Whether each embedding is of a background, (n,)."""
        known = np.array([label == BACKGROUND for label in self.labels], bool)
        return known[self.recordings]

    @property
    def background_h(self) -> float:
        """Hours of background."""
        return float(self.is_background.sum()) * self.step_s / 3600

    def without(self, label: str) -> Negatives:
        """Return all but the recordings of a class, whatever the case of its name."""
        there = np.array([own.casefold() != label.casefold() for own in self.labels], bool)
        if there.all():
            return self
        place = np.cumsum(there) - 1
        kept = there[self.recordings]
        return Negatives(
            self.embeddings[kept],
            place[self.recordings[kept]].astype(np.int32),
            [own for own, keep in zip(self.labels, there, strict=True) if keep],
            [own for own, keep in zip(self.groups, there, strict=True) if keep],
            self.step_s,
        )

    def plus(self, label: str, groups: Sequence[str], recordings: Sequence[FloatArray]) -> Negatives:
        """Return these with further recordings of a label, each by its embeddings (m, channels)."""
        if not recordings:
            return self
        first = len(self.labels)
        places = [np.full(len(own), first + i, np.int32) for i, own in enumerate(recordings)]
        return Negatives(
            np.concatenate([self.embeddings, *recordings]),
            np.concatenate([self.recordings, *places]),
            [*self.labels, *[label] * len(recordings)],
            [*self.groups, *groups],
            self.step_s,
        )


def no_negatives(channels: int, step_s: float) -> Negatives:
    """Return none."""
    return Negatives(np.zeros((0, channels), np.float32), np.zeros(0, np.int32), [], [], step_s)


def read_negatives(bundle: Bundle) -> Negatives | None:
    """Return the embeddings that ship with a bundle; None where there are none, or they are those of another graph.

    Raise an HtsatEdgeError where they are damaged.
    """
    path = bundle.path / NEGATIVES_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            if str(content["graph_sha256"]) != bundle.sha256("fp32"):
                return None
            embeddings = content["codes"].astype(np.float32)
            embeddings *= content["step"]
            embeddings += content["low"]
            return Negatives(
                embeddings,
                content["recordings"].astype(np.int32),
                [str(label) for label in content["labels"]],
                [str(group) for group in content["groups"]],
                bundle.info.step_s,
            )
    except Exception:  # numpy and what it unpacks with fail in a dozen ways at a damaged file
        raise HtsatEdgeError(f"{path}: is damaged; take it from the bundle anew, or delete it") from None


def write_negatives(negatives: Negatives, bundle: Bundle) -> Path:
    """Write embeddings into a bundle, in 8 bits for each channel; return the file."""
    low, high = negatives.embeddings.min(axis=0), negatives.embeddings.max(axis=0)
    step = np.maximum(high - low, 1e-6) / 255
    path = bundle.path / NEGATIVES_FILE
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            graph_sha256=bundle.sha256("fp32"),
            codes=np.rint((negatives.embeddings - low) / step).astype(np.uint8),
            low=low.astype(np.float32),
            step=step.astype(np.float32),
            recordings=negatives.recordings,
            labels=np.array(negatives.labels),
            groups=np.array(negatives.groups),
        )
    return path


def spread(embeddings: FloatArray, most: int) -> FloatArray:
    """Return at most so many of some embeddings (n, channels): those that lie farthest apart, in order."""
    if len(embeddings) <= most:
        return embeddings
    chosen = [int(np.linalg.norm(embeddings - embeddings.mean(axis=0), axis=1).argmin())]
    distance = np.full(len(embeddings), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, np.linalg.norm(embeddings - embeddings[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return embeddings[sorted(chosen)]
