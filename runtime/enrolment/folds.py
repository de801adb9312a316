"""Try a sound on what it was not learned from, and choose its threshold by that."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray
from htsat_edge.runtime.enrolment.examples import SoundExample
from htsat_edge.runtime.enrolment.head import Head, Weights, fit_head
from htsat_edge.runtime.enrolment.negatives import BACKGROUND, FALSE_ALARM, Negatives

MOST_FOLDS = 5
BACKGROUND_SHARE, THINNED = 0.3, 4
"""What backgrounds count among the negatives; each so many-th of their steps is learned from."""
MOST_OTHERS, MOST_OF_A_CLASS, FEWEST_OF_A_CLASS = 0.03, 0.25, 4
"""Shares of the recordings of other sounds that a sound may fire on: of all, and of one class that has enough."""
MOST_PER_H = 1.0
"""False alarms in an hour of background."""
LEAST_RECALL = 0.7
MARGIN = 0.25
"""A threshold lies so much of the way from the lowest that is allowed to the next recording that is found."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Logits that heads give to what they were not learned from."""

    examples: Weights
    """(n,): of each recording of the sound."""
    others: dict[str, list[float]]
    """By class, the highest of each recording of other sounds."""
    background: list[Weights]
    """By recording, all steps."""
    background_h: float

    def fired(self, threshold: float) -> dict[str, int]:
        """Return by class how many of its recordings a threshold fires on."""
        return {label: sum(own >= threshold for own in all_) for label, all_ in self.others.items()}

    def alarms(self, threshold: float) -> int:
        """Return how often a threshold fires in the background."""
        return sum(count_rises(own >= threshold) for own in self.background)

    def recall(self, threshold: float) -> float:
        """Return the share of the sound's recordings that a threshold finds."""
        return float((self.examples >= threshold).mean())

    def lowest(self) -> float:
        """Return the lowest threshold that fires on few enough other recordings and backgrounds."""
        values = [one for own in self.others.values() for one in own]
        classes = (own for own in self.others.values() if len(own) >= FEWEST_OF_A_CLASS)
        peaks = [float(own.max()) for own in self.background]
        limits = [
            _exceeded_by(values, MOST_OTHERS * len(values)),
            *(_exceeded_by(own, MOST_OF_A_CLASS * len(own)) for own in classes),
            _exceeded_by(peaks, MOST_PER_H * self.background_h),
        ]
        return float(np.nextafter(max(limits), np.inf))

    def choose(self) -> float:
        """Return the threshold."""
        lowest = self.lowest()
        above = self.examples[self.examples >= lowest]
        return lowest if len(above) == 0 else lowest + MARGIN * (float(above.min()) - lowest)


def _exceeded_by(values: Sequence[float], most: float) -> float:
    """Return the lowest of some values that at most so many others exceed; minus infinity where there is none."""
    allowed = floor(most)
    return sorted(values, reverse=True)[allowed] if len(values) > allowed else -np.inf


def count_rises(above: BoolArray) -> int:
    """Return how many runs of steps (n,) there are."""
    return int(np.count_nonzero(np.diff(above, prepend=False) & above))


def hold_out(examples: Sequence[SoundExample], negatives: Negatives) -> HeldOut:
    """Learn the sound several times, each time without some of everything, and score that."""
    folds = min(MOST_FOLDS, len(examples))
    own = np.arange(len(examples)) % folds
    group_folds = {group: i % folds for i, group in enumerate(sorted(set(negatives.groups)))}
    held = np.array([group_folds[group] for group in negatives.groups], np.int64)[negatives.recordings]
    found, logits = np.zeros(len(examples)), np.zeros(len(held))
    for fold in range(folds):
        head = learn([one for one, at in zip(examples, own, strict=True) if at != fold], negatives, held != fold)
        for i in map(int, np.flatnonzero(own == fold)):
            found[i] = examples[i].score(head)
        logits[held == fold] = head.logits(negatives.embeddings[held == fold])
    others, background = defaultdict[str, list[float]](list), list[Weights]()
    for place, label in enumerate(negatives.labels):
        steps = logits[negatives.recordings == place]
        if label == BACKGROUND:
            background.append(steps)
        else:
            others[label].append(float(steps.max()))
    return HeldOut(found, dict(others), background, negatives.background_h)


def learn(examples: Sequence[SoundExample], negatives: Negatives, there: BoolArray | None = None) -> Head:
    """Learn a head from examples and those negatives that are `there`, (n,); by default all."""
    there = np.ones(len(negatives.recordings), bool) if there is None else there
    background = there & negatives.is_background
    thinned = background & (np.cumsum(background) % THINNED == 1)
    kept = (there & ~negatives.is_background) | thinned
    shares = _shares([negatives.labels[i] for i in negatives.recordings[kept]])
    return fit_head(
        np.concatenate([one.embeddings for one in examples]),
        np.concatenate([one.shares for one in examples]),
        negatives.embeddings[kept],
        shares,
    )


def _shares(labels: Sequence[str]) -> Weights:
    """Return how much negatives count: large classes more than small ones, but not by their size."""
    counts = Counter(labels)
    shares = np.array([counts[label] ** -0.5 for label in labels])
    for label in (BACKGROUND, FALSE_ALARM):
        own = np.array([one == label for one in labels])
        if own.any():
            rest = shares[~own].sum() or 1.0
            shares[own] = BACKGROUND_SHARE / (1 - BACKGROUND_SHARE) * rest / own.sum()
    return shares
