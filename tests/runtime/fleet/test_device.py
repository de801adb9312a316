"""A real daemon that hears a recording, and a collector: the fleet's store has what the device's own has."""

import json
import threading
from contextlib import closing

from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.store.connect import open_store

EVENTS = 'SELECT uid, source, events.number, label, onset, "offset", time, score FROM events {} ORDER BY source, number'
TABLES = {
    "events": EVENTS.format("JOIN sessions ON sessions.id = session"),
    "gaps": 'SELECT source, onset, "offset", time, reason FROM gaps ORDER BY number',
    "clips": 'SELECT source, number, name, onset, "offset", time FROM clips ORDER BY source, number',
}


def test_the_fleet_has_what_the_device_has(make_store, collect, broker, farmyard, tmp_path, wait_for):
    store, own = make_store(), tmp_path / "events.db"
    collect(store)
    outputs = {
        "stdout": False,
        "store": {"path": own},
        "clips": {"folder": tmp_path / "clips"},
        "mqtt": {"host": "127.0.0.1", "port": broker.port, "topic": "htsat-edge/yard", "place": "Barn"},
    }
    config = DaemonConfig.model_validate({"sources": [{"name": "gate", "file": farmyard}], "outputs": outputs})
    daemon = Daemon(assemble(config), Notifier())
    thread = threading.Thread(target=daemon.run, daemon=True)
    thread.start()
    thread.join(300)
    assert not thread.is_alive()
    with closing(open_store(own)) as connection:
        theirs = {table: connection.execute(statement).fetchall() for table, statement in TABLES.items()}
        states = connection.execute("SELECT message FROM statuses ORDER BY number").fetchall()
    assert len(theirs["events"]) >= 5
    assert theirs["clips"]
    wait_for(lambda: {table: store.ask(statement) for table, statement in TABLES.items()} == theirs)
    wait_for(
        lambda: store.ask("SELECT device, place, lost, online FROM devices") == [("htsat-edge/yard", "Barn", 0, 0)]
    )
    got = [json.loads(message) for (message,) in store.ask("SELECT message FROM statuses ORDER BY number")]
    assert got == [json.loads(message) for (message,) in states]
    ((info, health),) = store.ask("SELECT info, health FROM devices")
    assert json.loads(info)["session"] == theirs["events"][0][0]
    assert json.loads(health)["sources"][0]["name"] == "gate"
