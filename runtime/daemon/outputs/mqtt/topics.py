"""Topics of MQTT, and what Home Assistant calls sources and classes: two names never share one."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.daemon.config import slug

Name = TypeVar("Name")
RESERVED = ("event", "status", "level")
"""Last parts of a source's topics that are no class."""
LEVELS = {"laeq_db": "Sound level", "lamax_db": "Sound level, maximum"}
"""Names of what a message of a calibrated level has."""


def identifier(text: str) -> str:
    """Return a text as Home Assistant takes it in an id, of a-z, 0-9 and _: "Küche" is kuche_ and a few digits.

    Home Assistant drops an announcement with any other letter. The digits keep apart what differs in such letters.
    """
    short = slug(text)
    plain = unicodedata.normalize("NFKD", short).encode("ascii", "ignore").decode().strip("_")
    return short if plain == short else _apart(plain or "x", text)


def distinct(names: Iterable[Name], shorten: Callable[[Name], str], taken: Iterable[str] = ()) -> dict[Name, str]:
    """Return the short form of each name, made different where an earlier name, or `taken`, has it."""
    used, short_of = set(taken), {}
    for name in names:
        short = shorten(name)
        if short in used:
            short = _apart(short, name)
        used.add(short)
        short_of[name] = short
    return short_of


def _apart(short: str, name: object) -> str:
    digest = hashlib.sha256(str(name).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{short}_{digest[:6]}"


@dataclass(frozen=True)
class Sensor:
    """A class of a source, or its level, as Home Assistant sees it."""

    announced_at: str
    """Topic."""
    state: str
    """Topic that is ON or OFF, or has the level."""
    content: str
    """Of the announcement, as JSON."""


class Topics:
    """Where each message goes: to TOPIC/SOURCE/event, TOPIC/SOURCE/CLASS and so on."""

    def __init__(
        self,
        topic: str,
        discovery: str | None,
        labels: Mapping[str, Sequence[str]],
        levels: Mapping[str, bool] = {},
    ) -> None:
        """Give each source and each class names of its own.

        Parameters
        ----------
        topic
            What all topics begin with.
        discovery
            Home Assistant's prefix; None: it is not used.
        labels
            The classes that may come, by source. The first of several with one short form keeps it; a class has the
            same in every source.
        levels
            The sources whose level is published, and whether it is calibrated.
        """
        self._topic, self._discovery = topic, discovery
        every = list(dict.fromkeys(label for own in labels.values() for label in own))
        self._sources = distinct(labels, slug)
        self._labels = distinct(every, slug, RESERVED)
        self._devices = distinct(labels, lambda source: f"{identifier(topic)}_{identifier(source)}")
        self._label_ids = distinct(every, identifier)
        self._unique_ids = distinct(
            ((source, label) for source, own in labels.items() for label in own),
            lambda pair: f"{self._devices[pair[0]]}_{self._label_ids[pair[1]]}",
        )
        self._levels = levels
        sensors = [self.sensor(*pair) for pair in self._unique_ids]
        sensors += (sensor for source in levels for sensor in self.level_sensors(source))
        self._announced_at = {sensor.announced_at for sensor in sensors}
        self._states = {sensor.state for sensor in sensors}

    @property
    def status(self) -> str:
        """Topic that says whether the daemon is there."""
        return f"{self._topic}/status"

    @property
    def event(self) -> str:
        """Topic of the messages without a source."""
        return f"{self._topic}/event"

    @property
    def announcements(self) -> list[str]:
        """Filters for all announcements of these sources, whichever classes and levels they had."""
        return [
            f"{self._discovery}/{kind}/{device}/+/config"
            for device in self._devices.values()
            for kind in ("binary_sensor", "sensor")
        ]

    def of_source(self, source: str, last: str) -> str:
        """Return a topic of a source: its `event`, `status` or `level`."""
        return f"{self._topic}/{self._sources[source]}/{last}"

    def sensor(self, source: str, label: str) -> Sensor:
        """Return a class of a source as a sensor."""
        state, unique_id = self.of_source(source, self._labels[label]), self._unique_ids[source, label]
        own = {"name": label, "unique_id": unique_id, "state_topic": state, "device_class": "sound"}
        return self._sensor(source, "binary_sensor", self._label_ids[label], own)

    def level_sensors(self, source: str) -> list[Sensor]:
        """Return the level of a source as sensors, all of one state; Home Assistant knows no dBFS as sound pressure."""
        names, unit = {"dbfs": "Sound level"}, {"unit_of_measurement": "dBFS"}
        if self._levels[source]:
            names, unit = LEVELS, {"unit_of_measurement": "dBA", "device_class": "sound_pressure"}
        sensors = []
        for key, name in names.items():
            own = {"name": name, "unique_id": f"{self._devices[source]}_level_{key}"}
            value = {"state_topic": self.of_source(source, "level"), "value_template": f"{{{{ value_json.{key} }}}}"}
            own = {**own, **value, **unit, "state_class": "measurement"}
            sensors.append(self._sensor(source, "sensor", key, own))
        return sensors

    def _sensor(self, source: str, kind: str, name: str, own: Mapping[str, str]) -> Sensor:
        device = self._devices[source]
        config = {
            **own,
            "availability": [{"topic": self.status}, {"topic": self.of_source(source, "status")}],
            "availability_mode": "all",
            "device": {"identifiers": [device], "name": f"{source} ({self._topic})", "manufacturer": PROGRAM},
        }
        return Sensor(f"{self._discovery}/{kind}/{device}/{name}/config", own["state_topic"], json.dumps(config))

    def stale_states(self, announced_at: str, content: bytes) -> list[str] | None:
        """Return what to remove with an announcement: topics of its state; None where it is in use, or not ours."""
        if announced_at in self._announced_at:
            return None
        try:
            config = json.loads(content)
            if config["device"]["manufacturer"] != PROGRAM:
                return None
            state = config["state_topic"]
        except (ValueError, KeyError, TypeError):
            return None
        if not isinstance(state, str) or state in self._states:
            return []
        return [state] if state.startswith(f"{self._topic}/") else []
