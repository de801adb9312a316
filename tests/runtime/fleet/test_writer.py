"""Batches of reports, in whatever order and however often: the store is that of a plain twin."""

import itertools
import json
from contextlib import closing, suppress
from datetime import datetime, timezone
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.fleet.reports import ReportError, read_report
from htsat_edge.runtime.fleet.writer import DAY_S, FleetWriter, TimedReport
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
        "clip_saved": {**common, "number": number, "name": f"{number}.flac", "onset": float(number), "offset": 9.5},
        "newer": common,
    }[kind]


def read_message(device, session, number, message):
    content = {"session": session, "number": number, "message": message}
    return read_report(f"{device}/messages", json.dumps(content).encode())


def report_of(device, session, number, kind):
    return TimedReport(read_message(device, f"{session} of {device}", number, message_of(number, kind)), NOW + number)


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
                self.others.add((kind, device, f"{session} of {device}", number))


def read(place):
    with closing(open_store(place)) as connection:
        events = connection.execute(
            'SELECT device, uid, number, "offset" FROM events JOIN sessions ON sessions.id = session'
        ).fetchall()
        others = connection.execute(
            "SELECT 'gap', device, uid, number FROM gaps JOIN sessions ON sessions.id = session UNION ALL "
            "SELECT 'status', device, uid, number FROM statuses JOIN sessions ON sessions.id = session"
        ).fetchall()
    return SimpleNamespace(events={row[:3]: row[3] for row in map(tuple, events)}, others=sorted(map(tuple, others)))


@pytest.fixture
def fresh_place(tmp_path):
    """Names files that are not there yet."""
    count = iter(range(10**6))
    return lambda: tmp_path / f"fleet-{next(count)}.db"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(published=PUBLISHED, cuts=st.lists(st.integers(0, 60), max_size=6), again=st.booleans())
@example(published=[("barn", "first", 1, "gap"), ("barn", "second", 1, "gap")], cuts=[], again=False)
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
    writer.prune(NOW + 100, keep_days=0)
    assert fleet_store.events() == []
    writer.write([report_of("barn", "first", 3, "start")])
    writer.close()
    assert [row[3] for row in fleet_store.events()] == [3]
    assert writer.counts["refused"] == 0


def test_what_came_before_the_clock_was_set_is_kept(fleet_store):
    writer = FleetWriter(fleet_store.place)
    for number, at in ((1, 5_000.0), (2, NOW), (3, NOW + 5 * DAY_S)):
        writer.write([report_of("barn", "first", number, "start")._replace(at=at)])
    writer.prune(NOW, keep_days=365)
    writer.close()
    assert [row[3] for row in fleet_store.events()] == [1, 2, 3]
    assert fleet_store.ask("SELECT max(stored_at), min(stored_at) FROM events") == [(NOW, NOW)]


def test_what_a_server_that_was_restarted_has_cut_is_made_again(make_store, postgres):
    writer = FleetWriter(make_store("postgresql").place)
    writer.write([report_of("barn", "first", 1, "start")])
    for use in (writer.devices, writer.newest, lambda: writer.prune(NOW, 365)):
        postgres.stop()
        postgres.start()
        with pytest.raises(StoreError):
            use()
        use()
    writer.close()


def test_what_devices_have_said_is_asked_for_where_a_database_is_made_anew(make_store, postgres):
    store = make_store("postgresql")
    name = store.place.url.rpartition("/")[2]
    with closing(FleetWriter(store.place)) as writer:
        writer.write([report_of("barn", "first", 1, "start")])
        assert not writer.has_reopened
        postgres.ask("postgres", f"DROP DATABASE {name} WITH (FORCE)")
        postgres.ask("postgres", f"CREATE DATABASE {name}")
        with pytest.raises(StoreError):
            writer.devices()
        assert writer.devices() == []
        assert writer.has_reopened


def test_a_server_that_is_away_is_tried_again(free_port, caplog):
    pytest.importorskip("psycopg")
    writer = FleetWriter(PostgresUrl(f"postgresql://me:sesame@127.0.0.1:{free_port()}/fleet"))
    writer.open()
    assert "cannot be used at present" in caplog.text
    assert "it is tried again" in caplog.text
    assert "sesame" not in caplog.text


def test_a_damaged_file_says_what_to_do(make_store, caplog):
    store = make_store()
    writer = FleetWriter(store.place)
    writer.write([report_of("barn", "first", 1, "start")])
    writer.close()
    caplog.clear()
    content = bytearray(store.place.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    store.place.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged .*; end this program and move the file away"):
        writer.write([report_of("barn", "first", 2, "start")])
    writer.open()
    writer.release()
    assert "is damaged" in caplog.text
    assert "listen" not in caplog.text


def test_the_longest_texts_that_are_read_can_be_stored(fleet_store):
    """And be searched by: an index of PostgreSQL has little room."""

    def longest(report):
        for count in (1000, 500, 255, 200, 100):
            with suppress(ReportError):
                return report("".join(map(chr, random.choices(range(0x20000, 0x2A000), k=count))))
        raise AssertionError

    random, numbers = Random(0), itertools.count(1)

    def with_text(key, kind):
        number = next(numbers)
        return longest(lambda text: read_message("barn", "first", number, message_of(number, kind) | {key: text}))

    reports = [
        with_text("label", "start"),
        with_text("source", "start"),
        with_text("source", "gap"),
        with_text("state", "status"),
        with_text("name", "clip_saved"),
        longest(lambda topic: read_message(topic, "second", 1, message_of(1, "start"))),
        longest(lambda uid: read_message("yard", uid, 1, message_of(1, "start"))),
    ]
    writer = FleetWriter(fleet_store.place)
    writer.write([TimedReport(report, NOW) for report in reports])
    writer.close()
    assert writer.counts == {"stored": len(reports)}


@pytest.mark.parametrize(
    ("ahead_s", "counts_as"), [(43_200, 43_200), (3 * DAY_S, 0), (200_000_000_000, 0)], ids=["zone", "ahead", "far"]
)
def test_a_clock_that_is_ahead_heads_no_list(make_store, ahead_s, counts_as):
    store = make_store()
    when = datetime.fromtimestamp(NOW + ahead_s, timezone.utc).isoformat()
    writer = FleetWriter(store.place)
    for number, kind in enumerate(("start", "gap", "status", "clip_saved"), start=1):
        message = message_of(number, kind) | {"time": when}
        writer.write([TimedReport(read_message("barn", "first", number, message), NOW)])
    writer.close()
    for table in ("events", "gaps", "statuses", "clips"):
        assert store.ask(f"SELECT time FROM {table}") == [(when if counts_as else None,)], table
    assert store.ask("SELECT at FROM events") == [(NOW + counts_as,)]


def test_a_collector_whose_own_clock_is_not_set_believes_devices(make_store):
    store, when = make_store(), "2026-11-28T10:00:00+00:00"
    writer = FleetWriter(store.place)
    report = read_message("barn", "first", 1, message_of(1, "start") | {"time": when})
    writer.write([TimedReport(report, 1_000.0)])
    writer.close()
    assert store.ask("SELECT time FROM events") == [(when,)]


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
