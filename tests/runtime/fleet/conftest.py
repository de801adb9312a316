"""Stores of both engines, devices that publish, and collectors in threads."""

import itertools
import json
import threading
from contextlib import closing

import pytest

from htsat_edge.runtime.fleet.collector import FleetCollector
from htsat_edge.runtime.fleet.config import CollectorConfig
from htsat_edge.runtime.store.connect import open_store

COLLECTOR = "htsat_edge.runtime.fleet.collector"


class FleetStore:
    """Where a collector's store is, as its configuration has it, and what is in it."""

    def __init__(self, section):
        self.section = section
        self.place = CollectorConfig.model_validate({"broker": {"host": "x"}, "store": section}).store.place()

    def ask(self, statement):
        with closing(open_store(self.place)) as connection:
            return connection.execute(statement).fetchall()

    def events(self):
        """Device, session, source, id, label and offset of each."""
        return self.ask(
            'SELECT device, uid, source, number, label, "offset" FROM events JOIN sessions ON sessions.id = session '
            "ORDER BY device, uid, source, number"
        )


@pytest.fixture
def make_store(tmp_path, request):
    """Makes the store of a collector."""

    def make(engine="sqlite"):
        if engine == "sqlite":
            return FleetStore({"path": str(tmp_path / "fleet.db")})
        secret = tmp_path / "url"
        secret.write_text(request.getfixturevalue("postgres").url())
        return FleetStore({"url": {"file": str(secret)}})

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet_store(request, make_store):
    """The store of a collector, on each engine."""
    return make_store(request.param)


class PublishingDevice:
    """A device that publishes numbered messages to a broker, and waits until it has them."""

    def __init__(self, port, topic="htsat-edge/yard", session="a" * 32):
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.topic, self.session, self._numbers = topic, session, itertools.count(1)
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self.is_connected = self._client.is_connected

    def say(self, kind, content, retain=False, topic=None):
        content = content if isinstance(content, str | bytes) else json.dumps(content)
        sent = self._client.publish(f"{topic or self.topic}/{kind}", content, qos=1, retain=retain)
        sent.wait_for_publish(60)
        assert sent.is_published()

    def send(self, message, number=None):
        number = next(self._numbers) if number is None else number
        self.say("messages", {"session": self.session, "number": number, "message": message})

    def send_starts(self, count, first=1):
        for i in range(first, first + count):
            self.send(make_start(i))

    def introduce(self, **more):
        info = {"session": self.session, "started_at": "2026-11-27T10:00:00+00:00", "place": "Barn", **more}
        self.say("info", info, retain=True)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


def make_start(number, label="Dog"):
    event = {"source": "gate", "id": number, "label": label, "onset": float(number), "time": None, "score": 0.5}
    return {"type": "start", **event}


@pytest.fixture(scope="session")
def start_of():
    """Makes the start of an event."""
    return make_start


@pytest.fixture
def make_device(broker):
    """Makes devices."""
    made = []

    def make(*args, **more):
        made.append(PublishingDevice(broker.port, *args, **more))
        return made[-1]

    yield make
    for device in made:
        device.close()


class RunningCollector:
    """A collector in a thread, which listens."""

    def __init__(self, config, caplog, wait_for):
        self._stop = threading.Event()
        self.collector = FleetCollector(CollectorConfig.model_validate(config), self._stop)
        self.collector.open()
        self._thread = threading.Thread(target=self.collector.run, daemon=True)
        before = caplog.text.count("listening to")
        self._thread.start()
        wait_for(lambda: caplog.text.count("listening to") > before)

    def stop(self):
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def collect(broker, caplog, wait_for, monkeypatch):
    """Starts collectors at the broker."""
    for name in ("FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"htsat_edge.runtime.daemon.supervision.{name}", 0.05)
    caplog.set_level("INFO")
    running = []

    def start(store, **more):
        config = {"broker": {"host": "127.0.0.1", "port": broker.port, **more}, "store": store.section}
        running.append(RunningCollector(config, caplog, wait_for))
        return running[-1]

    yield start
    for one in running:
        one.stop()
