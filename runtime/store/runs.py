"""Scores of a span of time, as they were stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.in_force import SetupsInForce
from htsat_edge.runtime.store.score_codes import decode
from htsat_edge.runtime.store.setup import Setup

LONGEST_ROW_S = 600.0
"""What began before is not looked at."""
MOST_S = 86_400.0
"""Of a span; the scores of a day and 527 classes are 0.6 GB."""
JOINED = 0.25
"""Rows are one run where they are less than this share of a step apart."""


class Edge(NamedTuple):
    """Where scores end or begin."""

    session: int
    at: float


EXACT = 0.005
"""Of a step: times of day are in milliseconds."""


@dataclass(frozen=True, eq=False)
class ScoreRun:
    """Scores of a source without a gap, and with one setup in force: with it, the hysteresis began anew."""

    session: int
    onset: float
    """Of the first step, in seconds since the source began."""
    at: float
    """The same, in seconds since 1970."""
    setup: Setup
    scores: FloatArray
    """(n, C)."""

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return self.setup.step_s

    @property
    def end_at(self) -> float:
        """When the last step ends."""
        return self.at + len(self.scores) * self.step_s

    def cut(self, from_at: float, to_at: float) -> ScoreRun:
        """Return the steps that overlap a span; there may be none."""
        first = int(np.clip(floor((from_at - self.at) / self.step_s + EXACT), 0, len(self.scores)))
        last = int(np.clip(ceil((to_at - self.at) / self.step_s - EXACT), first, len(self.scores)))
        begin_s = first * self.step_s
        return replace(self, onset=self.onset + begin_s, at=self.at + begin_s, scores=self.scores[first:last])


def read_runs(database: StoreConnection, source: str, from_at: float, to_at: float) -> list[ScoreRun]:
    """Return the runs of scores that overlap a span, with all of the minutes that do, the oldest first.

    Raises
    ------
    HtsatEdgeError
        The span is longer than MOST_S.
    ValueError, zlib.error
        What is stored cannot be.
    """
    if to_at - from_at > MOST_S:
        raise HtsatEdgeError(f"scores of {(to_at - from_at) / 3600:.0f} h are too many at once; ask for a day at most")
    rows = database.execute(
        'SELECT scores.session, onset, "offset", steps, codes, at FROM scores '
        'WHERE source = ? AND at < ? AND at > ? AND at + ("offset" - onset) > ? ORDER BY session, onset',
        (source, to_at, from_at - LONGEST_ROW_S, from_at),
    )
    setups = SetupsInForce(database, source)
    runs: list[list[ScoreRun]] = []
    begun, ended = (0, 0.0), 0.0
    for session, onset, offset, steps, codes, at in rows.fetchall():
        in_force = setups.find(session, onset)
        setup = in_force.setup
        part = ScoreRun(session, onset, float(at), setup, decode(codes, steps, len(setup.labels)))
        if (session, in_force.onset) != begun or abs(onset - ended) > JOINED * setup.step_s:
            runs.append([])
        runs[-1].append(part)
        begun, ended = (session, in_force.onset), offset
    joined = (replace(run[0], scores=np.concatenate([part.scores for part in run])) for run in runs)
    return sorted(joined, key=lambda run: run.at)


def read_edges(database: StoreConnection, source: str, at: float) -> tuple[Edge | None, Edge | None]:
    """Return where the last minute of scores that began by a time ends, and where the next begins, if there is one."""
    edges = [
        database.execute(
            f"SELECT session, {edge} FROM scores WHERE source = ? AND {which} LIMIT 1", (source, at)
        ).fetchone()
        for edge, which in (
            ('at + ("offset" - onset)', "at <= ? ORDER BY at DESC"),
            ("at", "at > ? ORDER BY at"),
        )
    ]
    before, after = (None if row is None else Edge(*row) for row in edges)
    return before, after
