"""Batches of reports, in whatever order and however often: the store is that of a plain twin."""

import itertools
import json
from contextlib import closing
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.daemon.outputs import store_lock
from htsat_edge.runtime.fleet.reports import read_report
from htsat_edge.runtime.fleet.writer import FleetWriter, TimedReport, check_store
from htsat_edge.runtime.store.connect import open_store
from htsat_edge.runtime.store.engine import PostgresUrl
from htsat_edge.runtime.store.fleet_database import FleetDatabase
from htsat_edge.runtime.store.problems import ContentError, StoreError

NOW = 1_790_000_000.0
DEVICES = ["barn", "barn/1", "yard"]
PUBLISHED = st.lists(
    st.tuples(
        st.sampled_from(DEVICES),
        st.sampled_from(["first", "second"]),
        st.integers(1, 12),
        st.sampled_from(["start", "end", "gap", "status", "newer"]),
    ),
    max_size=60,
)


def message_of(number, kind):
    """A message of a session; the number decides what it says, so that one that comes again is the same."""
    common = {"type": kind, "source": "gate", "time": None}
    return {
        "start": {**common, "id": number, "label": "Dog", "onset": float(number), "score": 0.25},
        "end": {**common, "id": number, "label": "Dog", "onset": float(number), "offset": number + 0.5, "score": 0.5},
        "gap": {**common, "onset": float(number), "offset": number + 1.0, "reason": "unplugged"},
        "status": {**common, "state": f"state {number}"},
        "newer": common,
    }[kind]


def report_of(device, session, number, kind):
    content = {"session": f"{session} of {device}", "number": number, "message": message_of(number, kind)}
    return TimedReport(read_report(f"{device}/messages", json.dumps(content).encode()), NOW + number)


class Twin:
    """What a store must hold of messages of which each is stored when its number comes first."""

    def __init__(self):
        self.seen, self.events, self.others = set(), {}, set()

    def take(self, device, session, number, kind):
        if (device, session, number) in self.seen:
            return
        self.seen.add((device, session, number))
        match kind:
            case "start":
                self.events.setdefault((device, f"{session} of {device}", number), None)
            case "end":
                self.events[device, f"{session} of {device}", number] = number + 0.5
            case "gap" | "status":
                self.others.add((kind, device, number))


def read(place):
    with closing(open_store(place)) as connection:
        events = connection.execute(
            'SELECT device, uid, number, "offset" FROM events JOIN sessions ON sessions.id = session'
        ).fetchall()
        others = connection.execute(
            "SELECT 'gap', device, number FROM gaps JOIN sessions ON sessions.id = session UNION ALL "
            "SELECT 'status', device, number FROM statuses JOIN sessions ON sessions.id = session"
        ).fetchall()
    return SimpleNamespace(events={row[:3]: row[3] for row in map(tuple, events)}, others=sorted(map(tuple, others)))


@pytest.fixture
def fresh_place(tmp_path):
    """Names files that are not there yet."""
    count = iter(range(10**6))
    return lambda: tmp_path / f"fleet-{next(count)}.db"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(published=PUBLISHED, cuts=st.lists(st.integers(0, 60), max_size=6), again=st.booleans())
def test_any_batches_give_the_store_of_the_twin(fresh_place, published, cuts, again):
    place, twin = fresh_place(), Twin()
    reports = [report_of(*one) for one in published]
    for one in published:
        twin.take(*one)
    edges = [0, *sorted(cuts), len(reports)]
    for begin, end in itertools.pairwise(edges):
        writer = FleetWriter(place)  # as after a restart
        for _ in range(2 if again else 1):  # the broker sends again what was not confirmed
            writer.write(reports[begin:end])
        writer.close()
    FleetWriter(place).write(())
    found = read(place)
    assert found.events == twin.events
    assert found.others == sorted(twin.others)


def test_one_message_that_cannot_be_stored_takes_no_other_with_it(fleet_store, caplog):
    writer = FleetWriter(fleet_store.place)
    writer.write([report_of("barn", "first", 1, "start")])
    foreign = report_of("barn", "first", 5, "start")
    foreign = foreign._replace(report=type(foreign.report)("thief", *list(vars(foreign.report).values())[1:]))
    batch = [report_of("yard", "first", number, "start") for number in range(1, 8)]
    writer.write([*batch[:3], foreign, *batch[3:]])
    writer.write([*batch, foreign])
    writer.close()
    assert len(fleet_store.events()) == 8
    assert writer.counts == {"stored": 8, "repeated": 7, "refused": 2}
    assert "thief: a message is given up: thief: names a session of barn" in caplog.text
    assert caplog.text.count("given up") == 1


def test_a_batch_that_fails_is_all_missing_and_can_be_written_again(make_store, monkeypatch):
    store, writer = make_store(), FleetWriter(make_store().place)
    batch = [report_of("barn", "first", number, "start") for number in range(1, 4)]
    with monkeypatch.context() as patched:
        patched.setattr("htsat_edge.runtime.store.fleet_database.FleetDatabase._write_taken", fail)
        with pytest.raises(StoreError, match="server is gone"):
            writer.write(batch)
    assert store.events() == []
    assert not writer.counts
    writer.write(batch)
    writer.close()
    assert len(store.events()) == 3


def fail(_):
    raise StoreError("the server is gone")


def test_old_messages_are_deleted_and_a_session_goes_on(fleet_store):
    writer = FleetWriter(fleet_store.place)
    writer.write([report_of("barn", "first", number, "start") for number in (1, 2)])
    assert writer.newest() == NOW + 2
    writer.prune(NOW + 100)
    assert fleet_store.events() == []
    writer.write([report_of("barn", "first", 3, "start")])
    writer.close()
    assert [row[3] for row in fleet_store.events()] == [3]
    assert writer.counts["refused"] == 0


def test_a_store_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database, and longer than a header " * 10)
    for use in (FleetWriter(tmp_path / "notes.txt").open, lambda: check_store(tmp_path / "notes.txt")):
        with pytest.raises(HtsatEdgeError, match=r"^store\.path: .*was not written by htsat-edge"):
            use()


def test_a_store_that_another_process_writes_is_refused(make_store, monkeypatch):
    place = make_store().place
    monkeypatch.setattr(store_lock, "lock", lambda _: False)
    (place.parent / "fleet.db.lock").write_text("4711\n")
    for use in (FleetWriter(place).open, lambda: check_store(place)):
        with pytest.raises(NotReadyError, match="is written by another htsat-edge, process 4711; end that"):
            use()


def test_a_database_of_another_program_is_refused(postgres, tmp_path):
    url = PostgresUrl(postgres.url())
    assert "answers" in check_store(url)
    postgres.ask(url.url.rpartition("/")[2], "CREATE TABLE cows (name text)")
    for use in (FleetWriter(url).open, lambda: check_store(url)):
        with pytest.raises(HtsatEdgeError, match=r"^store\.url: .*holds tables of another program"):
            use()


def test_a_server_that_is_away_is_tried_again(free_port, caplog):
    pytest.importorskip("psycopg")
    writer = FleetWriter(PostgresUrl(f"postgresql://me:sesame@127.0.0.1:{free_port()}/fleet"))
    writer.open()
    assert "cannot be used at present" in caplog.text
    assert "it is tried again" in caplog.text
    assert "sesame" not in caplog.text


def test_a_damaged_file_says_what_to_do(make_store):
    store = make_store()
    writer = FleetWriter(store.place)
    writer.write([report_of("barn", "first", 1, "start")])
    writer.close()
    content = bytearray(store.place.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    store.place.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged .*; end this program and move the file away"):
        writer.write([report_of("barn", "first", 2, "start")])


@pytest.mark.parametrize("owner", ["yard", "barn"])
def test_what_sends_only_what_is_refused_is_no_device(fleet_store, monkeypatch, owner):
    """A message in a session of another device, or one that the database does not take."""

    def refuse(*_):
        raise ContentError("too much")

    writer = FleetWriter(fleet_store.place)
    writer.open()
    try:
        writer.write([report_of("yard", "first", 1, "start")])
        monkeypatch.setattr(FleetDatabase, "put_event", refuse)
        content = {"session": f"first of {owner}", "number": 9, "message": message_of(9, "start")}
        taken = TimedReport(read_report("barn/messages", json.dumps(content).encode()), NOW)
        writer.write([taken, TimedReport(read_report("yard/health", b'{"healthy": true}'), NOW)])
        for kind, said in {"status": b"online", "health": b"{}"}.items():
            writer.write([TimedReport(read_report(f"barn/{kind}", said), NOW)])
    finally:
        writer.release()
    assert writer.counts["refused"] == 1
    assert fleet_store.ask("SELECT device, health FROM devices") == [("yard", '{"healthy": true}')]
