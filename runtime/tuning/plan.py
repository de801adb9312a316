"""Which limits are tried for which classes of a source, and which classes matter to others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray, IntArray
from htsat_edge.runtime.store.score_codes import FLOOR, code_of
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.sweep import CodeLimits

GRID: FloatArray = np.concatenate(
    [np.arange(20, 100, 5) / 1000, np.arange(10, 98) / 100, [0.98, 0.985, 0.99, 0.995]]
).astype(np.float32)
"""Thresholds that are tried: two decimals, and three near the ends."""
SHARE_DECIMALS = 4


@dataclass(frozen=True)
class TriedClass:
    """A class that is replayed."""

    k: int
    """Its place among the setup's labels."""
    now: CodeLimits
    """What is in force."""
    tried: Sequence[CodeLimits]
    specific: Sequence[int]
    """The classes that are more specific."""
    general: Sequence[int]
    """Those of the plan that are less."""

    @property
    def floor(self) -> int:
        """The lowest code that matters."""
        releases = [limits.release for limits in self.tried]
        return min([*releases, self.now.release] if self.general else releases)


@dataclass(frozen=True)
class SweepPlan:
    """The classes that are replayed, each after those that are more specific."""

    setup: Setup
    """What is in force now, but for what is tried."""
    classes: Sequence[TriedClass]

    @classmethod
    def of(cls, setup: Setup, tried: Mapping[str, FloatArray], now: Mapping[str, float] | None = None) -> SweepPlan:
        """Make a plan.

        Parameters
        ----------
        setup
            What is in force.
        tried
            Thresholds by label.
        now
            By label, what counts as in force in place of the setup's threshold; it decides when a class that is more
            specific than others has an event.
        """
        now, labels, rule = now or {}, setup.labels, setup.rule()
        below: dict[int, set[int]] = {k: set() for k in range(len(labels))}
        for specific, general in setup.below:
            below[general].add(specific)
        wanted = {k for k, label in enumerate(labels) if label in tried}
        wanted |= {a for k in wanted for a in _all_below(k, below)}
        classes = []
        for k in TopologicalSorter({k: below[k] for k in wanted}).static_order():
            label, minimum = labels[k], int(setup.min_lengths[k])
            threshold, release = rule.threshold[[k]], rule.release[[k]]
            if label in now:
                threshold = np.array([now[label]], np.float32)
                release = release_of(setup, label, threshold)
            limits = tried.get(label, threshold[:0])
            classes.append(
                TriedClass(
                    k=k,
                    now=_limits(threshold, release, minimum, setup.merge_gap)[0],
                    tried=_limits(limits, release_of(setup, label, limits), minimum, setup.merge_gap),
                    specific=sorted(below[k]),
                    general=sorted(j for j in wanted if k in below[j]),
                )
            )
        return cls(setup, classes)

    def floors(self) -> IntArray:
        """Return the lowest code that matters, by the setup's classes; 256 for those that are not replayed."""
        floors = np.full(len(self.setup.labels), 256)
        for one in self.classes:
            floors[one.k] = one.floor
        return floors


def _all_below(k: int, below: Mapping[int, Collection[int]]) -> set[int]:
    """Return the classes that matter to one: those that are more specific, and those that these depend on."""
    found, new = set[int](), set(below[k])
    while new:
        found |= new
        new = {a for j in new for a in below[j]} - found
    return found


def share_of(setup: Setup, label: str | None = None) -> float:
    """Return the release's share of the threshold, of a class that is reported, else of the first that is."""
    pairs = zip(setup.labels, setup.releases, setup.thresholds, strict=True)
    shares = {name: round(release / limit, SHARE_DECIMALS) for name, release, limit in pairs if release and limit}
    return shares.get(label or "", next(iter(shares.values()), 1.0))


def release_of(setup: Setup, label: str, thresholds: FloatArray) -> FloatArray:
    """Return the releases that go with thresholds of a class; those in force as they are."""
    k = setup.labels.index(label)
    releases: FloatArray = thresholds * np.float32(share_of(setup, label))
    if setup.thresholds[k] is not None:
        releases[thresholds == np.float32(setup.thresholds[k])] = setup.releases[k]
    return releases


def grid_of(setup: Setup, label: str, also: float | None = None) -> FloatArray:
    """Return the thresholds that are tried for a class: those whose release is stored, that in force, and another."""
    threshold = setup.thresholds[setup.labels.index(label)]
    stored = GRID[GRID * np.float32(share_of(setup, label)) >= FLOOR]
    more = [limit for limit in (threshold, also) if limit is not None]
    tried: FloatArray = np.unique(np.append(stored, np.array(more, np.float32)))
    return tried


def _limits(thresholds: FloatArray, releases: FloatArray, min_length: int, merge_gap: int) -> list[CodeLimits]:
    pairs = zip(code_of(releases), code_of(thresholds), strict=True)
    return [CodeLimits(int(release), int(threshold), min_length, merge_gap) for release, threshold in pairs]
