"""How many events each threshold of each class would have made of a period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from htsat_edge.runtime.common.arrays import FloatArray, IntArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.store.reader import END_OF_TIME, StoreReader
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.early import EarlyStarts, find_early, shifted
from htsat_edge.runtime.tuning.intervals import DAY_S, MOST_DAYS, Rate, days_for, rate_of
from htsat_edge.runtime.tuning.period import replay_period
from htsat_edge.runtime.tuning.plan import grid_of


@dataclass(frozen=True)
class Choice:
    """A threshold for a wanted rate."""

    threshold: float
    rate: Rate
    certain: bool
    """Whether the upper end of the rate's interval is at most what was wanted."""
    note: str
    """What a person should know of it; empty where there is nothing."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What each threshold of a class would have made of a period."""

    label: str
    threshold: float
    """In force now."""
    thresholds: FloatArray
    """(n,), ascending."""
    peaks: IntArray
    """(n, 256): events by the code of their peak."""
    listened_s: float
    """For so long the class was scored."""
    early: EarlyStarts

    @property
    def counts(self) -> IntArray:
        """Events by threshold, (n,), all of them by final scores."""
        counts: IntArray = self.peaks.sum(axis=1)
        return counts

    @property
    def reported(self) -> IntArray:
        """The row of `peaks`, for each threshold, that is as what is reported: with early starts, a lower one's.

        With early starts that final scores would not have borne out, a class is reported as if its threshold were lower
        by some logits.
        """
        counts, own = self.counts, np.arange(len(self.thresholds))
        limits = expit(logit(self.thresholds.astype(np.float64)) - self.early.shift).astype(np.float32)
        lower = np.maximum(np.searchsorted(self.thresholds, limits, side="right") - 1, 0)
        rows: IntArray = np.where(counts[lower] > counts, lower, own)
        return rows

    @property
    def expected(self) -> IntArray:
        """Events by threshold, (n,), with early starts that final scores would not have borne out."""
        counts: IntArray = self.counts[self.reported]
        return counts

    def rate(self, threshold: float) -> Rate:
        """Return how often the class would be reported with the highest of the thresholds up to one."""
        i = max(0, int(np.searchsorted(self.thresholds, np.float32(threshold), side="right")) - 1)
        return rate_of(int(self.expected[i]), self.listened_s)

    def choose(self, per_day: float) -> Choice | None:
        """Return the lowest threshold from which on the class is reported no more often; None where there is none.

        Below the threshold in force that must be certain: where little was heard, a low one promises nothing. At very
        low thresholds there are few events, too, since all is one: those are not meant.
        """
        rates = [rate_of(int(count), self.listened_s) for count in self.expected]
        below = self.thresholds < np.float32(self.threshold)
        most = [rate.high if low else rate.per_day for low, rate in zip(below, rates, strict=True)]
        too_often = np.flatnonzero(np.array(most) > per_day)
        i = int(too_often[-1]) + 1 if len(too_often) else 0
        if i == len(rates):
            return None
        threshold, rate = decimal(self.thresholds[i]), rates[i]
        return Choice(threshold, rate, rate.high <= per_day, _note(rate, per_day, self.listened_s))


@dataclass(frozen=True, eq=False)
class Curves:
    """The curves of a source."""

    source: str
    from_at: float
    to_at: float
    setup: Setup
    """In force now."""
    curves: Mapping[str, Curve]
    """By label."""
    listened_s: float
    """For so long the source was scored."""
    other_s: float
    """And for so long by another model, whose scores say nothing of this one's."""


def read_curves(
    reader: StoreReader,
    source: str,
    from_at: float,
    to_at: float,
    labels: Sequence[str] | None = None,
    rules: RulesConfig = RulesConfig(),
    also: Mapping[str, float] | None = None,
) -> Curves:
    """Return the curves of a source's classes, of all that are reported by default.

    Parameters
    ----------
    reader, source
        The store, and what is asked for.
    from_at, to_at
        The period, in seconds since 1970: events count that begin in it.
    labels
        The classes.
    rules
        Between sounds; applied to what is replayed.
    also
        By label, a threshold that is tried beside those that always are.

    Raises
    ------
    HtsatEdgeError
        There is no such source or class, or the period is none.
    """
    setup = find_setup(reader, source, from_at, to_at)
    chosen, also = check_labels(setup, source, labels), also or {}
    limits = {label: x for label, x in zip(setup.labels, setup.thresholds, strict=True) if x is not None}
    tried = {label: grid_of(setup, label, also.get(label)) for label in chosen}
    tried |= {label: shifted(limit) for label, limit in limits.items() if label not in tried}  # to know of early starts
    keep = {label: [int(np.flatnonzero(own == np.float32(limits[label]))[0])] for label, own in tried.items()}
    period = replay_period(reader, source, from_at, to_at, setup, tried, keep=keep, rules=rules)
    stored = [event for event in reader.events_within(source, from_at, to_at) if event.at >= from_at]
    early, curves = find_early(period, setup, tried, stored), {}
    for label in chosen:
        usable = np.array([i not in period.crowded.get(label, ()) for i in range(len(tried[label]))])
        listened_s = period.listened_s(label)
        if listened_s and usable.any():
            thresholds, peaks = tried[label][usable], period.peaks[label][usable]
            curves[label] = Curve(label, limits[label], thresholds, peaks, listened_s, early[label])
    return Curves(source, from_at, to_at, setup, curves, period.listened_s(), period.other_s)


def find_setup(reader: StoreReader, source: str, from_at: float, to_at: float) -> Setup:
    """Return what is in force for a source now; raise an HtsatEdgeError where nothing is, or a period is none."""
    if not from_at < to_at <= from_at + MOST_DAYS * DAY_S:
        raise HtsatEdgeError(f"to_at: want a time after from_at, and at most {MOST_DAYS} days after it")
    if (setup := reader.setup(source, END_OF_TIME)) is None:
        names = [one.name for one in reader.sources()]
        hint = suggest(source, names, f"; there is {', '.join(names)}" if names else "; there is none yet")
        raise HtsatEdgeError(f"source: {source!r} is none of which the store has scores{hint}")
    return setup


def check_labels(setup: Setup, source: str, labels: Sequence[str] | None) -> list[str]:
    """Return the classes that are asked for, all that are reported by default; raise an HtsatEdgeError for others."""
    reported = [label for label, limit in zip(setup.labels, setup.thresholds, strict=True) if limit is not None]
    for label in labels or ():
        if label not in reported:
            hint = suggest(label, reported, "; see `detection.labels` and `detection.groups` for what is reported")
            raise HtsatEdgeError(f"label: {label[:200]!r} is no class that {source} reports{hint}")
    return reported if labels is None else list(labels)


def decimal(limit: np.float32) -> float:
    """Return the shortest number that is the same in single precision: 0.37, not 0.3700000047683716."""
    return float(str(limit))


def _note(rate: Rate, per_day: float, listened_s: float) -> str:
    """Return what a person should know of a rate that was chosen for a wanted one."""
    if rate.high <= per_day:
        return ""
    needed_s = days_for(per_day) * DAY_S
    if listened_s < needed_s:
        return (
            f"{_duration(listened_s)} of listening are too few to promise {per_day:g} a day: it may be up to "
            f"{_number(rate.high)}; even without any event that takes {_duration(needed_s)}"
        )
    return f"it may be up to {_number(rate.high)} a day"


def _number(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _duration(seconds: float) -> str:
    for unit, name, least in ((DAY_S, "days", 2), (3600, "h", 2), (60, "min", 1)):
        if seconds >= least * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"
