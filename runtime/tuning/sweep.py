"""What the hysteresis makes of the codes of one class, with any limits, without a step by step replay.

The codes are sparse: of steps that reach the lowest release of all that are tried. All is as `dsp.hysteresis.advance`
would have it, which a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, IntArray, UInt8Array

NEVER = np.iinfo(np.int64).max
"""In place of the step of an end that has not come."""


class CodeLimits(NamedTuple):
    """When codes are an event; the limits are codes, 256 for what none reaches."""

    release: int
    threshold: int
    min_length: int
    """Steps."""
    merge_gap: int


class Codes(NamedTuple):
    """Codes of a class at some steps; all others are lower than what matters."""

    steps: IntArray
    """Ascending."""
    codes: UInt8Array

    def between(self, first: int, last: int) -> Codes:
        """Return those from a step on, before another."""
        a, b = np.searchsorted(self.steps, [first, last])
        return Codes(self.steps[a:b], self.codes[a:b])

    def then(self, later: Codes) -> Codes:
        """Return these with later ones."""
        return Codes(np.append(self.steps, later.steps), np.append(self.codes, later.codes))

    def at_least(self, code: int) -> Codes:
        """Return those that reach a code."""
        reach = self.codes >= code
        return Codes(self.steps[reach], self.codes[reach])


class CodeRuns(NamedTuple):
    """Runs of steps at or above a release."""

    begin: IntArray
    end: IntArray
    """Step after the last."""
    peak: UInt8Array
    hot: IntArray
    """The first step that reaches the threshold; NEVER where none does."""


class Spans(NamedTuple):
    """Events, and what else has reached the threshold; in the order of their onsets, none overlapping another."""

    onset: IntArray
    offset: IntArray
    """Step after the last."""
    peak: UInt8Array
    opened: IntArray
    """The step that first reached the threshold."""
    started: IntArray
    """The step at which the start was known."""
    closed: IntArray
    """The step at which the end was known; NEVER where the scores end before."""

    def where(self, chosen: BoolArray) -> Spans:
        """Return some of them."""
        return self if chosen.all() else self._chosen(chosen)

    def between(self, first: int, last: int) -> Spans:
        """Return those from one on, before another."""
        return self._chosen(slice(first, last))

    def _chosen(self, chosen: BoolArray | slice) -> Spans:
        onset, offset, peak, opened, started, closed = self
        steps = (column[chosen] for column in (opened, started, closed))
        return Spans(onset[chosen], offset[chosen], peak[chosen], *steps)


NO_STEPS = np.zeros(0, np.int64)
NO_CODES = Codes(NO_STEPS, np.zeros(0, np.uint8))
NO_SPANS = Spans(NO_STEPS, NO_STEPS, NO_CODES.codes, NO_STEPS, NO_STEPS, NO_STEPS)


@dataclass(frozen=True)
class Waits:
    """Steps at which a class waits with its start, since a more specific one has an event, or may begin one."""

    begin: IntArray
    """Of runs of such steps, ascending."""
    end: IntArray
    hidden: BoolArray
    """(n,), by step from `first` on: whether a more specific class has an event there."""
    first: int

    def next_free(self, steps: IntArray) -> IntArray:
        """Return the first step from each on at which it need not wait."""
        if not len(self.begin):
            return steps
        at = np.searchsorted(self.begin, steps, side="right") - 1
        end = self.end[np.maximum(at, 0)]
        return np.where((at >= 0) & (end > steps), end, steps)

    def is_hidden(self, steps: IntArray) -> BoolArray:
        """Return whether a more specific class has an event at each of some steps; those that are outside have none."""
        at = steps - self.first
        inside = (at >= 0) & (at < len(self.hidden))
        found: BoolArray = self.hidden[np.where(inside, at, 0)] & inside
        return found


def find_runs(codes: Codes, threshold: int) -> CodeRuns:
    """Return the runs of steps that have codes: those at or above the release."""
    steps, values = codes
    if not len(steps):
        return CodeRuns(NO_STEPS, NO_STEPS, NO_CODES.codes, NO_STEPS)
    apart = steps[1:] - steps[:-1] > 1
    first, last = _edges(apart)
    peak = np.maximum.reduceat(values, first)
    hot = np.full(len(first), NEVER)
    reach = np.flatnonzero(values >= threshold)
    is_hot = peak >= threshold
    hot[is_hot] = steps[reach[np.searchsorted(reach, first[is_hot])]]
    return CodeRuns(steps[first], steps[last] + 1, peak, hot)


def find_spans(runs: CodeRuns, limits: CodeLimits, end: int) -> tuple[Spans, BoolArray]:
    """Return what has reached the threshold, up to the step `end`, and whether each is long enough for an event.

    `started` is where the start would be known if the class did not wait for a more specific one.
    """
    hot = runs.hot != NEVER
    begin, stop, peak, first_hot = (column[hot] for column in runs)
    if not len(begin):
        return NO_SPANS, np.zeros(0, bool)
    apart = begin[1:] - stop[:-1] > limits.merge_gap
    first, last = _edges(apart)
    onset, offset = begin[first], stop[last]
    is_long = offset - onset >= limits.min_length
    short = stop - np.repeat(onset, last + 1 - first) < limits.min_length  # up to the end of each run
    enough = np.minimum(first + np.add.reduceat(short, first, dtype=np.int64), last)  # the first run that is not
    closed = offset + limits.merge_gap  # the first step from there on that is below the release
    run = np.searchsorted(runs.begin, closed, side="right") - 1
    closed = np.maximum(closed, runs.end[run])
    closed[closed >= end] = NEVER
    spans = Spans(
        onset=onset,
        offset=offset,
        peak=np.maximum.reduceat(peak, first),
        opened=first_hot[first],
        started=np.maximum(first_hot[enough], onset + limits.min_length - 1),
        closed=closed,
    )
    return spans, is_long


def find_events(codes: Codes, limits: CodeLimits, end: int, waits: Waits | None = None) -> Spans:
    """Return the events in codes up to the step `end`, at which the source was no longer heard, or all is quiet.

    All codes must be at or above the release.
    """
    spans, is_event = find_spans(find_runs(codes, limits.threshold), limits, end)
    if waits is None:
        return spans.where(is_event)
    free = waits.next_free(spans.started)
    # At its end it waits no longer for what may begin, only for what is there.
    found = np.where(free < spans.closed, free < end, ~waits.is_hidden(spans.closed))
    started = np.minimum(free, spans.closed)
    return spans._replace(started=started).where(is_event & found)


def _edges(apart: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the first and the last of each group, from whether each two neighbours are apart."""
    last = np.concatenate([apart.nonzero()[0], [len(apart)]])
    return np.concatenate([[0], last[:-1] + 1]), last
