"""Publish messages to an MQTT broker, for people, for Home Assistant and for a fleet's collector."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.control import Command
from htsat_edge.runtime.daemon.messages import LevelStatus, SourceBack, SourceLost, SourcePaused, SourceResumed
from htsat_edge.runtime.daemon.outputs.mqtt.broker import BrokerClient, Publication
from htsat_edge.runtime.daemon.outputs.mqtt.commands import CommandTopics
from htsat_edge.runtime.daemon.outputs.mqtt.fleet import DeviceReport, Reported, numbered
from htsat_edge.runtime.daemon.outputs.mqtt.home_assistant import HomeAssistant, are_few
from htsat_edge.runtime.daemon.outputs.mqtt.permission import why_refused
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics, identifier
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.dsp.events import Event, EventStart
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

MOST_HEARD = 10_000
"""Messages of the broker that may wait."""
ONLINE, OFFLINE = "online", "offline"
UNCONFIRMED = "the broker does not confirm what it gets"


class Numbered(NamedTuple):
    """What is to be published, and its number in the session."""

    number: int
    content: Reported


class Mqtt(Output[Numbered]):
    """Under TOPIC: `status`, and `event` for messages without a source; under TOPIC/SOURCE: both, each class, `level`.

    Messages are sent at least once: a broker that dies in between may get one twice, never none.
    """

    batch = 1
    patience_s = 5.0
    """A broker that is away for longer is a failure."""
    confirm_s = 30.0
    """One that is there, and has not confirmed a message for longer, too."""

    def __init__(
        self,
        settings: MqttConfig,
        labels: Mapping[str, Sequence[str]],
        levels: Mapping[str, bool],
        session: str,
    ) -> None:
        """Prepare to publish what is heard of the classes of each source.

        `levels` has the sources whose level is published, and whether it is calibrated; `session` is the id of this
        one, by which a collector tells its messages from those of another.
        """
        super().__init__(f"mqtt {settings.host}:{settings.port}")
        self._settings, self._session = settings, session
        self._topics = Topics(settings.topic, labels)
        self._home = None
        if settings.discovery is not None:
            self._home = HomeAssistant(self._topics, settings, labels, levels)
        self._count, self._counting = 0, threading.Lock()  # clips come from a thread of their own
        self.report: DeviceReport | None = None
        """Says what the device is and how it gets on; None: nobody does."""
        self.commands: CommandTopics | None = None
        """Takes what others ask of the daemon; None: nobody may."""
        self._levels: dict[str, str | None] = dict.fromkeys(levels)
        """The last level of each source, as it was published."""
        few = are_few(labels)
        self._states = {(source, label): False for source, own in labels.items() for label in own if few}
        """Whether each class is ON; of many, those that were heard."""
        self._started_s: dict[tuple[str, str], float] = {}
        self._off_s: dict[tuple[str, str], float] = {}
        """When a class that has ended is to be OFF, in monotonic time."""
        self._available = dict.fromkeys(labels, True)
        self._heard: deque[tuple[str, bytes]] = deque(maxlen=MOST_HEARD)
        self._greeted = 0
        """Which of the connections has got what there is."""
        # Of its own: a broker lets one client of an id take the other's place, and host names are often alike.
        name = f"{identifier(settings.topic)}-{identifier(socket.gethostname())}-{secrets.token_hex(4)}"
        self._client = BrokerClient(settings, name)
        self._client.paho.on_message = self._on_message
        self._client.paho.will_set(self._topics.status, OFFLINE, qos=1, retain=True)

    def start(self) -> None:
        """Begin to connect, for as long as it takes; raise an HtsatEdgeError where the password is missing."""
        self._client.start()
        super().start()

    def check(self) -> str:
        """Connect, and publish an empty message that nobody listens for, to learn whether more may be published."""
        accepted = self._client.check(self.patience_s)
        if refused := why_refused(self._settings, self._settings.topic, self.patience_s):
            raise HtsatEdgeError(f"mqtt {self._client.address}: {refused}")
        return accepted

    def offer(self, message: Message) -> None:
        """Take a message, without waiting."""
        self._take(message)

    def record(self, clip: SavedClip | RemovedClip) -> None:
        """Take what has become of a clip, without waiting; from any thread."""
        self._take(clip)

    def accept(
        self,
        listening: Mapping[str, bool],
        commands: SimpleQueue[Command],
        news: threading.Event,
        retained: dict[str, bytes] | None = None,
    ) -> None:
        """Put what others ask of the daemon into `commands`, and set `news` then; before `start`.

        `listening` says of each source whether it is listened to; `retained` is what was taken before, by topic.
        """
        self.commands = CommandTopics(self._topics, listening, commands, news, retained)

    def send(self, batch: Sequence[Numbered]) -> None:
        """Publish a message, and wait until the broker has it."""
        (item,) = batch
        self._client.await_connection(self.patience_s)
        self._catch_up()
        self._publish(self._publications(item))

    def idle(self) -> None:
        """Do what is due where nothing is to be sent; report a fault before the first message fails of it."""
        self._client.keep_running()
        if self._client.connected.is_set():
            self._catch_up()
            if not self._faults:  # else only a message shows that others can be sent
                self._report_success()
        elif self._client.fault:
            self._report_failure(f"{self._client.fault}; it is tried again")

    def closed(self) -> None:
        """Publish that nothing is heard any more, and disconnect."""
        if self._client.connected.is_set():
            for key in self._off_s:
                self._client.paho.publish(self._topics.state(*key), "OFF", qos=1, retain=True)
            sent = self._client.paho.publish(self._topics.status, OFFLINE, qos=1, retain=True)
            sent.wait_for_publish(2.0)
        self._client.stop()

    def _take(self, content: Reported) -> None:
        with self._counting:
            self._count += 1  # also where there is no room: what is lost leaves a hole that a collector sees
            self.put(Numbered(self._count, content))

    def _publish(self, publications: Iterable[Publication]) -> None:
        """Publish all of these, and wait until the broker has them."""
        publish = self._client.paho.publish
        sent = [publish(one.topic, one.content, qos=1, retain=one.retain) for one in publications]
        for one in sent:
            try:
                self._await_confirmation(one)
            except RuntimeError as error:  # paho's, where the connection was lost before it could send
                raise ConnectionError(self._client.problem) from error

    def _await_confirmation(self, sent: Any) -> None:
        end_s = time.monotonic() + self.confirm_s
        while not sent.is_published():
            # Through a loss of the connection paho keeps it and sends it again, so that it may come twice.
            sent.wait_for_publish(0.5)
            self._client.keep_running()
            connected = self._client.connected
            if not connected.is_set() and (self._stop.is_set() or not connected.wait(self.patience_s)):
                raise ConnectionError(self._client.problem)
            if self._late():
                raise ConnectionError(UNCONFIRMED)
            if time.monotonic() > end_s:  # paho goes on with it: another try would be another message
                self._report_failure(f"{UNCONFIRMED}; it is waited for")

    def _on_message(self, _: Any, __: Any, message: Any) -> None:
        """Take what the broker sends, in paho's thread, which must not wait."""
        content = bytes(message.payload)
        if self.commands is None or not self.commands.take(message.topic, content, message.retain):
            self._heard.append((message.topic, content))

    # What is published

    def _publications(self, item: Numbered) -> Iterator[Publication]:
        """Yield what is published of a message, and of a clip."""
        yield Publication(self._topics.messages, numbered(self._session, *item), retain=False)
        message = item.content
        if not isinstance(message, Message):
            return
        if self._home is not None:
            yield from self._home.take(message)
        if message.source is None:
            yield Publication(self._topics.event, message.encoded, retain=False)
            return
        yield Publication(self._topics.of_source(message.source, "event"), message.encoded, retain=False)
        match message:
            case Event():
                yield from self._set(message.source, message.label, isinstance(message, EventStart))
            case LevelStatus():
                self._levels[message.source] = message.model_dump_json(include={"dbfs", "laeq_db", "lamax_db"})
                yield from self._level(message.source)
            case SourceLost() | SourceBack():
                self._available[message.source] = isinstance(message, SourceBack)
                yield self._availability(message.source)
            case SourcePaused() | SourceResumed() if self.commands is not None:
                yield self.commands.state(message.source, isinstance(message, SourceResumed))

    def _catch_up(self) -> None:
        """Publish to a broker, which may have forgotten, what there is and how it is, and what has come due."""
        connection = self._client.connections  # there may be another one in the meantime
        if self._greeted != connection:
            self._greet()
            if not self._greeted:
                self._report_refusal()
            self._greeted = connection
        for key, due_s in list(self._off_s.items()):
            if time.monotonic() >= due_s:
                self._publish([self._state(*key, False)])
                self._states[key] = False
                del self._off_s[key]
        while self._heard:
            self._publish(self._answers(*self._heard.popleft()))
        if self._home is not None:
            self._publish(self._home.due())
        if self.report is not None:
            for publication in self.report.due(self._topics):
                self._publish([publication])

    def _report_refusal(self) -> None:
        """Report that the broker drops all that is published; no later success is one."""
        refused = why_refused(self._settings, self._settings.topic, self.patience_s)
        if refused and self._warnings.warn("refused", f"{self.name}: {refused}"):
            self._notices.append(refused)

    def _greet(self) -> None:
        home, commands = self._home, self.commands
        self._publish([Publication(self._topics.status, ONLINE), *map(self._availability, self._available)])
        if home is not None:
            home.greet()
        self._publish(self._state(source, label, on) for (source, label), on in sorted(self._states.items()))
        for source in self._levels:
            self._publish(self._level(source))
        if commands is not None:
            self._publish(commands.states())
        if self.report is not None:
            self.report.forget()
        filters = [self._topics.status, *(home.filters if home else ()), *(commands.filters if commands else ())]
        self._client.paho.subscribe([(topic, 1) for topic in filters])

    def _answers(self, topic: str, content: bytes) -> Iterator[Publication]:
        """Contradict that the daemon is gone, which a lost connection may say later; remove what earlier runs left."""
        if topic == self._topics.status:
            if content == OFFLINE.encode():
                yield Publication(topic, ONLINE)
        elif self._home is not None:
            yield from self._home.look_at(topic, content)
            while self._home.adopted:  # a run that was killed has left it as it was
                key = self._home.adopted.pop()
                self._states[key] = False
                yield self._state(*key, False)

    def _availability(self, source: str) -> Publication:
        content = ONLINE if self._available[source] else OFFLINE
        return Publication(self._topics.of_source(source, "status"), content)

    def _level(self, source: str) -> Iterator[Publication]:
        if (content := self._levels[source]) is not None:
            yield Publication(self._topics.of_source(source, "level"), content)

    def _state(self, source: str, label: str, sounds: bool) -> Publication:
        return Publication(self._topics.state(source, label), "ON" if sounds else "OFF")

    def _set(self, source: str, label: str, sounds: bool) -> Iterator[Publication]:
        key, now = (source, label), time.monotonic()
        if sounds:
            self._started_s[key] = now
            self._off_s.pop(key, None)
        else:
            due_s = self._started_s.get(key, -self._settings.off_delay_s) + self._settings.off_delay_s
            if now < due_s:
                self._off_s[key] = due_s
                return
        self._states[key] = sounds
        yield self._state(source, label, sounds)
