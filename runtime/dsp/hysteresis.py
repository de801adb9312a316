"""Hysteresis, merged gaps and a minimum length, one step after the other, for all classes at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Rule:
    """When scores are an event.

    An event is a run of steps at or above `release` in which at least one is at or above `threshold`. Runs of one
    class that are at most `merge_gap` steps apart are one event. Events shorter than `min_length` are left out.
    """

    threshold: FloatArray
    """(C,); infinite for classes that are not reported."""
    release: FloatArray
    """(C,), at most the threshold."""
    min_length: int | IntArray = 1
    """Steps, for all classes or (C,)."""
    merge_gap: int = 0
    """Steps."""
    early: FloatArray | None = None
    """(C,); what scores that are not final must reach for the start of an event; None: no start is early."""
    below: BoolArray | None = None
    """(C, C); whether the class of the row is more specific than that of the column; None: no class is."""


class State(NamedTuple):
    """What is known between two steps; every array is (C,)."""

    step: int
    run: IntArray
    """Step at which the present run at or above the release began, or -1."""
    hot: BoolArray
    """Whether the present run has reached the threshold."""
    open: BoolArray
    """Whether there is an event: it goes on, or its end is still near enough to be merged with."""
    started: BoolArray
    """Whether its start was reported."""
    onset: IntArray
    offset: IntArray
    """Step after the last of the event, so far."""
    peak: FloatArray


def initial_state(classes: int) -> State:
    """Return the state before a recording begins."""
    none, zero = np.zeros(classes, bool), np.zeros(classes, np.int64)
    return State(0, zero - 1, none, none, none, zero, zero, np.zeros(classes, np.float32))


def advance(state: State, score: FloatArray, rule: Rule) -> tuple[State, BoolArray, BoolArray]:
    """Take the scores (C,) of one step; return the new state, and which classes start and which end an event (C,)."""
    nothing: BoolArray = np.zeros(len(score), bool)
    now, hidden, doubted = state.step, nothing, nothing
    if rule.below is not None:
        hidden, doubted = find_general(state, score, rule, rule.below)
        score = np.where(hidden, np.float32(0), score)
    above = score >= rule.release
    run = np.where(above, np.where(state.run < 0, now, state.run), -1)
    hot = above & (state.hot | (score >= rule.threshold))
    begins = hot & ~state.open
    opened = state.open | hot
    onset = np.where(begins, run, state.onset)
    offset = np.where(hot, now + 1, state.offset)
    peak = np.where(hot, np.maximum(score, np.where(begins, 0, state.peak)), state.peak)
    # A run that has begun near enough may still reach the threshold: it keeps the event open.
    closes = opened & ~above & (now + 1 - offset > rule.merge_gap)
    waits = hidden | (doubted & ~closes)
    starts = opened & ~state.started & (offset - onset >= rule.min_length) & ~waits
    started = state.started | starts
    after = State(now + 1, run, hot, opened & ~closes, started & ~closes, onset, offset, peak)
    return after, starts, closes & started


def find_general(state: State, score: FloatArray, rule: Rule, below: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Return for which classes (C,) a more specific one has an event, and for which it may begin one.

    The former count as 0. The latter wait with their start while a more specific class has reached its release for
    `merge_gap` steps at most, and may yet reach its threshold: else each Dog would begin as an Animal.
    """
    has_event = state.open | (score >= rule.threshold)
    young = (state.run < 0) | (state.step - state.run <= rule.merge_gap)
    may_begin = (score >= rule.release) & young
    return np.asarray(below[has_event].any(axis=0)), np.asarray(below[may_begin].any(axis=0))
