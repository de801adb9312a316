"""Write what people say of events: all that is written to the store beside the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing

from htsat_edge.runtime.store.connect import open_store
from htsat_edge.runtime.store.engine import StoreConnection, StorePlace
from htsat_edge.runtime.store.problems import explained
from htsat_edge.runtime.store.records import Verdict


def put_verdicts(place: StorePlace, verdicts: Iterable[Verdict]) -> tuple[list[Verdict], list[Verdict], list[int]]:
    """Store verdicts, each in place of the event's present one, all or none; of several of one event the last counts.

    Parameters
    ----------
    place
        The store.
    verdicts
        What is said now; one with nothing but `event` takes back what was said.

    Returns
    -------
    The verdicts before, which undo this when they are stored; those now; and the keys of events that do not exist.

    Raises
    ------
    StoreError
        The store is missing, locked, damaged, read-only, or not of the present version.
    """
    wanted = {verdict.event: verdict for verdict in verdicts}
    with closing(open_store(place, to_write=True)) as database, explained(place):
        database.begin()
        try:
            there = {key for key in wanted if _exists(database, key)}
            before = [_verdict_of(database, key) for key in wanted if key in there]
            after = [verdict for key, verdict in wanted.items() if key in there]
            for verdict in after:
                _put(database, verdict)
            database.commit()
        finally:
            database.roll_back()
    return before, after, [key for key in wanted if key not in there]


def _exists(database: StoreConnection, key: int) -> bool:
    return database.execute("SELECT 1 FROM events WHERE id = ?", (key,)).fetchone() is not None


def _verdict_of(database: StoreConnection, key: int) -> Verdict:
    row = database.execute("SELECT decision, label, note, locked FROM verdicts WHERE event = ?", (key,)).fetchone()
    if row is None:
        return Verdict(event=key)
    decision, label, note, locked = row
    return Verdict(event=key, decision=decision, label=label, note=note, locked=bool(locked))


def _put(database: StoreConnection, verdict: Verdict) -> None:
    if verdict == Verdict(event=verdict.event):
        database.execute("DELETE FROM verdicts WHERE event = ?", (verdict.event,))
        return
    database.execute(
        "INSERT INTO verdicts (event, decision, label, note, locked, decided_at) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (event) DO UPDATE SET decision = excluded.decision, label = excluded.label, note = excluded.note, "
        "locked = excluded.locked, decided_at = excluded.decided_at",
        (verdict.event, verdict.decision, verdict.label, verdict.note, int(verdict.locked), time.time()),
    )
