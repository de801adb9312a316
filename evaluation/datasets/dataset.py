"""What a reader of data sets returns, and how it is said in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from htsat_edge.evaluation.labels import BACKGROUND, SPLITS, Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError

NO_LABEL = "no label"
MISSING = "missing"
FEW = 6
"""Classes whose names are said in the line, too."""


@dataclass(frozen=True)
class Dataset:
    """Recordings with their labels, which are those of the set: readers know no model."""

    recordings: list[Labelled]
    missing: int = 0
    """Recordings that the set names but that are not on disk: sets made of videos lose some."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many recordings that are there were left out, by the reason."""
    name: str = ""
    """The layout that it was read by."""
    classes: Mapping[str, list[str]] | None = None
    """Where the classes of the set are not AudioSet's: the labels of AudioSet that belong to each, if any do."""
    firsts: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The first recording that was left out for each reason, in words."""
    set_aside: frozenset[Path] = field(default=frozenset(), compare=False)
    """The recordings that its reader left out for a reason."""

    @property
    def labels(self) -> list[str]:
        """The classes that sound in the recordings, in the order of their names."""
        return sorted({label for recording in self.recordings for label in recording.labels or ()})

    def without(self, reason: str, recordings: Iterable[Labelled], first: str = "") -> Dataset:
        """Return the set without some of its recordings, which are counted with the reason."""
        gone = {id(recording) for recording in recordings}
        kept = [recording for recording in self.recordings if id(recording) not in gone]
        counted = replace(self, recordings=kept).counting(reason, len(self.recordings) - len(kept), first)
        return replace(counted, set_aside=self.set_aside.union(r.path for r in self.recordings if id(r) in gone))

    def counting(self, reason: str, count: int, first: str = "") -> Dataset:
        """Return the set with so many recordings more that were left out for a reason."""
        if not count:
            return self
        left_out = Counter(dict(self.left_out)) + Counter({reason: count})
        firsts = {**self.firsts, reason: self.firsts.get(reason, first)} if first else self.firsts
        return replace(self, left_out=dict(left_out), firsts=firsts)

    def setting_aside(self, reason: str, paths: Iterable[Path]) -> Dataset:
        """Return the set that counts recordings which its reader did not take, each once."""
        own = list(dict.fromkeys(paths))
        counted = self.counting(reason, len(own), str(own[0]) if own else "")
        return replace(counted, set_aside=self.set_aside.union(own))

    def summary(self) -> str:
        """Return the counts in a line: of recordings, classes and splits, and what was left out by reason."""
        labels = self.labels
        named = f" ({', '.join(labels)})" if 0 < len(labels) <= FEW else ""
        quiet = sum(recording.labels == frozenset() for recording in self.recordings)
        counts = [_count(len(self.recordings), "recording"), f"{_count(len(labels), 'class', 'es')}{named}"]
        parts = [", ".join([*counts, *([f"{quiet} of {BACKGROUND}"] if quiet else [])]), self._splits()]
        left_out = {**self.left_out, MISSING: self.left_out.get(MISSING, 0) + self.missing}
        gone = [f"{count} {reason}" for reason, count in left_out.items() if count]
        return "; ".join([*parts, *([f"left out: {', '.join(gone)}"] if gone else [])])

    def report(self) -> list[str]:
        """Return the line of counts, and a line for each reason with the first recording that was left out for it."""
        return [self.summary(), *(f"  {reason}, the first: {first}" for reason, first in self.firsts.items())]

    def _splits(self) -> str:
        splits = Counter(recording.split for recording in self.recordings)
        if set(splits) - {""}:
            return ", ".join(f"{splits[name]} {name or 'without split'}" for name in (*SPLITS, "") if splits[name])
        folds = len({recording.fold for recording in self.recordings} - {""})
        return f"no splits, {_count(folds, 'fold')}" if folds else "no splits"


def join_sets(datasets: Sequence[Dataset]) -> Dataset:
    """Return several sets as one; raise an HtsatEdgeError where they have classes of different kinds."""
    if len(datasets) == 1:
        return datasets[0]
    if any(dataset.classes is not None for dataset in datasets):
        raise HtsatEdgeError(
            f"{', '.join(dataset.name for dataset in datasets)}: have other classes; name one at a time"
        )
    return Dataset(
        [recording for dataset in datasets for recording in dataset.recordings],
        sum(dataset.missing for dataset in datasets),
        dict(sum((Counter(dict(dataset.left_out)) for dataset in datasets), Counter())),
        ", ".join(dataset.name for dataset in datasets),
        firsts={reason: first for dataset in reversed(datasets) for reason, first in dataset.firsts.items()},
    )


def _count(number: int, what: str, more: str = "s") -> str:
    return f"{number} {what}{'' if number == 1 else more}"
