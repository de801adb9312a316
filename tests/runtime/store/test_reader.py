import sqlite3
from contextlib import closing

import numpy as np
import pytest

from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.reader import StoredLeftOut, StoreReader
from htsat_edge.runtime.store.records import EventFilter, StoredClip, StoredGap, StoredStatus, Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import RemovedClip

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


def test_a_word_for_the_present_is_no_time(filler, query):
    """No index may depend on it; SQLite would refuse the row."""
    for number, time in enumerate(("now", "12:00", "2460000.5", "1999-01-01T00:00:00Z", "2026-13-99T00:00:00")):
        with filler.database:
            session = filler.session()
            row = {"source": None, "state": "x", "time": time, "message": "{}"}
            filler.database.add_status(session, number, AT, **row)
    assert {at for (at,) in query(filler.path, "SELECT at FROM statuses")} == {AT}


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


def test_sources(filler, reader):
    assert reader.sources() == []
    filler.setup(source="new")
    filler.event("Dog", 5.0, 6.0)
    filler.gap(50.0, 60.0, source="lost")
    filler.setup()
    filler.scores(1.0, np.full((10, 3), 0.5))
    found = [(source.name, source.first_at, source.last_at, source.setup is None) for source in reader.sources()]
    assert found == [
        ("lost", AT + 50, AT + 50, True),
        ("new", None, None, False),
        ("yard", AT + 1, AT + 5, False),
    ]


def test_gaps_that_overlap_a_span(filler, reader):
    """One without a length is an interruption."""
    for onset, offset, source in ((0, 10, "yard"), (20, 20, "yard"), (15, 30, "pond"), (40, 50, "yard")):
        filler.gap(onset, offset, source=source)

    def onsets(*span, **more):
        return [gap.onset for gap in reader.gaps(AT + span[0], AT + span[1], **more)]

    assert onsets(0, 100) == [40, 20, 15, 0]
    assert onsets(5, 20) == [15, 0]
    assert onsets(20, 40) == [20, 15]
    assert onsets(0, 100, source="yard", limit=2) == [40, 20]


def test_statuses(filler, reader):
    for onset, state in enumerate(("listening", "input_fault", "coverage", "input_ok")):
        filler.status(state, float(onset), source="pond" if state == "coverage" else "yard")
    wanted = StoredStatus(source="yard", state="input_fault", at=AT + 1, message={"state": "input_fault"})
    assert reader.statuses(AT, AT + 10, states=["input_fault"]) == [wanted]
    assert [status.state for status in reader.statuses(AT, AT + 3)] == ["coverage", "input_fault", "listening"]
    assert [status.state for status in reader.statuses(AT, AT + 9, source="pond")] == ["coverage"]
    assert [status.state for status in reader.statuses(AT, AT + 9, limit=1)] == ["input_ok"]
    assert reader.statuses(AT, AT + 9, states=[]) == []


def test_left_out(filler, reader):
    for onset in (1.0, 5.0, 5.0):
        filler.left_out("Bird", onset, rule="cooldown")
    filler.left_out("Bird", 5.0, source="pond")
    found = reader.left_out("yard", AT + 2, AT + 6)
    assert found[0] == StoredLeftOut(1, "yard", 2, "Bird", 5.0, AT + 5, 0.7, "cooldown")
    assert [row.id for row in found] == [2, 3]


def test_clips_come_and_go(filler, reader):
    key = filler.event("Dog", 1.0, 2.0)
    filler.clip(key, "dog.flac", 0.0, 3.0)
    filler.clip(key, "dog.flac", 0.0, 3.0)
    assert reader.clip("dog.flac") == StoredClip(name="dog.flac", onset=0, offset=3, at=AT)
    assert reader.event(key).clip == reader.clip("dog.flac")
    filler.put(RemovedClip("dog.flac"), RemovedClip("never there.flac"))
    assert reader.clip("dog.flac") is None
    assert reader.event(key).clip is None


def test_size(filler, reader):
    filler.setup()
    filler.scores(0.0, np.full((10, 3), 0.5))
    filler.event("Dog", 5.0, 6.0)
    size = reader.info()
    assert (size.path, size.events, size.score_rows, size.oldest_at) == (str(filler.path), 1, 1, AT + 5)
    assert 0.0002 < size.score_mb < 0.0003
    assert size.size_mb > 0.1
    assert size.free_mb > 0


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
    "size": lambda reader: reader.info(),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_every_question_has_an_index(ask, filler, reader):
    """None reads a table from end to end, but that of verdicts, of which there are few, and that of sessions."""
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
    assert [scan for scan in scans if scan.split()[1] not in ("verdicts", "names", "CONSTANT")] == []
