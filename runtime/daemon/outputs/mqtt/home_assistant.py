"""When Home Assistant is told what, and what is done with the announcements of earlier runs and versions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt.broker import Publication
from htsat_edge.runtime.daemon.outputs.mqtt.discovery import Discovery
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics
from htsat_edge.runtime.dsp.events import EventStart

MOST_SENSORS = 40
"""Classes of a source that are announced at once; of more, each is announced when it is heard first."""
SETTLE_S = 2.0
"""From a connection to the announcements: what earlier runs announced comes first, and Home Assistant takes its time to
hand over what earlier versions announced."""
BURST_S = 1.0
"""For so long classes that are heard first are collected: each announcement has all classes, and Home Assistant misses
parts of one that follows another too soon."""
PLATFORMS = ("binary_sensor", "event", "sensor", "switch")
"""Of components that were ever announced."""
MIGRATE = json.dumps({"migrate_discovery": True})
"""Has Home Assistant hand over a component, with its names and history, from one announcement to another."""


class HomeAssistant:
    """Announcements, and what is to be taken back of earlier ones."""

    def __init__(
        self,
        topics: Topics,
        settings: MqttConfig,
        labels: Mapping[str, Sequence[str]],
        levels: Mapping[str, bool] = {},
    ) -> None:
        """Announce what these topics are of: the classes by source, the sources whose level is published."""
        self._topics = topics
        self._discovery = discovery = Discovery(topics, settings, labels, levels)
        few = are_few(labels)
        self._announced = {source: [*own] if few else [] for source, own in labels.items()}
        """Classes by source, the newest first."""
        self.adopted: list[tuple[str, str]] = []
        """Sources and classes that an earlier run has announced, which may have left them ON."""
        self._removed: dict[str, dict[str, str]] = {source: {} for source in labels}
        """Platforms of what earlier runs announced and there is no more, by source and key."""
        self._sources_at = {discovery.source_topic(source): source for source in labels}
        self._singles_at = {begin: source for source in labels for begin in discovery.singles(source)}
        self._states = {topics.state(source, label) for source, own in labels.items() for label in own}
        for source in labels:
            self._states |= {config["state_topic"] for config in self._components(source).values()}
        self._prefix = f"{settings.topic}/"
        self._compared: set[str] = set()
        """Where an announcement of an earlier run has come, or one of ours since there was none."""
        self._stale: list[str] = []
        """Topics of states that nothing has any more."""
        self._due_s: float | None = None
        self._clear_s: float | None = None

    @property
    def filters(self) -> list[str]:
        """Topics where announcements of earlier runs may be."""
        return [*self._sources_at, *(f"{begin}/+/config" for begin in self._singles_at)]

    def greet(self) -> None:
        """Announce all of it again, soon: to a broker that may have forgotten."""
        self._compared.clear()
        self._due_s = time.monotonic() + SETTLE_S

    def due(self) -> Iterator[Publication]:
        """Yield what is due: the announcements, and what removes states that nothing has any more."""
        now = time.monotonic()
        if self._clear_s is not None and now >= self._clear_s:
            self._clear_s = None
            yield from (Publication(topic, "") for topic in self._stale)
            self._stale.clear()
        if self._due_s is None or now < self._due_s:
            return
        self._due_s = None
        if self._stale:  # an empty state would be an error where Home Assistant still reads it
            self._clear_s = now + SETTLE_S
        yield Publication(self._discovery.bridge_topic, self._discovery.bridge())
        for topic, source in self._sources_at.items():
            content = self._discovery.source(source, self._announced[source], self._removed[source])
            yield Publication(topic, content)

    def take(self, message: Message) -> Iterator[Publication]:
        """Yield what is published because of a message, before the states that it changes."""
        if not isinstance(message, EventStart):
            return
        announced = self._announced[message.source]
        if message.label not in announced:
            announced.insert(0, message.label)
            self._soon()
        last = message.model_dump(include={"label", "score", "onset", "time", "clip"}, exclude_none=True)
        yield Publication(self._topics.of_source(message.source, "last_sound"), json.dumps(last))

    def look_at(self, topic: str, content: bytes) -> Iterator[Publication]:
        """Yield what is published because of an announcement at the broker."""
        config = read_ours(content)
        if config is None:
            return
        if (source := self._sources_at.get(topic)) is not None:
            if topic not in self._compared:
                self._compared.add(topic)
                self._compare(source, config)
            return
        begin, _, key = topic.removesuffix("/config").rpartition("/")
        if (source := self._singles_at.get(begin)) is not None:
            yield from self._migrate(source, key, topic, config)

    def _compare(self, source: str, config: Mapping[str, Any]) -> None:
        """Go on with the classes that an earlier run has heard; remove what there is no more."""
        components = config.get("components")
        if not isinstance(components, dict):
            return
        now = self._components(source)
        for key, component in components.items():
            if key in now or not isinstance(component, dict) or len(component) == 1:  # which is removed already
                continue
            if (label := self._discovery.label_of(source, key)) is not None:
                self._adopt(source, label)
            elif (platform := component.get("platform")) in PLATFORMS:
                self._removed[source][key] = platform
                self._mark_stale(component)
            self._soon()

    def _migrate(self, source: str, key: str, topic: str, config: Mapping[str, Any]) -> Iterator[Publication]:
        """Hand over what an earlier version has announced by itself; remove what there is no more."""
        label = self._discovery.label_of(source, key)
        if label is not None or self._discovery.is_level(source, key):
            yield Publication(topic, MIGRATE, retain=False)
            if label is not None and label not in self._announced[source]:
                self._adopt(source, label)
        else:
            self._mark_stale(config)
        yield Publication(topic, "")
        self._due_s = time.monotonic() + SETTLE_S

    def _adopt(self, source: str, label: str) -> None:
        self._announced[source].append(label)
        self.adopted.append((source, label))

    def _mark_stale(self, component: Mapping[str, Any]) -> None:
        """Have the state of a component removed, where it is ours and not in use."""
        state = component.get("state_topic")
        if isinstance(state, str) and state.startswith(self._prefix) and state not in self._states:
            self._stale.append(state)

    def _components(self, source: str) -> dict[str, Any]:
        components: dict[str, Any] = json.loads(self._discovery.source(source, self._announced[source]))["components"]
        return components

    def _soon(self) -> None:
        if self._due_s is None:
            self._due_s = time.monotonic() + BURST_S


def are_few(labels: Mapping[str, Sequence[str]]) -> bool:
    """Return whether the classes of each source are announced at once."""
    return max(map(len, labels.values()), default=0) <= MOST_SENSORS


def read_ours(content: bytes) -> dict[str, Any] | None:
    """Return an announcement, where it is one of this program."""
    try:
        config = json.loads(content)
        return config if config["device"]["manufacturer"] == PROGRAM else None
    except (ValueError, KeyError, TypeError):
        return None
