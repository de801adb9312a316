"""What was in force for a source, and from where on: a session has another setup when its thresholds are changed."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.setup import Setup

EXACT_S = 0.001
"""Onsets are in tenths of milliseconds."""


class InForce(NamedTuple):
    """A setup, and from which second of a source on it was in force."""

    onset: float
    setup: Setup


class SetupsInForce:
    """What was in force for a source; what is asked for is read, each setup once."""

    def __init__(self, database: StoreConnection, source: str) -> None:
        """Prepare to read."""
        self._database, self._source = database, source
        self._sessions: dict[int, list[tuple[float, int]]] = {}
        """By session: where each setup begins, and its number."""
        self._setups: dict[int, Setup] = {}

    def find(self, session: int, onset: float) -> InForce:
        """Return what was in force at a second of a source, or else first after it.

        Raise a ValueError where nothing is known of the session, or what is stored cannot be.
        """
        if not (known := self._of(session)):
            raise ValueError(f"there are scores of {self._source}, but no setup")
        onset, number = known[max(0, bisect_right([begin for begin, _ in known], onset + EXACT_S) - 1)]
        return InForce(onset, self._read(number))

    def at(self, session: int, onset: float) -> Setup:
        """Return only the setup of `find`, the same object as long as it is in force."""
        return self.find(session, onset).setup

    def threshold(self, session: int, onset: float, label: str) -> float | None:
        """Return the threshold of a class at a second of a source; None where that is not known."""
        setup = self.at(session, onset) if self._of(session) else None
        return None if setup is None or label not in setup.labels else setup.thresholds[setup.labels.index(label)]

    def first(self, session: int) -> Setup | None:
        """Return the first of a session, whose classes all others have; None where there is none."""
        known = self._of(session)
        return self._read(known[0][1]) if known else None

    def _of(self, session: int) -> list[tuple[float, int]]:
        if session not in self._sessions:
            rows = self._database.execute(
                "SELECT onset, setup FROM in_force WHERE session = ? AND source = ? ORDER BY onset",
                (session, self._source),
            )
            self._sessions[session] = rows.fetchall()
        return self._sessions[session]

    def _read(self, number: int) -> Setup:
        if number not in self._setups:
            (text,) = self._database.execute("SELECT setup FROM setups WHERE id = ?", (number,)).fetchone()
            self._setups[number] = Setup.model_validate_json(text)
        return self._setups[number]


def read_setup(database: StoreConnection, source: str, at: float) -> Setup | None:
    """Return what was in force for a source at a time, or else first after it; None where that is not known."""
    row = database.execute(
        "SELECT session FROM in_force JOIN sessions ON sessions.id = session WHERE source = ? "
        "ORDER BY started_at <= ? DESC, abs(started_at - ?) LIMIT 1",
        (source, at, at),
    ).fetchone()
    if row is None:
        return None
    return SetupsInForce(database, source).at(row[0], _position(database, row[0], source, at))


def _position(database: StoreConnection, session: int, source: str, at: float) -> float:
    """Return which second of a source a time was, by the nearest of what is stored; infinity where nothing is."""
    found = [
        database.execute(
            f"SELECT session, at, onset FROM {table} WHERE source = ? AND at {which} LIMIT 1", (source, at)
        ).fetchone()
        for which in ("<= ? ORDER BY at DESC", "> ? ORDER BY at")
        for table in ("scores", "events")
    ]
    known = [row for row in found if row is not None and row[0] == session]
    if not known:
        return float("inf")
    _, known_at, onset = min(known, key=lambda row: abs(row[1] - at))
    return float(onset + at - known_at)
