"""What Home Assistant is told: a device for the daemon and one for each source, each with all that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import htsat_edge
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt.components import bridge_components, source_components
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics, distinct, identifier

Config = dict[str, Any]
"""Of a device, or of a component: a sensor, a switch … that a device has."""


class Discovery:
    """Announcements in Home Assistant's device form, with names that no restart changes.

    The key of a class is of a-z, 0-9 and _, that of anything else has a hyphen: no class takes its place.
    """

    def __init__(
        self,
        topics: Topics,
        settings: MqttConfig,
        labels: Mapping[str, Sequence[str]],
        levels: Mapping[str, bool] = {},
    ) -> None:
        """Give each source and each class names of its own.

        Parameters
        ----------
        topics
            Where the states are.
        settings
            Home Assistant's prefix, and what the device is called.
        labels
            The classes that may come, by source.
        levels
            The sources whose level is published, and whether it is calibrated.
        """
        self._topics, self._settings, self._labels, self._levels = topics, settings, labels, levels
        every = list(dict.fromkeys(label for own in labels.values() for label in own))
        self._keys = distinct(every, identifier)
        self._bridge = f"{identifier(settings.topic)}_bridge"
        self._devices = distinct(
            labels, lambda source: f"{identifier(settings.topic)}_{identifier(source)}", [self._bridge]
        )
        self._unique_ids = distinct(
            ((source, label) for source, own in labels.items() for label in own),
            lambda pair: f"{self._devices[pair[0]]}_{self._keys[pair[1]]}",
        )
        self._label_of = {(pair[0], self._keys[pair[1]]): pair[1] for pair in self._unique_ids}

    @property
    def bridge_topic(self) -> str:
        """Where the daemon is announced."""
        return self._topic_of(self._bridge)

    def source_topic(self, source: str) -> str:
        """Return where a source is announced."""
        return self._topic_of(self._devices[source])

    def singles(self, source: str) -> list[str]:
        """Return where earlier versions announced each class and level of a source by itself, without `/KEY/config`."""
        return [f"{self._settings.discovery}/{kind}/{self._devices[source]}" for kind in ("binary_sensor", "sensor")]

    def label_of(self, source: str, key: str) -> str | None:
        """Return the class that has a key; None: none has."""
        return self._label_of.get((source, key))

    def is_level(self, source: str, key: str) -> bool:
        """Return whether an earlier version announced a level with this key that there still is."""
        return f"level-{key}" in self._fixed(source)

    def bridge(self) -> str:
        """Return the announcement of the daemon, as JSON."""
        info = {"identifiers": [self._bridge], "name": self._settings.device or self._settings.topic}
        components = self._named(bridge_components(self._topics), self._bridge, self._settings.topic)
        return self._announcement(info, components, [self._topics.status])

    def source(self, source: str, labels: Iterable[str], removed: Mapping[str, str] = {}) -> str:
        """Return the announcement of a source, as JSON.

        Parameters
        ----------
        source
            Its name.
        labels
            Its classes that are announced. Home Assistant takes the first components of an announcement, and at times,
            where another one has come just before, only these: begin with what is new.
        removed
            Platforms of components that there are no more, by key.
        """
        device = self._devices[source]
        info = {
            "identifiers": [device],
            "name": f"{source} ({self._settings.device or self._settings.topic})",
            "via_device": self._bridge,
        }
        entity = f"{source} ({self._settings.topic})"
        classes = {self._keys[label]: self._class(source, label) for label in labels}
        fixed = self._named(self._fixed(source), device, entity)
        for key, config in classes.items():
            config["default_entity_id"] = entity_id(config["platform"], f"{entity} {key}")
        stubs = {key: {"platform": platform} for key, platform in removed.items()}
        topics = [self._topics.status, self._topics.of_source(source, "status")]
        return self._announcement(info, {**stubs, **classes, **fixed}, topics)

    def _class(self, source: str, label: str) -> Config:
        return {
            "platform": "binary_sensor",
            "name": label,
            "unique_id": self._unique_ids[source, label],
            "state_topic": self._topics.state(source, label),
            "device_class": "sound",
        }

    def _fixed(self, source: str) -> dict[str, Config]:
        """Return the components of a source beside its classes, by key."""
        return source_components(
            self._topics, source, self._labels[source], self._levels.get(source), self._settings.commands
        )

    def _named(self, components: dict[str, Config], device: str, entity: str) -> dict[str, Config]:
        """Return components with their ids; those of levels are as they always were."""
        for key, config in components.items():
            level = key.startswith("level-")
            config["unique_id"] = f"{device}_{key.replace('-', '_')}" if level else f"{device}-{key}"
            config["default_entity_id"] = entity_id(config["platform"], f"{entity} {config['name']}")
        return components

    def _announcement(self, device: Config, components: dict[str, Config], available_at: Sequence[str]) -> str:
        settings, version = self._settings, htsat_edge.__version__
        more = {"suggested_area": settings.place, "configuration_url": settings.page}
        config = {
            "device": {
                **device,
                "manufacturer": PROGRAM,
                "sw_version": version,
                **{key: value for key, value in more.items() if value is not None},
            },
            "origin": {"name": PROGRAM, "sw_version": version},
            "availability": [{"topic": topic} for topic in available_at],
            "availability_mode": "all",
            "components": components,
        }
        return json.dumps(config)

    def _topic_of(self, device: str) -> str:
        return f"{self._settings.discovery}/device/{device}/config"


def entity_id(platform: str, name: str) -> str:
    """Return what a component is called in automations: as Home Assistant itself makes it of plain names."""
    return f"{platform}.{re.sub('_+', '_', identifier(name))}"  # it takes no two underscores
