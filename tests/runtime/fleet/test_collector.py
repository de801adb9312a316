"""A collector at a real broker, with a real database: whatever ends or comes back, nothing is lost, nothing twice."""

import json
import re
import sqlite3
import threading
from contextlib import suppress

import pytest

from htsat_edge.runtime.fleet.collector import FleetCollector
from htsat_edge.runtime.fleet.config import CollectorConfig
from htsat_edge.runtime.store.problems import StoreError

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves sockets open
COLLECTOR = "htsat_edge.runtime.fleet.collector"
KEYS = "htsat-edge/yard", "a" * 32, "gate"


def starts(count):
    return [(*KEYS, i + 1, "Dog", None) for i in range(count)]


def test_everything_that_a_device_publishes_is_stored(fleet_store, make_device, collect, wait_for, start_of):
    device = make_device()
    device.say("status", "online", retain=True)
    device.introduce()
    collect(fleet_store)
    device.say("health", {"type": "device", "healthy": True})
    device.send(start_of(1))
    device.send({**start_of(1), "type": "end", "offset": 2.5, "score": 0.75})
    device.send({"type": "gap", "source": "gate", "onset": 3, "offset": 4, "time": None, "reason": "unplugged"})
    status = {"type": "status", "source": None, "state": "clock_set", "time": None, "by_s": 2.5}
    device.send(status)
    clip = {"source": "gate", "number": 1, "name": "gate-1.flac", "onset": 0.0, "offset": 3.5, "time": None}
    device.send({"type": "clip_saved", **clip})
    device.send({"type": "what a newer version says"})
    wait_for(lambda: fleet_store.ask("SELECT last_number FROM sessions") == [(6,)])
    assert fleet_store.events() == [(*KEYS, 1, "Dog", 2.5)]
    assert fleet_store.ask('SELECT source, onset, "offset", reason FROM gaps') == [("gate", 3, 4, "unplugged")]
    ((number, state, message),) = fleet_store.ask("SELECT number, state, message FROM statuses")
    assert (number, state, json.loads(message)) == (4, "clock_set", status)
    assert fleet_store.ask("SELECT source, number, name FROM clips") == [("gate", 1, "gate-1.flac")]
    ((topic, place, info, health, online, lost),) = fleet_store.ask(
        "SELECT device, place, info, health, online, lost FROM devices"
    )
    assert (topic, place, online, lost) == ("htsat-edge/yard", "Barn", 1, 0)
    assert json.loads(info)["session"] == "a" * 32
    assert json.loads(health)["healthy"] is True
    ((started_at,),) = fleet_store.ask("SELECT started_at FROM sessions")
    assert started_at == 1795773600  # as the device says, and not when its first message came
    device.send({"type": "clip_removed", "name": "gate-1.flac"})
    device.say("status", "offline", retain=True)
    wait_for(lambda: fleet_store.ask("SELECT online FROM devices") == [(0,)])
    assert fleet_store.ask("SELECT name FROM clips") == []


def test_a_source_and_a_status_alone_are_no_device(make_store, make_device, collect, wait_for):
    store, device = make_store(), make_device("htsat-edge")
    device.say("status", "online", topic="htsat-edge/yard", retain=True)
    device.say("health", {}, topic="htsat-edge/yard")
    collect(store)
    device.introduce()
    device.send_starts(1)
    wait_for(store.events)
    assert store.ask("SELECT device FROM devices") == [("htsat-edge",)]
    late = make_device()  # which has said before that it is there
    late.introduce(place=None)
    wait_for(lambda: store.ask("SELECT place, online FROM devices WHERE device = 'htsat-edge/yard'") == [(None, 1)])


def test_a_device_whose_info_is_deleted_is_forgotten(make_store, make_device, collect, wait_for):
    store, device = make_store(), make_device()
    collect(store)
    device.introduce()
    device.send_starts(1)
    wait_for(store.events)
    device.say("info", "", retain=True)
    wait_for(lambda: store.ask("SELECT device FROM devices") == [])
    assert store.events() == starts(1)
    device.introduce()
    wait_for(lambda: store.ask("SELECT device FROM devices") == [("htsat-edge/yard",)])


def test_what_comes_while_the_collector_is_away_and_the_broker_is_restarted(
    fleet_store, make_device, collect, wait_for, broker
):
    first = collect(fleet_store)
    make_device().introduce()
    wait_for(lambda: fleet_store.ask("SELECT device FROM devices"))
    first.stop()
    device = make_device()
    device.send_starts(50)
    broker.stop()
    broker.start()
    wait_for(device.is_connected)
    device.send_starts(50, first=51)
    collect(fleet_store)
    wait_for(lambda: len(fleet_store.events()) == 100)
    assert fleet_store.events() == starts(100)
    assert fleet_store.ask("SELECT lost FROM devices") == [(0,)]


def test_a_database_that_dies_and_comes_back(make_store, make_device, collect, wait_for, postgres, caplog):
    store, device = make_store("postgresql"), make_device()
    collect(store)
    device.send_starts(10)
    wait_for(lambda: len(store.events()) == 10)
    postgres.stop()
    device.send_starts(200, first=11)
    wait_for(lambda: "and the broker keeps what comes meanwhile" in caplog.text)
    postgres.start()
    wait_for(lambda: len(store.events()) == 210)
    wait_for(lambda: "the store can be written again" in caplog.text)
    assert store.events() == starts(210)
    assert postgres.password not in caplog.text


@pytest.fixture
def locked(make_store):
    """A store, and a connection that keeps others from writing to it."""
    store = make_store()
    connection = sqlite3.connect(store.place, isolation_level=None)
    yield store, connection
    connection.close()


def test_nothing_is_confirmed_before_it_is_on_the_disk(locked, make_device, collect, wait_for, monkeypatch, caplog):
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)
    (store, connection), device = locked, make_device()
    first = collect(store)
    connection.execute("BEGIN IMMEDIATE")
    device.send_starts(10)
    wait_for(lambda: "is locked by another program" in caplog.text)
    first.stop()  # with all ten in its memory
    connection.execute("ROLLBACK")
    assert store.events() == []
    collect(store)
    wait_for(lambda: store.events() == starts(10))


def test_more_than_it_keeps_in_memory_stays_with_the_broker(
    locked, make_device, collect, wait_for, monkeypatch, caplog
):
    monkeypatch.setattr("htsat_edge.runtime.store.database.BUSY_S", 0.05)
    for name, value in {"MOST_WAITING": 5, "PATIENCE_S": 0.1, "MOST_BATCH": 3, "TURN_S": 0.05}.items():
        monkeypatch.setattr(f"{COLLECTOR}.{name}", value)
    (store, connection), device = locked, make_device()
    running = collect(store)
    connection.execute("BEGIN IMMEDIATE")
    device.send_starts(100)
    wait_for(lambda: running.collector._overflowed)
    connection.execute("ROLLBACK")
    wait_for(lambda: len(store.events()) == 100)
    assert store.events() == starts(100)


def test_what_is_no_message_is_left_out_and_counted(make_store, make_device, collect, wait_for, caplog, monkeypatch):
    monkeypatch.setattr(f"{COLLECTOR}.LINE_S", 0.2)
    store, device, other = make_store(), make_device(), make_device("htsat-edge/gate", "b" * 32)
    collect(store)
    device.send_starts(1)
    other.send_starts(1)
    wait_for(lambda: len(store.events()) == 2)
    for content in ("{", b"\xff", "[]", "[" * 70_000, b"\0", {"session": "a" * 32, "number": 2}):
        device.say("messages", content)
    other.session = device.session
    other.send_starts(1, first=9)  # as another device
    device.send_starts(1, first=2)
    wait_for(lambda: len(store.events()) == 3)
    assert "htsat-edge/yard/messages: cannot be read: EOF" in caplog.text
    assert "htsat-edge/gate: a message is given up: htsat-edge/gate: names a session of htsat-edge/yard" in caplog.text
    wait_for(lambda: "2 devices, 0 online; in the last minute" in caplog.text)
    wait_for(lambda: sum(int(line.split(" left out")[0].split()[-1]) for line in lines(caplog)) == 7)


def test_a_device_that_says_nothing_is_not_online(make_store, make_device, collect, wait_for, caplog, monkeypatch):
    monkeypatch.setattr(f"{COLLECTOR}.LINE_S", 0.2)
    device = make_device()
    collect(make_store())
    device.introduce()
    device.say("status", "online", retain=True)
    wait_for(lambda: "1 device, 1 online; in the last minute" in caplog.text)
    monkeypatch.setattr("htsat_edge.runtime.store.fleet.SILENT_S", -1.0)
    wait_for(lambda: "1 device, 0 online, 1 silent; in the last minute" in caplog.text)


def lines(caplog):
    return [record.getMessage() for record in caplog.records if "in the last minute" in record.getMessage()]


def test_messages_that_never_came_are_counted(
    make_store, make_device, collect, wait_for, caplog, monkeypatch, start_of
):
    monkeypatch.setattr(f"{COLLECTOR}.LINE_S", 0.2)
    store, device = make_store(), make_device()
    collect(store)
    device.send(start_of(1), number=1)
    wait_for(lambda: lines(caplog))
    device.send(start_of(2), number=5)
    device.send(start_of(3), number=3)  # which was late
    device.send(start_of(3), number=3)
    wait_for(lambda: store.ask("SELECT lost FROM devices") == [(2,)])
    # A line between the two says 3, and then there is none of 2, which are no more.
    wait_for(lambda: re.search("htsat-edge/yard: ([23]) messages never came, \\1 in all", caplog.text))
    assert store.events() == starts(3)


def test_two_collectors_with_one_name_say_so(make_store, collect, wait_for, caplog, tmp_path, monkeypatch):
    monkeypatch.setattr(f"{COLLECTOR}.FIGHT", 3)
    store = make_store()
    collect(store)
    store.section["path"] = str(tmp_path / "other.db")
    collect(store)
    wait_for(lambda: "does another collector run with client_id: htsat-edge-collect?" in caplog.text)


def test_a_broker_that_forgets_the_collector_is_reported(make_store, collect, wait_for, broker, caplog, tmp_path):
    collect(make_store())
    broker.kill()
    (tmp_path / "mosquitto.db").unlink()
    broker.start()
    wait_for(lambda: "the broker has forgotten this collector" in caplog.text)


def test_each_loss_of_the_broker_is_said_and_no_other(make_store, collect, wait_for, broker, caplog, monkeypatch):
    lost = "it is tried again"
    monkeypatch.setattr(f"{COLLECTOR}.AWAY_S", 0.2)
    collector = collect(make_store()).collector
    wait_for(lambda: collector.link.connected)
    for losses in (1, 2):
        broker.kill()
        wait_for(lambda: not collector.link.connected)
        wait_for(lambda wanted=losses: caplog.text.count(lost) == wanted)
        broker.start()
        wait_for(lambda: collector.link.connected)


def test_the_time_before_it_runs_is_no_loss(make_store, broker, caplog):
    """The page is made ready meanwhile, which takes a while on a small device."""
    store, stop = make_store(), threading.Event()
    config = {"broker": {"host": "127.0.0.1", "port": broker.port}, "store": store.section}
    collector = FleetCollector(CollectorConfig.model_validate(config), stop)
    collector.open()
    collector._connected_s -= 3600
    turn = collector.turn

    def turn_once():
        stop.set()
        turn()

    collector.turn = turn_once
    collector.run()
    assert "tried again" not in caplog.text


def test_a_subscription_of_an_earlier_file_is_left_out(make_store, make_device, collect, wait_for, caplog):
    store = make_store()
    collect(store, topics=["attic/+"]).stop()
    collect(store)
    make_device("attic/yard").send_starts(1)
    make_device().send_starts(1)
    wait_for(store.events)
    assert store.events() == starts(1)
    assert "attic/yard/messages: is none of broker.topics" in caplog.text


def test_a_file_that_is_deleted_is_begun_again(make_store, make_device, collect, wait_for, caplog):
    store, device = make_store(), make_device()
    collect(store)
    device.introduce()
    device.say("status", "online", retain=True)
    device.send_starts(1)
    wait_for(store.events)
    store.place.unlink()
    device.send_starts(1, first=2)

    def is_begun_again():
        with suppress(StoreError):  # it is missing, or half made
            return store.events()

    wait_for(is_begun_again)
    assert [row[3] for row in store.events()] == [2]
    assert "was deleted or replaced" in caplog.text
    wait_for(lambda: store.ask("SELECT place, online FROM devices") == [("Barn", 1)])  # which are retained


def test_a_store_that_is_away_is_not_said_to_be_back(tmp_path, monkeypatch, broker, caplog):
    for name, value in {"TURN_S": 0.01, "LINE_S": 0.0}.items():
        monkeypatch.setattr(f"{COLLECTOR}.{name}", value)
    monkeypatch.setattr("htsat_edge.runtime.daemon.supervision.FIRST_PAUSE_S", 0.01)
    folder = tmp_path / "store"
    config = {"broker": {"host": "127.0.0.1", "port": broker.port}, "store": {"path": str(folder / "fleet.db")}}
    collector = FleetCollector(CollectorConfig.model_validate(config), threading.Event())
    collector.open()
    collector._client.start()
    try:
        collector.turn()
        folder.rename(tmp_path / "away")
        collector.turn()
        monkeypatch.setattr(f"{COLLECTOR}.LINE_S", 3600.0)
        assert "the broker keeps what comes meanwhile" in caplog.text
        for _ in range(3):
            collector.turn()  # which need nothing of the store
        assert "the store can be written again" not in caplog.text
        (tmp_path / "away").rename(folder)
        collector._line_s = 0.0
        collector.turn()
        assert "the store can be written again" in caplog.text
    finally:
        collector._client.stop()
        collector._writer.release()
