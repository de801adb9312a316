"""The stored scores of a period, run by run, as the codes that matter to a plan."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from htsat_edge.runtime.common.arrays import UInt8Array
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.store.coded import CodedRow
from htsat_edge.runtime.store.in_force import InForce
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.runs import EXACT, JOINED
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.tuning.plan import SweepPlan
from htsat_edge.runtime.tuning.run_sweep import ClassEvents, RunSweep
from htsat_edge.runtime.tuning.sweep import Codes

AROUND_S = 600.0
"""Read before and after a period, so that what begins in it is whole."""
MOST_CODES = 4_000_000
"""Of a run, kept until they are replayed."""


@dataclass
class HeardRun:
    """A run of scores without a gap, as far as it was read; steps count from its first."""

    session: int
    onset: float
    """Of the first step, in seconds since the source began."""
    in_force: InForce
    timed: bool
    """Whether times of day were known."""
    from_at: float
    to_at: float
    """The period; what begins outside of it does not count."""
    end: int = 0
    """Step after the last."""
    firsts: list[int] = field(default_factory=list)
    """The first step of each row."""
    ats: list[float] = field(default_factory=list)
    """The same in seconds since 1970."""
    _end_onset: float = 0.0

    @property
    def setup(self) -> Setup:
        """What was in force."""
        return self.in_force.setup

    def add(self, row: CodedRow) -> None:
        """Take the next row."""
        self.firsts.append(self.end)
        self.ats.append(row.place.at)
        self.end += row.place.steps
        self._end_onset = row.place.onset + row.place.steps * self.setup.step_s

    def is_like(self, setup: Setup) -> bool:
        """Return whether its scores are those of the same model."""
        return (self.setup.model, self.setup.step_s) == (setup.model, setup.step_s)

    def is_followed_by(self, row: CodedRow) -> bool:
        """Return whether a row goes on with it."""
        apart = abs(row.place.onset - self._end_onset)
        is_same = (row.place.session, row.in_force.onset) == (self.session, self.in_force.onset)
        return is_same and apart <= JOINED * self.setup.step_s

    def at(self, step: int) -> float:
        """Return when a step begins, in seconds since 1970."""
        row = bisect_right(self.firsts, step) - 1
        return self.ats[row] + (step - self.firsts[row]) * self.setup.step_s

    def position(self, step: int) -> float:
        """Return when a step begins in seconds since the source began, as messages have it."""
        return round(self.onset + round(step * self.setup.step_s, DECIMALS), DECIMALS)

    def within(self) -> tuple[int, int]:
        """Return the first step that begins in the period, and the first after it."""
        return self._first_from(self.from_at), self._first_from(self.to_at)

    def _first_from(self, at: float) -> int:
        for first, begin, last in zip(self.firsts, self.ats, [*self.firsts[1:], self.end], strict=True):
            if begin + (last - first) * self.setup.step_s > at:
                return min(last, first + max(0, ceil((at - begin) / self.setup.step_s - EXACT)))
        return self.end


class HeardPart(NamedTuple):
    """What has become known of a run."""

    run: HeardRun
    events: Iterator[ClassEvents]
    """To be read before the next part is."""
    last: bool
    """Whether the run is over."""


class CodePart(NamedTuple):
    """Codes of several classes, in few bytes: there are millions."""

    classes: npt.NDArray[np.int16]
    steps: npt.NDArray[np.int32]
    codes: UInt8Array


NO_PART = CodePart(np.zeros(0, np.int16), np.zeros(0, np.int32), np.zeros(0, np.uint8))


class RowColumns:
    """Takes of rows the codes that matter to a plan."""

    def __init__(self, plan: SweepPlan, run: HeardRun) -> None:
        """Prepare for the rows of a run, whose classes may be others than the plan's."""
        place = {label: k for k, label in enumerate(plan.setup.labels) if run.is_like(plan.setup)}
        self._own = np.array([place.get(label, -1) for label in run.setup.labels])
        """The plan's class of each of the run's; -1 for none."""
        self._floors = np.append(plan.floors(), 256)[self._own]

    def select(self, row: CodedRow, first: int) -> CodePart:
        """Return what matters of a row that begins at the step `first`."""
        columns, codes = row.scores
        wanted = self._floors[columns] < 256
        columns, codes = columns[wanted], codes[wanted]
        which, steps = np.nonzero(codes >= self._floors[columns][:, None])
        return CodePart(
            self._own[columns[which]].astype(np.int16), (steps + first).astype(np.int32), codes[which, steps]
        )


def replay(reader: StoreReader, source: str, from_at: float, to_at: float, plan: SweepPlan) -> Iterator[HeardPart]:
    """Yield what a plan makes of the scores of a period, and of those around it; of one run after the other.

    Those of another model have no events: its scores say nothing of this one's.
    """
    heard: RunReplay | None = None
    for row in reader.coded_rows(source, from_at - AROUND_S, to_at + AROUND_S):
        if heard is not None and not heard.run.is_followed_by(row):
            yield heard.settle(last=True)
            heard = None
        if heard is None:
            place = row.place
            heard = RunReplay(HeardRun(place.session, place.onset, row.in_force, row.timed, from_at, to_at), plan)
        heard.add(row)
        if heard.waiting > MOST_CODES:
            yield heard.settle(last=False)
    if heard is not None:
        yield heard.settle(last=True)


class RunReplay:
    """Replays a run as its rows come."""

    def __init__(self, run: HeardRun, plan: SweepPlan) -> None:
        """Begin a run."""
        self.run, self.waiting = run, 0
        self._columns, self._sweep = RowColumns(plan, run), RunSweep(plan)
        self._parts = [NO_PART]

    def add(self, row: CodedRow) -> None:
        """Take the next row."""
        self._parts.append(self._columns.select(row, self.run.end))
        self.waiting += len(self._parts[-1][0])
        self.run.add(row)

    def settle(self, last: bool) -> HeardPart:
        """Replay what has come."""
        part = CodePart(*(np.concatenate(column) for column in zip(*self._parts, strict=True)))
        self._parts, self.waiting = [NO_PART], 0
        order = np.argsort(part.classes, kind="stable")
        classes, steps, codes = part.classes[order], part.steps[order], part.codes[order]
        found, counts = np.unique(classes, return_counts=True)
        ends = np.cumsum(counts)
        by_class = {
            int(k): Codes(steps[end - count : end].astype(np.int64), codes[end - count : end])
            for k, end, count in zip(found, ends, counts, strict=True)
        }
        return HeardPart(self.run, self._sweep.push(by_class, self.run.end, last), last)
