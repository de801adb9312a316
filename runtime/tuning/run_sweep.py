"""All classes of a run of scores with all limits that are tried, as the scores come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, IntArray
from htsat_edge.runtime.tuning.plan import SweepPlan, TriedClass
from htsat_edge.runtime.tuning.sweep import (
    NEVER,
    NO_CODES,
    CodeLimits,
    Codes,
    Spans,
    Waits,
    find_events,
    find_runs,
    find_spans,
)


class ClassEvents(NamedTuple):
    """Events of a class with one of the limits that are tried."""

    k: int
    tried: int
    """Which."""
    spans: Spans


class Specifics(NamedTuple):
    """What classes are doing that are more specific than another."""

    open: IntArray
    """(n, 2); steps at which they have an event, from the first to before the last."""
    young: IntArray
    """Steps at which they may begin one."""


class RunSweep:
    """Finds the events of a run of scores, which come in parts, whose borders change nothing.

    A class is replayed up to where it is quiet, whatever the limits, and what is more specific was replayed; what
    follows waits for the next part.
    """

    def __init__(self, plan: SweepPlan) -> None:
        """Begin a run."""
        self._plan = plan
        self._waiting = dict.fromkeys((one.k for one in plan.classes), NO_CODES)
        self._done = dict.fromkeys(self._waiting, 0)
        """Up to which step each class was replayed."""
        self._specifics: defaultdict[int, list[Specifics]] = defaultdict(list)
        """By the class that is more general; from where that was replayed on."""

    def push(self, codes: Mapping[int, Codes], end: int, last: bool) -> Iterator[ClassEvents]:
        """Take the codes up to the step `end` by class; yield what they settle, at the `last` all that is left."""
        for one in self._plan.classes:
            heard = self._waiting[one.k].then(codes.get(one.k, NO_CODES))
            begin, until = self._done[one.k], end
            if not last:
                until = _quiet(heard, one.now.merge_gap, min([end, *(self._done[j] for j in one.specific)]))
            self._waiting[one.k], self._done[one.k] = heard.between(until, NEVER), until
            yield from self._replay(one, heard.between(begin, until), begin, until)

    def _replay(self, one: TriedClass, codes: Codes, begin: int, end: int) -> Iterator[ClassEvents]:
        waits = self._waits(one.k, begin, end)
        hidden = np.zeros(len(codes.steps), bool) if waits is None else waits.is_hidden(codes.steps)
        seen = Codes(codes.steps[~hidden], codes.codes[~hidden])
        if one.general and len(codes.steps):
            found = _specifics(codes, seen, hidden, one.now, end)
            for k in one.general:
                self._specifics[k].append(found)
        results: dict[CodeLimits, Spans] = {}
        top = seen.codes.max(initial=0)
        for i, limits in sorted(enumerate(one.tried), key=lambda item: item[1].release):
            if limits.threshold > top:
                continue
            if limits not in results:
                seen = seen.at_least(limits.release)
                results[limits] = find_events(seen, limits, end, waits)
            if len(results[limits].onset):
                yield ClassEvents(one.k, i, results[limits])

    def _waits(self, k: int, begin: int, end: int) -> Waits | None:
        """Return where a class waits for more specific ones; None where nowhere. What comes later stays known."""
        if not (known := self._specifics.pop(k, [])):
            return None
        open_, young = (np.concatenate(parts) for parts in zip(*known, strict=True))
        self._specifics[k].append(Specifics(open_[open_[:, 1] > end], young[young >= end]))
        change = np.zeros(end - begin + 1, np.int32)
        for column, by in ((0, 1), (1, -1)):
            np.add.at(change, np.clip(open_[:, column], begin, end) - begin, by)
        hidden: BoolArray = np.cumsum(change[:-1]) > 0
        waiting = hidden.copy()
        waiting[young[(young >= begin) & (young < end)] - begin] = True
        edges = begin + np.flatnonzero(np.diff(waiting, prepend=False, append=False)).reshape(-1, 2)
        return Waits(edges[:, 0], edges[:, 1], hidden, begin) if len(edges) else None


def _quiet(codes: Codes, merge_gap: int, limit: int) -> int:
    """Return the last step up to a limit before which the class was quiet for so long that nothing goes on."""
    steps = np.append(codes.steps[: np.searchsorted(codes.steps, limit)], limit)
    quiet = np.flatnonzero(np.diff(steps) > merge_gap + 1)
    return int(steps[quiet[-1] + 1] if len(quiet) else steps[0])


def _specifics(codes: Codes, seen: Codes, hidden: BoolArray, now: CodeLimits, end: int) -> Specifics:
    """Return what a class is doing, for those that are more general.

    `seen` is what of `codes` is not `hidden` by yet more specific ones.
    """
    runs = find_runs(seen.at_least(now.release), now.threshold)
    spans, _ = find_spans(runs, now, end)
    own = np.stack([spans.opened, np.minimum(spans.closed, end - 1) + 1], axis=1)
    also = codes.steps[hidden & (codes.codes >= now.threshold)]
    reach = codes.at_least(now.release).steps
    young: BoolArray = np.ones(len(reach), bool)
    if len(runs.begin):
        run = np.searchsorted(runs.begin, reach, side="right") - 1  # the one that goes on up to there, or begins
        goes_on = (run >= 0) & (runs.end[run] >= reach)
        young = ~goes_on | (reach - runs.begin[run] <= now.merge_gap)
    return Specifics(np.concatenate([own, np.stack([also, also + 1], axis=1)]), reach[young])
