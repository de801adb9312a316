"""Events to an MQTT broker, and Home Assistant's sensors."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Mqtt as Settings
from htsat_edge.runtime.daemon.config import slug
from htsat_edge.runtime.daemon.outputs import Line, Output

MOST_SENSORS = 40
"""Classes that are announced at once; with more, each is when it is heard first."""
ONLINE, OFFLINE = "online", "offline"


class Mqtt(Output):
    """Under TOPIC: `status`; for each source `SOURCE/status`, `SOURCE/event` and `SOURCE/CLASS`, which is ON or OFF.

    Lines are sent at least once: a broker that dies in between may get one twice, never none.
    """

    batch = 1

    def __init__(self, settings: Settings, sources: Sequence[str], labels: Sequence[str]) -> None:
        super().__init__(f"mqtt {settings.host}:{settings.port}")
        try:
            import paho.mqtt.client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ModuleNotFoundError:
            raise HtsatEdgeError('outputs.mqtt needs paho-mqtt: pip install "htsat-edge[mqtt]"') from None
        self._settings = settings
        self._sources, self._labels = list(sources), list(labels)
        self._states = {(source, label): False for source in sources for label in labels}
        self._announced: set[tuple[str, str]] = set()
        self._there = dict.fromkeys(sources, True)
        self._connected = threading.Event()
        self._greeted = False
        self._reason = "the broker cannot be reached"
        self._client: Any = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{slug(settings.topic)}-{slug(socket.gethostname())}"
        )
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.will_set(f"{settings.topic}/status", OFFLINE, qos=1, retain=True)
        self._client.reconnect_delay_set(1, 30)

    def start(self) -> None:
        """Begin to connect, for as long as it takes; an HtsatEdgeError where the password is missing."""
        settings = self._settings
        if settings.username is not None:
            self._client.username_pw_set(settings.username, settings.password.read() if settings.password else None)
        if settings.tls:
            self._client.tls_set()
        self._client.connect_async(settings.host, settings.port)
        self._client.loop_start()
        super().start()

    def send(self, lines: Sequence[Line]) -> None:
        """Publish a line, and wait until the broker has it."""
        (line,) = lines
        if not self._connected.wait(5.0):
            raise ConnectionError(self._reason)
        self._greet()
        source = line.get("source")
        if source is None:
            return
        self._publish(f"{source_topic(self._settings.topic, source)}/event", json.dumps(line))
        if line["type"] in ("start", "end"):
            self._set(source, line["label"], line["type"] == "start")
        elif line["type"] == "status" and line["state"] in ("lost", "back"):
            self._there[source] = line["state"] == "back"
            self._publish_there(source)

    def idle(self) -> None:
        """Greet a broker that has come back, with nothing to be sent."""
        if self._connected.is_set():
            self._greet()

    def closed(self) -> None:
        """Say that nothing is heard any more, and go."""
        if self._connected.is_set():
            told = self._client.publish(f"{self._settings.topic}/status", OFFLINE, qos=1, retain=True)
            told.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, content: str, retain: bool = False) -> None:
        told = self._client.publish(topic, content, qos=1, retain=retain)
        while not told.is_published():
            # Through a loss of the connection paho keeps it, and sends it again.
            told.wait_for_publish(0.5)
            if self._stop.is_set() and not self._connected.is_set():
                raise ConnectionError(self._reason)

    def _set(self, source: str, label: str, sounds: bool) -> None:
        if (source, label) not in self._announced:
            self._announce(source, label)
        self._states[source, label] = sounds
        self._publish(self._sensor(source, label), "ON" if sounds else "OFF", retain=True)

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any = None) -> None:
        """In paho's thread, which must not wait."""
        if reason.is_failure:
            self._reason = f"the broker refuses: {reason}"
            return
        self._greeted = False
        self._connected.set()

    def _greet(self) -> None:
        """Tell a broker, which may have forgotten, what there is and how it is."""
        if self._greeted:
            return
        self._greeted = True
        self._publish(f"{self._settings.topic}/status", ONLINE, retain=True)
        for source in self._sources:
            self._publish_there(source)
        known = self._announced if len(self._labels) > MOST_SENSORS else set(self._states)
        for source, label in sorted(known):
            self._announce(source, label)
            self._publish(self._sensor(source, label), "ON" if self._states[source, label] else "OFF", retain=True)

    def _publish_there(self, source: str) -> None:
        topic = f"{source_topic(self._settings.topic, source)}/status"
        self._publish(topic, ONLINE if self._there[source] else OFFLINE, retain=True)

    def _sensor(self, source: str, label: str) -> str:
        return f"{source_topic(self._settings.topic, source)}/{slug(label)}"

    def _announce(self, source: str, label: str) -> None:
        """Make a sensor known to Home Assistant."""
        self._announced.add((source, label))
        prefix, topic = self._settings.discovery, self._settings.topic
        if prefix is None:
            return
        device = f"{slug(topic)}_{slug(source)}"
        told = {
            "name": label,
            "unique_id": f"{device}_{slug(label)}",
            "state_topic": self._sensor(source, label),
            "device_class": "sound",
            "availability": [
                {"topic": f"{topic}/status"},
                {"topic": f"{source_topic(topic, source)}/status"},
            ],
            "availability_mode": "all",
            "device": {"identifiers": [device], "name": f"{source} ({topic})", "manufacturer": "htsat-edge"},
        }
        self._publish(f"{prefix}/binary_sensor/{device}/{slug(label)}/config", json.dumps(told), retain=True)


def source_topic(topic: str, source: str) -> str:
    """What the topics of a source begin with."""
    return f"{topic}/{slug(source)}"
