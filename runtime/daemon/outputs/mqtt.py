"""Publish messages to an MQTT broker, and announce sensors to Home Assistant."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import MqttConfig, slug
from htsat_edge.runtime.daemon.messages import SourceBack, SourceLost
from htsat_edge.runtime.daemon.outputs.sender import MessageSender
from htsat_edge.runtime.dsp.events import Event, EventStart

MOST_SENSORS = 40
"""Classes that are announced at once; of more, each is announced when it is heard first."""
ONLINE, OFFLINE = "online", "offline"


class Mqtt(MessageSender):
    """Under TOPIC: `status`, and `event` for messages without a source; under TOPIC/SOURCE: both, and each class.

    Messages are sent at least once: a broker that dies in between may get one twice, never none.
    """

    batch = 1
    patience_s = 5.0
    """A broker that is away for longer is a failure."""

    def __init__(self, settings: MqttConfig, sources: Sequence[str], labels: Sequence[str]) -> None:
        """Prepare to publish what is heard of these classes in these sources."""
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
        self._available = dict.fromkeys(sources, True)
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
        """Begin to connect, for as long as it takes; raise an HtsatEdgeError where the password is missing."""
        settings = self._settings
        if settings.username is not None:
            self._client.username_pw_set(settings.username, settings.password.read() if settings.password else None)
        if settings.tls:
            self._client.tls_set()
        self._client.connect_async(settings.host, settings.port)
        self._client.loop_start()
        super().start()

    def send(self, batch: Sequence[Message]) -> None:
        """Publish a message, and wait until the broker has it."""
        (message,) = batch
        if not self._connected.wait(self.patience_s):
            raise ConnectionError(self._reason)
        self._greet()
        if message.source is None:
            self._publish(f"{self._settings.topic}/event", message.encoded)
            return
        self._publish(f"{source_topic(self._settings.topic, message.source)}/event", message.encoded)
        match message:
            case Event():
                self._set(message.source, message.label, isinstance(message, EventStart))
            case SourceLost() | SourceBack():
                self._available[message.source] = isinstance(message, SourceBack)
                self._publish_availability(message.source)

    def idle(self) -> None:
        """Greet a broker that has come back, where nothing is to be sent."""
        if self._connected.is_set():
            self._greet()

    def closed(self) -> None:
        """Publish that nothing is heard any more, and disconnect."""
        if self._connected.is_set():
            sent = self._client.publish(f"{self._settings.topic}/status", OFFLINE, qos=1, retain=True)
            sent.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish(self, topic: str, content: str, retain: bool = False) -> None:
        sent = self._client.publish(topic, content, qos=1, retain=retain)
        while not sent.is_published():
            # Through a loss of the connection paho keeps it and sends it again, so that it may come twice.
            sent.wait_for_publish(0.5)
            if not self._connected.is_set() and (self._stop.is_set() or not self._connected.wait(self.patience_s)):
                raise ConnectionError(self._reason)

    def _set(self, source: str, label: str, sounds: bool) -> None:
        if (source, label) not in self._announced:
            self._announce(source, label)
        self._states[source, label] = sounds
        self._publish(self._sensor(source, label), "ON" if sounds else "OFF", retain=True)

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any = None) -> None:
        """Take note of a connection, in paho's thread, which must not wait."""
        if reason.is_failure:
            self._reason = f"the broker refuses: {reason}"
            return
        self._greeted = False
        self._connected.set()

    def _greet(self) -> None:
        """Publish to a broker, which may have forgotten, what there is and how it is."""
        if self._greeted:
            return
        self._greeted = True
        self._publish(f"{self._settings.topic}/status", ONLINE, retain=True)
        for source in self._sources:
            self._publish_availability(source)
        known = self._announced if len(self._labels) > MOST_SENSORS else set(self._states)
        for source, label in sorted(known):
            self._announce(source, label)
            self._publish(self._sensor(source, label), "ON" if self._states[source, label] else "OFF", retain=True)

    def _publish_availability(self, source: str) -> None:
        topic = f"{source_topic(self._settings.topic, source)}/status"
        self._publish(topic, ONLINE if self._available[source] else OFFLINE, retain=True)

    def _sensor(self, source: str, label: str) -> str:
        return f"{source_topic(self._settings.topic, source)}/{slug(label)}"

    def _announce(self, source: str, label: str) -> None:
        """Make a sensor known to Home Assistant."""
        self._announced.add((source, label))
        prefix, topic = self._settings.discovery, self._settings.topic
        if prefix is None:
            return
        device = f"{slug(topic)}_{slug(source)}"
        config = {
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
        self._publish(f"{prefix}/binary_sensor/{device}/{slug(label)}/config", json.dumps(config), retain=True)


def source_topic(topic: str, source: str) -> str:
    """Return what the topics of a source begin with."""
    return f"{topic}/{slug(source)}"
