"""What the reader does with databases of SQLite alone: earlier versions, a clock that is set, indexes."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, StoredGap, Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts

AT = 1_777_663_800.0


def test_a_store_of_version_1_is_read_once_it_is_migrated(v1, query):
    """Where a time is not known, or is of a clock that was never set, an event began when it was stored."""
    Database(v1).close()
    with StoreReader(v1) as reader:
        events = reader.events(EventFilter(), 10).events
        assert [(event.source, event.label, event.at) for event in events] == [
            ("yard", "Dog", AT + 3608),
            ("yard", "Bird", AT + 11),
            ("Höfe/straße 1", "Cattle, bovinae", AT + 7),
            ("yard", "Dog", AT + 6),
        ]
        assert [(source.name, source.first_at, source.last_at, source.setup) for source in reader.sources()] == [
            ("Höfe/straße 1", AT + 7, AT + 7, None),
            ("yard", AT + 6, AT + 3608, None),
        ]
        assert reader.gaps(AT, AT + 60) == [
            StoredGap(source="yard", onset=13, offset=14.5, at=AT + 13, reason="overrun")
        ]
        (status,) = reader.statuses(AT, AT + 60)
        assert (status.at, status.message) == (AT + 20, {"problem": "mains hum"})
        assert reader.score_runs("yard", AT, AT + 60) == []
        assert reader.setup("yard", AT) is None
        assert (reader.info().events, reader.info().oldest_at, reader.info().score_rows) == (4, AT + 6, 0)
    put_verdicts(v1, [Verdict(event=1, decision="correct")])
    assert query(v1, "SELECT event, decision FROM verdicts") == [(1, "correct")]


def test_the_clock_that_is_set_moves_what_was_stored(filler, reader):
    filler.setup()
    filler.event("Dog", 1.0, 2.0, timed=False)
    filler.scores(0.0, np.full((10, 3), 0.5), timed=False)
    filler.left_out("Bird", 1.0)
    filler.clip(1, "dog.flac", 0.0, 3.0)
    with filler.database:
        filler.database.redate(1, 3600.0, 1e10)
    assert reader.event(1).at == AT + 3603
    assert reader.event(1).clip.at == AT + 3600
    (run,) = reader.score_runs("yard", AT + 3600, AT + 3610)
    assert run.at == pytest.approx(AT + 3600)
    assert [row.at for row in reader.left_out("yard", AT, AT + 7200)] == [AT + 3601]
    with filler.database:
        filler.database.redate(1, 1.0, 0.0)  # that is too little to write all scores again
    assert (reader.event(1).at, reader.score_runs("yard", AT + 3600, AT + 3610)[0].at) == (AT + 3604, run.at)


QUESTIONS = {
    "page": lambda reader: reader.events(EventFilter(), 10, "5.0_1"),
    "page of a class": lambda reader: reader.events(EventFilter(labels=["Dog"]), 10),
    "page of a day and source": lambda reader: reader.events(EventFilter(from_at=1, to_at=2, sources=["a"]), 10),
    "what is wrong": lambda reader: reader.events(EventFilter(decision="wrong"), 10),
    "event": lambda reader: reader.event(1),
    "span": lambda reader: reader.events_within("yard", 0, 10),
    "figures": lambda reader: reader.figures(EventFilter(from_at=1, to_at=2)),
    "days": lambda reader: reader.days(EventFilter()),
    "sources": lambda reader: reader.sources(),
    "scores": lambda reader: reader.score_runs("yard", 0, 10),
    "gaps of a source": lambda reader: reader.gaps(0, 10, "yard"),
    "statuses": lambda reader: reader.statuses(0, 10),
    "left out": lambda reader: reader.left_out("yard", 0, 10),
    "clip": lambda reader: reader.clip("a.flac"),
    "locked clips": lambda reader: reader.locked_clips(),
    "page of a device": lambda reader: reader.events(EventFilter(devices=["a"]), 10),
    "page of a place": lambda reader: reader.events(EventFilter(places=["a"]), 10),
    "devices": lambda reader: reader.devices(100_000.0),
    "device": lambda reader: reader.device("a", 100_000.0),
    "places": lambda reader: reader.places(1, 2),
    "statuses of a device": lambda reader: reader.statuses(0, 10, device="a"),
    "clip of a device": lambda reader: reader.clip("a.flac", "a"),
    "size": lambda reader: reader.info(),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_every_question_has_an_index(ask, filler, reader):
    """None reads a table from end to end, but those of verdicts and devices, of which there are few."""
    filler.setup()
    filler.event("Dog", 1.0, 2.0)
    asked = []
    reader._database.set_trace_callback(asked.append)
    ask(reader)
    reader._database.set_trace_callback(None)
    assert asked
    with closing(sqlite3.connect(filler.path)) as database:
        plans = [row[3] for question in asked for row in database.execute(f"EXPLAIN QUERY PLAN {question}")]
    wanted = {"scores": "COVERING INDEX"}  # to read all codes would take minutes
    scans = [step for step in plans if step.startswith("SCAN ") and wanted.get(step.split()[1], "INDEX") not in step]
    assert [
        scan for scan in scans if scan.split()[1] not in ("verdicts", "names", "counted", "CONSTANT", "devices")
    ] == []
