"""Publish messages to an MQTT broker, and announce sensors to Home Assistant."""

from __future__ import annotations

import secrets
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.messages import LevelStatus, SourceBack, SourceLost
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics, identifier
from htsat_edge.runtime.daemon.outputs.sender import MessageSender
from htsat_edge.runtime.dsp.events import Event, EventStart

MOST_SENSORS = 40
"""Classes that are announced at once; of more, each is announced when it is heard first."""
MOST_HEARD = 10_000
"""Messages of the broker that may wait."""
RESTART_S = 10.0
"""After which paho's thread is started again, should it have ended."""
ONLINE, OFFLINE = "online", "offline"
UNREACHABLE = "the broker cannot be reached"
UNCONFIRMED = "the broker does not confirm what it gets"


class Mqtt(MessageSender):
    """Under TOPIC: `status`, and `event` for messages without a source; under TOPIC/SOURCE: both, each class, `level`.

    Messages are sent at least once: a broker that dies in between may get one twice, never none.
    """

    batch = 1
    patience_s = 5.0
    """A broker that is away for longer is a failure."""
    confirm_s = 30.0
    """One that is there, and has not confirmed a message for longer, too."""

    def __init__(
        self, settings: MqttConfig, labels: Mapping[str, Sequence[str]], levels: Mapping[str, bool] = {}
    ) -> None:
        """Prepare to publish what is heard of the classes of each source.

        `levels` has the sources whose level is published, and whether it is calibrated.
        """
        super().__init__(f"mqtt {settings.host}:{settings.port}")
        with needing("outputs.mqtt", "paho-mqtt", 'pip install "htsat-edge[mqtt]"'):
            import paho.mqtt.client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        self._settings = settings
        self._topics = Topics(settings.topic, settings.discovery, labels, levels)
        self._levels: dict[str, str | None] = dict.fromkeys(levels)
        """The last level of each source, as it was published."""
        self._states = {(source, label): False for source, own in labels.items() for label in own}
        self._all_at_once = max(map(len, labels.values()), default=0) <= MOST_SENSORS
        self._started_s: dict[tuple[str, str], float] = {}
        self._off_s: dict[tuple[str, str], float] = {}
        """When a class that has ended is to be OFF, in monotonic time."""
        self._announced: set[tuple[str, str]] = set()
        self._available = dict.fromkeys(labels, True)
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=MOST_HEARD)
        self._connected = threading.Event()
        self._connections = self._greeted = 0
        """How many connections there were, and which of them has got what there is."""
        self._reason, self._fault = UNREACHABLE, ""
        """Why there is no connection; `_fault` is what waiting does not mend."""
        self._running_s = 0.0
        # Of its own: a broker lets one client of an id take the other's place, and host names are often alike.
        name = f"{identifier(settings.topic)}-{identifier(socket.gethostname())}-{secrets.token_hex(4)}"
        self._client: Any = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self._client.on_pre_connect = lambda *_: self._connected.clear()
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = lambda _, __, message: self._heard.append((message.topic, bytes(message.payload)))
        self._client.will_set(self._topics.status, OFFLINE, qos=1, retain=True)
        self._client.reconnect_delay_set(1, 30)

    def start(self) -> None:
        """Begin to connect, for as long as it takes; raise an HtsatEdgeError where the password is missing."""
        self._connect()
        super().start()

    def check(self) -> str:
        """Connect, publish nothing, and disconnect."""
        self._client.will_clear()
        self._connect()
        try:
            self._await_connection()
        except ConnectionError as error:
            raise HtsatEdgeError(f"{self.name}: {error}") from None
        finally:
            self._client.disconnect()
            self._client.loop_stop()
        return f"{self._settings.host}:{self._settings.port} accepts the connection"

    def send(self, batch: Sequence[Message]) -> None:
        """Publish a message, and wait until the broker has it."""
        (message,) = batch
        self._await_connection()
        self._catch_up()
        if message.source is None:
            self._publish(self._topics.event, message.encoded)
            return
        self._publish(self._topics.of_source(message.source, "event"), message.encoded)
        match message:
            case Event():
                self._set(message.source, message.label, isinstance(message, EventStart))
            case LevelStatus():
                self._levels[message.source] = message.model_dump_json(include={"dbfs", "laeq_db", "lamax_db"})
                self._publish_level(message.source)
            case SourceLost() | SourceBack():
                self._available[message.source] = isinstance(message, SourceBack)
                self._publish_availability(message.source)

    def idle(self) -> None:
        """Do what is due where nothing is to be sent; report a fault before the first message fails of it."""
        self._keep_running()
        if self._connected.is_set():
            self._catch_up()
            if not self._faults:  # else only a message shows that others can be sent
                self._report_success()
        elif self._fault:
            self._report_failure(f"{self._fault}; it is tried again")

    def closed(self) -> None:
        """Publish that nothing is heard any more, and disconnect."""
        if self._connected.is_set():
            for key in self._off_s:
                self._client.publish(self._topics.sensor(*key).state, "OFF", qos=1, retain=True)
            sent = self._client.publish(self._topics.status, OFFLINE, qos=1, retain=True)
            sent.wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connect(self) -> None:
        settings = self._settings
        if settings.username is not None:
            self._client.username_pw_set(settings.username, settings.password.read() if settings.password else None)
        if settings.tls:
            self._client.tls_set()
        self._client.connect_async(settings.host, settings.port)
        self._keep_running()

    def _keep_running(self) -> None:
        """Start paho's thread, again where an error that paho does not expect has ended it."""
        now = time.monotonic()
        if now >= self._running_s:
            self._running_s = now + RESTART_S
            self._client.loop_start()  # which does nothing where it runs

    def _await_connection(self) -> None:
        end_s = time.monotonic() + self.patience_s
        while not self._connected.wait(0.05):
            self._keep_running()
            if self._fault or time.monotonic() > end_s:
                raise ConnectionError(self._fault or self._reason)

    def _publish(self, topic: str, content: str, retain: bool = False) -> None:
        sent = self._client.publish(topic, content, qos=1, retain=retain)
        try:
            self._await_confirmation(sent)
        except RuntimeError as error:  # paho's, where the connection was lost before it could send
            raise ConnectionError(self._fault or self._reason) from error

    def _await_confirmation(self, sent: Any) -> None:
        end_s = time.monotonic() + self.confirm_s
        while not sent.is_published():
            # Through a loss of the connection paho keeps it and sends it again, so that it may come twice.
            sent.wait_for_publish(0.5)
            self._keep_running()
            if not self._connected.is_set() and (self._stop.is_set() or not self._connected.wait(self.patience_s)):
                raise ConnectionError(self._fault or self._reason)
            if self._late():
                raise ConnectionError(UNCONFIRMED)
            if time.monotonic() > end_s:  # paho goes on with it: another try would be another message
                self._report_failure(f"{UNCONFIRMED}; it is waited for")

    # In paho's thread, which must not wait

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any = None) -> None:
        if reason.is_failure:
            self._fault = f"the broker refuses: {reason}"
            return
        self._fault = ""
        self._connections += 1
        self._connected.set()

    def _on_disconnect(self, *_: Any) -> None:
        if not self._connected.is_set() and not self._fault:
            self._fault = "the broker closes the connection and does not answer" + (
                "" if self._settings.tls else f"; does port {self._settings.port} want tls?"
            )
        self._connected.clear()

    def _on_connect_fail(self, *_: Any) -> None:
        """Take note why there is no connection; paho calls this where it handles the error."""
        error = sys.exc_info()[1]
        self._fault = ""
        if isinstance(error, ssl.SSLCertVerificationError):
            self._fault = f"the broker's certificate is not trusted: {error.verify_message}"
            return
        cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        if self._settings.tls and isinstance(error, ssl.SSLError | ConnectionResetError):
            self._fault = f"TLS fails ({cause}); is {self._settings.port} its port for TLS?"
        else:
            self._reason = f"{UNREACHABLE}: {cause}" if cause else UNREACHABLE

    # What is published beside the messages

    def _catch_up(self) -> None:
        """Publish to a broker, which may have forgotten, what there is and how it is, and what has come due."""
        connection = self._connections  # there may be another one in the meantime
        if self._greeted != connection:
            self._greet()
            self._greeted = connection
        for key, due_s in list(self._off_s.items()):
            if time.monotonic() >= due_s:
                self._publish(self._topics.sensor(*key).state, "OFF", retain=True)
                self._states[key] = False
                del self._off_s[key]
        while self._heard:
            self._look_at(*self._heard.popleft())

    def _greet(self) -> None:
        self._publish(self._topics.status, ONLINE, retain=True)
        for source in self._available:
            self._publish_availability(source)
        known = set(self._states) if self._all_at_once else self._announced
        for source, label in sorted(known):
            self._announce(source, label)
            state = "ON" if self._states[source, label] else "OFF"
            self._publish(self._topics.sensor(source, label).state, state, retain=True)
        for source in self._levels:
            if self._settings.discovery is not None:
                for sensor in self._topics.level_sensors(source):
                    self._publish(sensor.announced_at, sensor.content, retain=True)
            self._publish_level(source)
        announcements = self._topics.announcements if self._settings.discovery is not None else []
        self._client.subscribe([(topic, 1) for topic in (self._topics.status, *announcements)])

    def _look_at(self, topic: str, content: bytes) -> None:
        """Contradict that the daemon is gone, which a lost connection may say later; remove classes of earlier runs."""
        if topic == self._topics.status:
            if content == OFFLINE.encode():
                self._publish(topic, ONLINE, retain=True)
        elif (states := self._topics.stale_states(topic, content)) is not None:
            for stale in (topic, *states):
                self._publish(stale, "", retain=True)

    def _publish_availability(self, source: str) -> None:
        content = ONLINE if self._available[source] else OFFLINE
        self._publish(self._topics.of_source(source, "status"), content, retain=True)

    def _publish_level(self, source: str) -> None:
        if (content := self._levels[source]) is not None:
            self._publish(self._topics.of_source(source, "level"), content, retain=True)

    def _set(self, source: str, label: str, sounds: bool) -> None:
        key, now = (source, label), time.monotonic()
        if key not in self._announced:
            self._announce(source, label)
        if sounds:
            self._started_s[key] = now
            self._off_s.pop(key, None)
        else:
            due_s = self._started_s.get(key, -self._settings.off_delay_s) + self._settings.off_delay_s
            if now < due_s:
                self._off_s[key] = due_s
                return
        self._states[key] = sounds
        self._publish(self._topics.sensor(source, label).state, "ON" if sounds else "OFF", retain=True)

    def _announce(self, source: str, label: str) -> None:
        """Make a sensor known to Home Assistant."""
        self._announced.add((source, label))
        if self._settings.discovery is not None:
            sensor = self._topics.sensor(source, label)
            self._publish(sensor.announced_at, sensor.content, retain=True)
