"""The keys of configs/collector.yaml, the configuration of `htsat-edge collect`."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from htsat_edge.runtime.daemon.config.broker import BrokerConfig
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.section import OneLine, Section, local_path, matching
from htsat_edge.runtime.daemon.config.web import WebConfig
from htsat_edge.runtime.store.engine import PostgresUrl, StorePlace

LEVEL = r"(\+|[^#+/\s\x00-\x1f]([^#+/\x00-\x1f]*[^#+/\s\x00-\x1f])?)"
DEVICES = rf"^(?!\$){LEVEL}(/{LEVEL})*$"
HOSTS = r"^([\w.*?-]+|[0-9A-Fa-f.*?]*:[0-9A-Fa-f.*?]*:[0-9A-Fa-f.:*?]*)$"
DeviceTopics = Annotated[
    str,
    Field(max_length=1000, json_schema_extra={"pattern": DEVICES}),
    matching(DEVICES, "want the topic of a device, in which + stands for any one level: htsat-edge/+, site/+/+"),
]
"""One topic, or many by a filter of MQTT's."""


class FleetBrokerConfig(BrokerConfig):
    """The MQTT broker to which the devices publish."""

    topics: list[DeviceTopics] = Field(default=["htsat-edge/+", "htsat-edge"], min_length=1)
    """`outputs.mqtt.topic` of the devices."""
    client_id: OneLine = "htsat-edge-collect"
    """By which the broker knows this collector again and keeps messages for it; each collector has another one."""

    def has(self, device: str) -> bool:
        """Return whether a topic is one of these; the broker may still have subscriptions of an earlier file."""
        return any(_pattern(topic).fullmatch(device) for topic in self.topics)


@lru_cache
def _pattern(topic: str) -> re.Pattern[str]:
    return re.compile("/".join("[^/]+" if level == "+" else re.escape(level) for level in topic.split("/")))


class FleetStoreConfig(Section):
    """The store of all devices' events: a file (SQLite), or a database on a PostgreSQL server."""

    path: Annotated[Path, local_path("say in `url` where that is kept, {env: NAME} or {file: PATH}")] | None = None
    url: Secret | None = None
    """Where postgresql://USER:PASSWORD@HOST:PORT/DATABASE is kept."""
    keep_days: Annotated[float, Field(gt=0)] = 365.0

    @model_validator(mode="after")
    def _one(self) -> FleetStoreConfig:
        if (self.path is None) == (self.url is None):
            raise ValueError("want one of path (a file) and url (a PostgreSQL server)")
        return self

    def place(self) -> StorePlace:
        """Return where the store is; raise an HtsatEdgeError where the secret is not there, or no URL."""
        if self.path is not None:
            return self.path
        assert self.url is not None
        return PostgresUrl(self.url.read())


PageHost = Annotated[
    str,
    Field(max_length=253, json_schema_extra={"pattern": HOSTS}),
    matching(HOSTS, 'want the name or address of a host, without http:// and a port: barn.lan, "*.lan", "10.0.3.*"'),
]
"""A host, or many by * and ?."""


class CollectorConfig(Section):
    """The whole configuration."""

    broker: FleetBrokerConfig
    store: FleetStoreConfig
    web: WebConfig | None = None
    """The page; null: there is none."""
    page_password: Secret | None = None
    """Of the devices' pages, from which clips are fetched when somebody plays them."""
    page_hosts: Annotated[list[PageHost], Field(min_length=1)] | None = None
    """Patterns of the hosts of these pages, by name or address: a device names its own, and no other one is asked."""

    @model_validator(mode="after")
    def _used(self) -> CollectorConfig:
        ignored = {"start", "socket"} & (self.web.model_fields_set if self.web is not None else set())
        if ignored:
            raise ValueError(f"web.{min(ignored)}: is a key of a device's page alone; take it out")
        return self

    @model_validator(mode="after")
    def _bounded(self) -> CollectorConfig:
        if self.page_password is not None and self.page_hosts is None:
            raise ValueError(
                'page_hosts: key is missing: say which hosts may get page_password, such as [barn.lan, "*.lan"]'
            )
        return self
