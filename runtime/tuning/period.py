"""All events that some thresholds would have made of a period of a source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray, IntArray
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.heard import HeardRun, replay
from htsat_edge.runtime.tuning.intervals import DAY_S
from htsat_edge.runtime.tuning.plan import SweepPlan
from htsat_edge.runtime.tuning.ruled import RuledClass, is_ruled, suppressors
from htsat_edge.runtime.tuning.sweep import NO_SPANS, Spans

MOST_RULED = 1440
"""Events a day of a class that a rule concerns: with more, a threshold is not looked at."""


@dataclass
class PeriodEvents:
    """What thresholds would have made of a period."""

    runs: list[HeardRun] = field(default_factory=list)
    within: list[tuple[int, int]] = field(default_factory=list)
    """The steps of each that are in the period."""
    peaks: dict[str, IntArray] = field(default_factory=dict)
    """By label: events of the period by threshold and code of their peak, (n, 256)."""
    settled: dict[str, IntArray] = field(default_factory=dict)
    """By label: events by threshold, (n,), of the runs in which the present setup was in force."""
    kept: dict[str, dict[int, list[Spans]]] = field(default_factory=dict)
    """By label and threshold: events of the period, by run."""
    crowded: dict[str, set[int]] = field(default_factory=dict)
    """By label: thresholds with too many events for rules; none of those that are kept."""

    other_s: float = 0.0
    """Seconds of the period in which another model was heard."""

    def listened_s(self, label: str | None = None) -> float:
        """Return for how many seconds of the period a class was scored; None: the source."""
        runs = zip(self.runs, self.within, strict=True)
        return sum(
            (last - first) * run.setup.step_s
            for run, (first, last) in runs
            if label is None or label in run.setup.labels
        )


def replay_period(
    reader: StoreReader,
    source: str,
    from_at: float,
    to_at: float,
    setup: Setup,
    tried: Mapping[str, FloatArray],
    *,
    now: Mapping[str, float] | None = None,
    keep: Mapping[str, Collection[int]] | None = None,
    rules: RulesConfig = RulesConfig(),
) -> PeriodEvents:
    """Return the events that some thresholds would have made of a period.

    Parameters
    ----------
    reader, source
        The store, and whose scores they are.
    from_at, to_at
        The period; events count that begin in it.
    setup
        In force.
    tried
        Thresholds by label.
    now
        By label, what counts as in force in place of the setup's thresholds, for more general and suppressed classes.
    keep
        By label, of which thresholds the events are kept, not only counted.
    rules
        Which events are not reported.
    """
    return _PeriodReplay(source, setup, tried, now or {}, keep or {}, rules).read(reader, from_at, to_at)


class _PeriodReplay:
    def __init__(
        self,
        source: str,
        setup: Setup,
        tried: Mapping[str, FloatArray],
        now: Mapping[str, float],
        keep: Mapping[str, Collection[int]],
        rules: RulesConfig,
    ) -> None:
        self._source, self._rules, self._setup, self._keep, self._tried = source, rules, setup, keep, tried
        self._ruled = {label for label in tried if is_ruled(rules, source, label)}
        present = {k: x for k, x in zip(setup.labels, setup.thresholds, strict=True) if x is not None} | dict(now)
        self._heard = {other for label in self._ruled for other in suppressors(rules, label)} & present.keys()
        """Classes that may suppress others; their last threshold is that in force."""
        all_tried = {
            label: np.append(tried.get(label, np.zeros(0, np.float32)), np.float32(present[label]))
            for label in self._heard
        }
        self._plan = SweepPlan.of(setup, {**tried, **all_tried}, now)
        self._result = PeriodEvents()
        for label, thresholds in tried.items():
            self._result.peaks[label] = np.zeros((len(thresholds), 256), np.int64)
            self._result.settled[label] = np.zeros(len(thresholds), np.int64)
        self._is_present: list[bool] = []
        """Of each run, whether its setup was the present one."""
        self._found: defaultdict[tuple[str, int], list[tuple[int, Spans]]] = defaultdict(list)
        self._totals: defaultdict[tuple[str, int], int] = defaultdict(int)

    def read(self, reader: StoreReader, from_at: float, to_at: float) -> PeriodEvents:
        """Replay a period."""
        result = self._result
        most = MOST_RULED * (1 + (to_at - from_at) / DAY_S)
        for run, events, last in replay(reader, self._source, from_at, to_at, self._plan):
            if not run.is_like(self._setup):
                first, end = run.within()
                result.other_s += last * (end - first) * run.setup.step_s
                continue
            if not result.runs or result.runs[-1] is not run:
                result.runs.append(run)
                result.within.append((0, 0))
                self._is_present.append(run.setup == self._setup)
            result.within[-1] = run.within()
            for k, i, spans in events:
                self._take(self._setup.labels[k], i, spans, most)
        others = {label: self._by_run(label, len(self._tried.get(label, ()))) for label in self._heard}
        for label in self._ruled:
            self._rule(label, others)
        for label, kept in self._keep.items():
            for i in kept:
                if label not in self._ruled:
                    self._put(label, i, [self._inside(n, spans) for n, spans in enumerate(self._by_run(label, i))])
        return result

    def _take(self, label: str, i: int, spans: Spans, most: float) -> None:
        """Take events of the last run."""
        n = len(self._result.runs) - 1
        if i in self._result.crowded.get(label, ()):
            return
        is_other, ruled = i == len(self._tried.get(label, ())), label in self._ruled
        is_kept = i in self._keep.get(label, ())
        if not is_other and not ruled:
            self._count(label, i, n, self._inside(n, spans))
        if is_other or ruled or is_kept:
            self._totals[label, i] += len(spans.onset)
            self._found[label, i].append((n, spans))
        if ruled and not (is_other or is_kept) and self._totals[label, i] > most:
            self._result.crowded.setdefault(label, set()).add(i)
            self._found[label, i].clear()

    def _rule(self, label: str, others: Mapping[str, Sequence[Spans]]) -> None:
        """Count the events of a class that its rules let through."""
        suppressing = {other: others[other] for other in suppressors(self._rules, label) if other in others}
        ruled = RuledClass(self._rules, self._source, label, self._setup.labels, self._result.runs, suppressing)
        for i in range(len(self._tried[label])):
            if i in self._result.crowded.get(label, ()):
                continue
            events = self._by_run(label, i)
            chosen = zip(events, ruled.select(events), strict=True)
            reported = [self._inside(n, spans.where(mask)) for n, (spans, mask) in enumerate(chosen)]
            for n, spans in enumerate(reported):
                self._count(label, i, n, spans)
            if i in self._keep.get(label, ()):
                self._put(label, i, reported)

    def _count(self, label: str, i: int, n: int, spans: Spans) -> None:
        self._result.peaks[label][i] += np.bincount(spans.peak, minlength=256)
        if self._is_present[n]:
            self._result.settled[label][i] += len(spans.onset)

    def _put(self, label: str, i: int, events: list[Spans]) -> None:
        self._result.kept.setdefault(label, {})[i] = events

    def _inside(self, n: int, spans: Spans) -> Spans:
        """Return the events that begin in the period."""
        first, last = self._result.within[n]
        a, b = np.searchsorted(spans.onset, [first, last])
        return spans if (a, b) == (0, len(spans.onset)) else spans.between(int(a), int(b))

    def _by_run(self, label: str, i: int) -> list[Spans]:
        parts: list[list[Spans]] = [[NO_SPANS] for _ in self._result.runs]
        for n, spans in self._found[label, i]:
            parts[n].append(spans)
        return [Spans(*(np.concatenate(columns) for columns in zip(*part, strict=True))) for part in parts]
