"""From scores to events: hysteresis, merged gaps and a minimum length, one step after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from htsat_edge.runtime.common.arrays import FloatArray

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """When scores are an event.

    An event is a run of steps at or above `release` in which at least one is at or above `threshold`. Runs of one
    class that are at most `merge_gap` steps apart are one event. Events shorter than `min_length` are none.
    """

    threshold: FloatArray
    """(C,)."""
    release: FloatArray
    """(C,), at most the threshold."""
    min_length: int = 1
    """Steps."""
    merge_gap: int = 0
    """Steps."""


class Change(NamedTuple):
    """An event has started or ended; positions are steps."""

    type: Literal["start", "end"]
    label: int
    """The index of the class."""
    onset: int
    offset: int
    """The step after the last; at the start, the last so far."""
    score: float
    """The peak so far."""


class State(NamedTuple):
    """What is known between two steps; every array is (C,)."""

    step: int
    run: IntArray
    """Where the present run at or above the release began, or -1."""
    hot: BoolArray
    """The present run has reached the threshold."""
    open: BoolArray
    """There is an event: it goes on, or its end is still near enough to be merged with."""
    started: BoolArray
    """Its start was announced."""
    onset: IntArray
    offset: IntArray
    peak: FloatArray


def quiet(classes: int) -> State:
    """The state before a recording begins."""
    none, zero = np.zeros(classes, bool), np.zeros(classes, np.int64)
    return State(0, zero - 1, none, none, none, zero, zero, np.zeros(classes, np.float32))


def track(state: State, scores: FloatArray, rule: Rule) -> tuple[State, list[Change]]:
    """Take scores (n, C); return the new state and what has started or ended."""
    changes: list[Change] = []
    for row in scores:
        state, found = _step(state, row, rule)
        changes += found
    return state, changes


def finish(state: State) -> list[Change]:
    """The recording is over: what was going on ends where it was heard last."""
    return _changes("end", state, state.started)


def _step(state: State, score: FloatArray, rule: Rule) -> tuple[State, list[Change]]:
    now = state.step
    above = score >= rule.release
    run = np.where(above, np.where(state.run < 0, now, state.run), -1)
    hot = above & (state.hot | (score >= rule.threshold))
    begins = hot & ~state.open
    opened = state.open | hot
    onset = np.where(begins, run, state.onset)
    offset = np.where(hot, now + 1, state.offset)
    peak = np.where(hot, np.maximum(score, np.where(begins, 0, state.peak)), state.peak)
    starts = hot & ~state.started & (offset - onset >= rule.min_length)
    # A run that has begun near enough may still reach the threshold: it keeps the event open.
    ends = opened & ~above & (now + 1 - offset > rule.merge_gap)
    after = State(now + 1, run, hot, opened, state.started | starts, onset, offset, peak)
    changes = _changes("start", after, starts) + _changes("end", after, ends & after.started)
    return after._replace(open=opened & ~ends, started=after.started & ~ends), changes


def _changes(type: Literal["start", "end"], state: State, which: BoolArray) -> list[Change]:
    return [
        Change(type, int(k), int(state.onset[k]), int(state.offset[k]), float(state.peak[k]))
        for k in np.flatnonzero(which)
    ]
