"""What the hysteresis makes of stored scores, with what was in force or with another threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.dsp.hysteresis import Rule, State, advance, initial_state

GRID = 10_000
"""Thresholds are looked for in whole parts of 1/GRID."""
TRIED = 22
"""So many at once: three times make GRID."""


class Replayed(NamedTuple):
    """Steps of a class that have reached its threshold, with what they are merged with: an event, or nearly one."""

    k: int
    """Of the class."""
    onset: int
    """Step."""
    offset: int
    """Step after the last."""
    peak: float
    found: bool
    """Whether it is an event: it was long enough, and no more specific class was there instead."""

    def covers(self, step: int) -> bool:
        """Return whether a step belongs to it."""
        return self.onset <= step < self.offset


@dataclass(frozen=True)
class Replay:
    """What became of scores (n, C), which follow a gap or so much else that what came before does not matter."""

    rule: Rule
    scores: FloatArray
    states: Sequence[State]
    """Before each step."""
    heard: Sequence[Replayed]
    """In the order of their ends."""

    def hiding(self, step: int) -> list[int]:
        """Return the classes that have an event at a step, for which the last class, more general, counts as 0."""
        if self.rule.below is None:
            return []
        has_event = self.states[step].open | (self.scores[step] >= self.rule.threshold)
        return [int(k) for k in np.flatnonzero(has_event & self.rule.below[:, -1])]


def replay(rule: Rule, scores: FloatArray) -> Replay:
    """Return what the hysteresis makes of scores (n, C)."""
    states, heard, state = list[State](), list[Replayed](), initial_state(scores.shape[1])
    quiet: BoolArray = np.all(scores < rule.release, axis=1)
    settled = True  # nothing goes on: a quiet step then changes nothing, and most steps are quiet
    for row, is_quiet in zip(scores, quiet, strict=True):
        states.append(state)
        if is_quiet and settled:
            state = state._replace(step=state.step + 1)
            continue
        state, _, ends = advance(state, row, rule)
        heard += _replayed(state, states[-1].open & ~state.open, ends)
        settled = bool(is_quiet) and not state.open.any()
    return Replay(rule, scores, states, [*heard, *_replayed(state, state.open, state.started)])


def _replayed(state: State, over: BoolArray, found: BoolArray) -> Iterator[Replayed]:
    for k in map(int, np.flatnonzero(over)):
        yield Replayed(k, int(state.onset[k]), int(state.offset[k]), float(state.peak[k]), bool(found[k]))


def narrow(rule: Rule, k: int) -> tuple[Rule, list[int]]:
    """Return the rule of a class and of those that are more specific, which alone matter to it; it is the last.

    The columns of these come with it.
    """
    own = [k] if rule.below is None else [*map(int, np.flatnonzero(rule.below[:, k])), k]
    return _select(rule, own), own


def _select(rule: Rule, columns: Sequence[int]) -> Rule:
    lengths = np.broadcast_to(rule.min_length, rule.threshold.shape)
    return replace(
        rule,
        threshold=rule.threshold[columns],
        release=rule.release[columns],
        min_length=lengths[columns],
        below=None if rule.below is None else rule.below[np.ix_(columns, columns)],
    )


def with_thresholds(rule: Rule, share: float, thresholds: FloatArray) -> Rule:
    """Return a rule in which the last class is there once for each of some thresholds; `share` makes the releases."""
    others = len(rule.threshold) - 1
    several = _select(rule, [*range(others), *[others] * len(thresholds)])
    return replace(
        several,
        threshold=np.append(rule.threshold[:-1], thresholds),
        release=np.append(rule.release[:-1], thresholds * np.float32(share)),
    )


def replay_with(rule: Rule, share: float, scores: FloatArray, thresholds: FloatArray) -> list[list[Replayed]]:
    """Return the events of the last class with each of some thresholds."""
    others, several = scores.shape[1] - 1, np.repeat(scores[:, -1:], len(thresholds), axis=1)
    heard = replay(with_thresholds(rule, share, thresholds), np.hstack([scores[:, :-1], several])).heard
    return [[one for one in heard if one.found and one.k == others + i] for i in range(len(thresholds))]


def find_threshold(rule: Rule, share: float, scores: FloatArray, step: int) -> float | None:
    """Return the highest threshold of the last class with which an event of it covers a step, or None.

    To lower it makes no event shorter, so with all below there is one, too. `share` is that of the release.
    """
    low, high = 0, GRID + 1  # with `low` an event covers the step, with `high` none does
    while high - low > 1:
        tried = np.unique(np.linspace(low, high, TRIED + 2).astype(int))
        tried = tried[(tried > low) & (tried < high)]
        events = replay_with(rule, share, scores, (tried / GRID).astype(np.float32))
        covers = [any(event.covers(step) for event in own) for own in events]
        low = max([low, *tried[covers].tolist()])
        high = min(int(one) for one in [*tried[tried > low], high])
    return low / GRID if low else None
