"""Scores of days as they are stored, one row after the other: as codes, of the classes that were heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.in_force import InForce, SetupsInForce
from htsat_edge.runtime.store.runs import LONGEST_ROW_S
from htsat_edge.runtime.store.score_codes import ScoreCodes, unpack


class RowPlace(NamedTuple):
    """Where a row of scores is, in the database and in time."""

    id: int
    session: int
    onset: float
    """In seconds since the source began."""
    at: float
    steps: int


class CodedRow(NamedTuple):
    """Scores of a source, of a minute at most and without a gap."""

    place: RowPlace
    in_force: InForce
    timed: bool
    """Whether the time of day was known."""
    scores: ScoreCodes


def read_places(database: StoreConnection, source: str, from_at: float, to_at: float) -> list[RowPlace]:
    """Return where the rows are that overlap a span; in the order of sessions, and of time in each."""
    rows = database.execute(
        "SELECT id, session, onset, at, steps FROM scores "
        'WHERE source = ? AND at < ? AND at > ? AND at + ("offset" - onset) > ? ORDER BY session, onset',
        (source, to_at, from_at - LONGEST_ROW_S, from_at),
    )
    return [RowPlace(*row) for row in rows.fetchall()]


def read_coded(database: StoreConnection, places: Sequence[RowPlace], setups: SetupsInForce) -> Iterator[CodedRow]:
    """Yield rows; those are left out that were deleted meanwhile.

    Raises
    ------
    ValueError, zlib.error
        What is stored cannot be.
    """
    for place in places:
        row = database.execute("SELECT codes, time FROM scores WHERE id = ?", (place.id,)).fetchone()
        if row is not None:
            in_force = setups.find(place.session, place.onset)
            scores = unpack(row[0], place.steps, len(in_force.setup.labels))
            yield CodedRow(place, in_force, row[1] is not None, scores)
