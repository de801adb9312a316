"""Stores with made-up scores."""

from contextlib import ExitStack, closing
from datetime import datetime, timezone

import numpy as np
import pytest

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.score_codes import SCORES
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.writes import ScoreRow, SourceSetup

BEGIN = 1_777_593_600.0
"""2026-05-01 00:00 UTC."""
STEP_S, STEPS = 0.32, 187


def time_of(onset):
    return format_time(datetime.fromtimestamp(BEGIN + onset, timezone.utc))


class PlantedStore:
    """Writes a store whose source `yard` begins at BEGIN."""

    def __init__(self, path):
        self.path, self.count = path, 0
        self.open = ExitStack()
        self._databases = {}

    @property
    def database(self):
        """That of the present path, which stays open."""
        if self.path not in self._databases:
            self._databases[self.path] = self.open.enter_context(closing(Database(self.path)))
        return self._databases[self.path]

    def add(self, setup, codes, onset=0.0, *, setup_onset=0.0, uid="one", rows=STEPS):
        """Add codes (n, C) without a gap, and what was in force."""
        with self.database as database:
            session = database.session(uid, BEGIN + onset)
            database.put(session, SourceSetup("yard", setup, setup_onset), BEGIN + onset)
            for first in range(0, len(codes), rows):
                begin, part = onset + first * STEP_S, SCORES[codes[first : first + rows]]
                row = ScoreRow("yard", begin, STEP_S, time_of(begin), part, setup.limits())
                database.put(session, row, BEGIN + begin)

    def event(self, label, onset, offset, score=0.8, uid="one"):
        """Add an event; return its key."""
        return self.events([(label, onset, offset, score)], uid)[0]

    def events(self, events, uid="one"):
        """Add events; return their keys."""
        first = self.count + 1
        with self.database as database:
            for label, onset, offset, score in events:
                self._put(database, uid, label, onset, offset, score)
        return list(range(first, self.count + 1))

    def _put(self, database, uid, label, onset, offset, score):
        self.count += 1
        event = EventEnd(
            source="yard", id=self.count, label=label, onset=onset, offset=offset, time=time_of(onset), score=score
        )
        database.put_event(database.session(uid, BEGIN), event, BEGIN + offset)


@pytest.fixture
def planted(tmp_path):
    """Writes a new store."""
    store = PlantedStore(tmp_path / "store.db")
    with store.open:
        yield store


@pytest.fixture(scope="session")
def make_setup():
    """Makes what was in force for classes that are alike."""

    def make(labels, threshold=0.5, **changed):
        count, release = len(labels), float(str(np.float32(threshold) * np.float32(0.6)))
        values = {
            "model": "made up",
            "step_s": STEP_S,
            "labels": list(labels),
            "thresholds": [threshold] * count,
            "releases": [release] * count,
            "min_length": 1,
            "confirm": [0] * count,
            "merge_gap": 1,
        }
        return Setup(**{**values, **changed})

    return make
