import pytest

from htsat_edge.runtime.store.connect import StoreError
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts


@pytest.fixture
def verdicts(filler, query):
    """Stores verdicts on three events; called without any, returns what is stored."""
    for onset in range(3):
        filler.event("Dog", float(onset), onset + 0.5)

    def put(*given):
        if given:
            return put_verdicts(filler.path, given)
        return query(filler.path, "SELECT event, decision, label, note, locked FROM verdicts ORDER BY event")

    return put


WRONG = Verdict(event=1, decision="wrong", label="Föhn 🌬", note="the\nwind", locked=True)


@pytest.mark.parametrize("decision", [None, "correct"])
def test_only_what_is_wrong_is_really_something_else(decision):
    with pytest.raises(ValueError, match="label is what it really is: only where decision is wrong"):
        Verdict(event=1, decision=decision, label="Fox")


def test_they_are_stored_and_undone(verdicts):
    before, after, unknown = verdicts(WRONG, Verdict(event=2, decision="correct"))
    assert (before, after, unknown) == (
        [Verdict(event=1), Verdict(event=2)],
        [WRONG, Verdict(event=2, decision="correct")],
        [],
    )
    assert verdicts() == [(1, "wrong", "Föhn 🌬", "the\nwind", 1), (2, "correct", None, "", 0)]
    again, *_ = verdicts(Verdict(event=1, decision="correct"))
    assert again == [WRONG]
    assert verdicts()[0] == (1, "correct", None, "", 0)
    verdicts(*again)
    verdicts(*before)
    assert verdicts() == []


def test_a_character_that_no_server_holds_is_left_out(verdicts):
    verdicts(Verdict(event=1, note="the\0 wind\0"))
    assert verdicts() == [(1, None, None, "the wind", 0)]


def test_events_that_do_not_exist_are_named(verdicts):
    before, after, unknown = verdicts(Verdict(event=9, locked=True), WRONG, Verdict(event=2**52))
    assert (before, after, unknown) == ([Verdict(event=1)], [WRONG], [9, 2**52])
    assert [row[0] for row in verdicts()] == [1]


def test_of_several_on_one_event_the_last_counts(verdicts):
    """And to undo them brings back what was before all of them."""
    before, after, _ = verdicts(WRONG, Verdict(event=1, decision="correct"))
    assert (before, after) == ([Verdict(event=1)], [Verdict(event=1, decision="correct")])
    verdicts(*before)
    assert verdicts() == []


FAILS = {
    "SqliteConnection": "CREATE TRIGGER fails BEFORE INSERT ON verdicts WHEN new.event = 2 "
    "BEGIN SELECT RAISE (ABORT, 'no'); END",
    "PostgresConnection": "ALTER TABLE verdicts ADD CHECK (event != 2)",
}


def test_all_or_none(verdicts, filler):
    connection = filler.database._connection
    connection.execute(FAILS[type(connection).__name__])
    with pytest.raises(StoreError):
        verdicts(WRONG, Verdict(event=2, decision="correct"))
    assert verdicts() == []


def test_a_verdict_goes_with_its_event_unless_it_is_locked(verdicts, filler, reader, query):
    filler.clip(1, "one.flac", 0, 2)
    filler.clip(2, "two.flac", 0, 2)
    verdicts(WRONG, Verdict(event=2, decision="correct", note="not kept"))
    assert reader.locked_clips() == {"one.flac"}
    with filler.database:
        filler.database.prune(1e11)
    assert query(filler.path, "SELECT id FROM events") == [(1,)]
    assert [row[0] for row in verdicts()] == [1]
    assert reader.event(1).clip.name == "one.flac"
    assert reader.clip("two.flac") is None
    assert query(filler.path, "SELECT uid FROM sessions") == [("one",)]
    verdicts(Verdict(event=1, decision="wrong"))
    with filler.database:
        filler.database.prune(1e11)
    assert query(filler.path, "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM clips)") == [(0, 0)]
    assert verdicts() == []
