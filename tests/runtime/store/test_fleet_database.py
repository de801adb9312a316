"""What a collector writes, on both engines."""

from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.problems import ContentError, explained
from htsat_edge.runtime.store.records import EventFilter, StoredClip, Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

AT = 1_777_663_800.0


def lost(fleet):
    with fleet.database:
        return {device: count for device, _, count in fleet.database.fleet()}


def test_what_comes_twice_is_taken_once(fleet):
    assert fleet.take(1, 2, 2, 1, 3) == [1, 2, 3]
    assert fleet.take(2, 3, 4) == [4]
    with closing(FleetDatabase(fleet.path)) as again:  # another run of the collector
        fleet.database, before = again, fleet.database
        assert fleet.take(4, 3, 5) == [5]
        fleet.database = before
    assert lost(fleet) == {"barn": 0}


def test_what_never_comes_is_counted_until_it_does(fleet):
    assert fleet.take(1, 5) == [1, 5]
    assert lost(fleet) == {"barn": 3}
    assert fleet.take(3, 3, 7) == [3, 7]
    assert lost(fleet) == {"barn": 3}
    assert fleet.take(2, 4, 6) == [2, 4, 6]
    assert lost(fleet) == {"barn": 0}


def test_who_is_online_and_says_nothing_is_counted(fleet):
    often = '{"health_s": 20}'
    with fleet.database as database:
        for device, info, online in [("barn", often, True), ("gate", "[", True), ("yard", often, False)]:
            database.put_info(device, info, None, AT)
            database.set_online(device, online, AT)
        assert [database.count_silent(AT + after_s) for after_s in (60, 61, 301)] == [0, 1, 2]
        database.put_health("barn", "{}", AT + 250)
        assert database.count_silent(AT + 301) == 1


def test_a_new_device_begins_with_what_comes_first(fleet):
    """Nothing was there to take what it had sent before; of its later sessions all is counted."""
    assert fleet.take(40, 41) == [40, 41]
    assert fleet.take(39) == [39]
    assert fleet.take(3, uid="barn/two") == [3]
    assert fleet.take(9, uid="gate/one") == [9]
    assert lost(fleet) == {"barn": 2, "gate": 0}


def test_two_sessions_of_a_new_device_in_one_transaction(fleet):
    with fleet.database:
        for uid in ("barn/one", "barn/two"):
            assert fleet.database.take(fleet.session(uid), 5, AT)
    assert lost(fleet) == {"barn": 4}


def test_a_transaction_that_breaks_off_has_taken_nothing(fleet):
    def break_off():
        with fleet.database:
            assert fleet.database.take(fleet.session(), 1, AT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert fleet.take(1, 1) == [1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(batches=st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9)), max_size=12), max_size=5))
def test_any_sequence_with_repeats_is_taken_once(fleet, batches):
    """However it is cut into transactions; `lost` is what is missing below the highest of each session."""
    fleet.count += 1
    names, come, before = {name: f"{fleet.count}{name}" for name in "abc"}, {}, lost(fleet)
    for batch in batches:
        with fleet.database:
            for name, number in batch:
                device = names[name]
                is_new = fleet.database.take(fleet.session(f"{device}/one"), number, AT)
                _, seen = come.setdefault(device, (number, set()))
                assert is_new == (number not in seen)
                seen.add(number)
    wanted = {device: len(set(range(first, max(seen))) - seen) for device, (first, seen) in come.items()}
    assert lost(fleet) == {**before, **wanted}


def test_a_session_of_another_device_is_refused(fleet, fleet_reader):
    """And the device goes on with its own."""
    fleet.event("Dog", 1.0, 2.0, uid="barn/one")
    with pytest.raises(ContentError, match="gate: names a session of barn"), fleet.database:
        fleet.database.device_session("gate", "barn/one", AT)
    fleet.event("Dog", 3.0, 4.0, uid="gate/one")
    assert [event.device for event in fleet_reader.events(EventFilter(), 9).events] == ["gate", "barn"]


@pytest.mark.parametrize("bad", [{"id": 2**63}, {"label": "D\ud800g"}, {"onset": None}])
def test_what_cannot_be_stored_is_told_apart(fleet, bad, fleet_reader):
    """From a server that is gone: nothing of its transaction is stored, and the next is as good as any."""
    good = EventStart(source="yard", id=1, label="Dog", onset=1.0, time=None, score=0.5)

    def put():
        with explained(fleet.path), fleet.database:
            fleet.database.put_event(fleet.session(), good, AT)
            fleet.database.put_event(fleet.session(), good.model_copy(update=bad), AT)

    with pytest.raises(ContentError, match="cannot hold such a value") as caught:
        put()
    assert "\n" not in str(caught.value)
    assert fleet_reader.info().events == 0
    fleet.event("Dog", 1.0, 2.0)
    assert fleet_reader.info().events == 1


def test_clips_have_names_within_their_device(fleet, fleet_reader):
    for uid, onset in (("barn/one", 0.0), ("gate/one", 5.0), ("barn/two", 9.0)):
        fleet.put(SavedClip("yard", 1, "dog.flac", onset, onset + 3, None), at=onset, uid=uid)
    found = StoredClip(name="dog.flac", onset=5.0, offset=8.0, at=AT + 5)
    assert fleet_reader.clip("dog.flac", "gate") == found
    assert fleet_reader.clip("dog.flac", "barn").onset == 9.0
    assert fleet_reader.clip("dog.flac", "pond") is None
    fleet.put(RemovedClip("dog.flac"), uid="barn/one")
    assert fleet_reader.clip("dog.flac", "barn") is None
    assert fleet_reader.clip("dog.flac", "gate") == found


def test_what_came_before_a_device_was_deleted_does_not_bring_it_back(fleet):
    """In one transaction, as after an outage; what comes after it does."""
    with fleet.database:
        assert fleet.database.take(fleet.session(), 1, AT)
        fleet.database.forget("barn")
        assert not fleet.database.take(fleet.session(), 1, AT)
    assert lost(fleet) == {}
    with fleet.database:
        fleet.database.forget("barn")
        assert fleet.database.take(fleet.session(), 4, AT)
    assert lost(fleet) == {"barn": 2}


def test_when_the_last_message_came(fleet):
    """And not when one came again that was stored."""
    for number, at, newest in ((None, 0, None), (1, 5, 5), (1, 9, 5), (2, 7, 7)):
        if number is not None:
            fleet.take(number, at=AT + at)
        with fleet.database:
            assert fleet.database.last_at() == (None if newest is None else AT + newest)


def test_the_newest_of_two_sessions_in_one_transaction_says_when_the_last_came(fleet):
    for uid in ("barn/one", "barn/two"):
        fleet.take(1, uid=uid)
    for newest, numbers in ((5, {"barn/two": 3, "barn/one": 5}), (9, {"barn/one": 9, "barn/two": 7})):
        with fleet.database:
            for uid, at in numbers.items():
                assert fleet.database.take(fleet.session(uid), at, AT + at)
        with fleet.database:
            assert fleet.database.last_at() == AT + newest


def test_the_dates_of_others_are_known_on_both_engines(filler):
    """What the daemon's own store asks, and a collector does not."""
    filler.event("Dog", 1.0, 2.0)
    with filler.database:
        assert filler.database.newest(but=9) == AT + 3
        assert filler.database.newest(but=1) is None
        assert filler.database.adopt(AT + 10, AT + 20, AT + 15) == {1}


def test_old_events_go_but_not_what_is_locked(fleet, fleet_reader, query):
    fleet.event("Dog", 0.0, 1.0)
    fleet.gap(0.0, 1.0)
    fleet.status("listening", 0.0)
    fleet.event("Dog", 100.0, 101.0)
    fleet.event("Dog", 2.0, 3.0)
    put_verdicts(fleet.path, [Verdict(event=3, locked=True)])
    with fleet.database:
        assert not fleet.database.prune(AT + 50)
    assert [event.onset for event in fleet_reader.events(EventFilter(), 9).events] == [100.0, 2.0]
    assert query(fleet.path, "SELECT (SELECT count(*) FROM gaps), (SELECT count(*) FROM statuses)") == [(0, 0)]


def test_what_is_old_goes_in_parts(fleet, fleet_reader, monkeypatch):
    """The oldest first; none is in the way that stays, and all of one moment goes at once."""
    monkeypatch.setattr("htsat_edge.runtime.store.database.MOST_PRUNED", 2)
    for onset in (9.0, 1.0, 0.0, 3.0, 2.0, 2.0, 5.0):
        fleet.event("Dog", onset, onset + 0.5)
    put_verdicts(fleet.path, [Verdict(event=key, locked=True) for key in (2, 3)])
    left = []
    for _ in range(2):
        with fleet.database:
            is_more = fleet.database.prune(AT + 20)
        left.append((is_more, [event.onset for event in fleet_reader.events(EventFilter(), 9).events]))
    assert left == [(True, [9.0, 5.0, 1.0, 0.0]), (False, [1.0, 0.0])]
