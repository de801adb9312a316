import numpy as np

from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.reader import StoredLeftOut
from htsat_edge.runtime.store.records import StoredClip, StoredStatus
from htsat_edge.runtime.store.writes import RemovedClip

AT = 1_777_663_800.0


def test_a_word_for_the_present_is_no_time(filler, query):
    """No index may depend on it; SQLite would refuse the row."""
    for number, time in enumerate(("now", "12:00", "2460000.5", "1999-01-01T00:00:00Z", "2026-13-99T00:00:00")):
        with filler.database:
            session = filler.session()
            row = {"source": None, "state": "x", "time": time, "message": "{}"}
            filler.database.add_status(session, number, AT, **row)
    assert {at for (at,) in query(filler.path, "SELECT at FROM statuses")} == {AT}


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
    assert (size.free_mb is None) == isinstance(filler.path, PostgresUrl)
