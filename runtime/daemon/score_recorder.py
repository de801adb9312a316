"""The final scores of a source into the store, and what its rules left out."""

from __future__ import annotations

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.daemon.observers import SessionObserver
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.daemon.rules import RuleName
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.supervision import warnings
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.writes import LeftOut, ScoreRow, SourceSetup

ROW_S = 60.0
"""Of scores in a row, at most."""
SHORT_S = 5.0
"""A row ends after an event's end, so that the page has its scores soon; but not before it is so long."""


class ScoreRecorder(SessionObserver):
    """Cuts a session's scores into rows, of a minute or up to an event's end."""

    def __init__(self, store: StoreOutput, session: SourceSession, with_scores: bool = True) -> None:
        """Record what is in force in a session, and what comes; the scores only where they are wanted."""
        self._store, self._session, self._with_scores = store, session, with_scores
        self._source = session.feed.name
        self._most = max(1, int(ROW_S / session.info.step_s))
        self._least = min(self._most, max(1, int(SHORT_S / session.info.step_s)))
        self._time: str | None = None
        self._clear()
        self._record_setup(0.0)

    def scores(self, start_s: float, step_s: float, scores: FloatArray) -> None:
        """Take the next final scores (n, C)."""
        if not self._with_scores:
            return
        while len(scores):
            if not self._count:
                self._onset, self._time = round(start_s, DECIMALS), self._session.time_at(start_s)
            part = scores[: self._most - self._count]
            self._parts.append(part)
            self._count += len(part)
            scores, start_s = scores[len(part) :], start_s + len(part) * step_s
            if self._count >= self._most:
                self._end_row()
        if self._ended and self._count >= self._least:
            self._end_row()

    def event(self, event: Event) -> None:
        """End the row at an event's end, now or soon."""
        if isinstance(event, EventEnd) and self._count:
            self._ended = True
            if self._count >= self._least:
                self._end_row()

    def left_out(self, event: Event, rule: RuleName) -> None:
        """Take the next start, or end, of an event that a rule does not let through."""
        self._store.record(LeftOut(event, rule))

    def retuned(self, at_s: float) -> None:
        """End the row, since the next one has another setup; record that."""
        try:
            self.interrupted(at_s)
        finally:  # what follows needs it, also where the row is lost
            self._record_setup(round(at_s, DECIMALS))

    def interrupted(self, _: float) -> None:
        """End the row: what follows is not joined to it."""
        if self._count:
            self._end_row()
        self._clear()

    def failed(self, reason: str) -> None:
        """Give up the row, and log it."""
        self._clear()
        warnings.warn("scores", f"{self._source}: {reason}; scores are lost")

    def _record_setup(self, onset: float) -> None:
        setup = Setup.of(self._session.info, self._session.settings)
        self._limits = setup.limits()
        self._store.record(SourceSetup(self._source, setup, onset))

    def _end_row(self) -> None:
        parts, onset, time = self._parts, self._onset, self._time
        self._clear()
        step_s = self._session.info.step_s
        self._store.record_scores(ScoreRow(self._source, onset, step_s, time, np.concatenate(parts), self._limits))

    def _clear(self) -> None:
        self._parts: list[FloatArray] = []
        self._count = 0
        self._onset = 0.0
        self._ended = False
        """Whether an event has ended in the row."""
