"""The bodies of the API of a fleet."""

from __future__ import annotations

from typing import Literal

from htsat_edge.runtime.fleet.link import BrokerLink
from htsat_edge.runtime.store.records import Record

DeviceState = Literal["online", "silent", "offline", "unknown"]
"""silent: its broker says that it is online, and yet it has said nothing for a long time."""


class DeviceSummary(Record):
    """A device of a fleet, and how it gets on, by what it has published."""

    device: str
    """Its topic, which no other device has."""
    name: str
    """What people call it; its topic where it has not said so."""
    place: str | None
    state: DeviceState
    since: float | None
    """When it went online or offline, or spoke last where it is silent; None where that is not known."""
    last_at: float | None
    """When the last message of it came; None where none has."""
    version: str | None
    """Of htsat-edge; this and what follows is None where the device has not said so."""
    model: str | None
    backend: str | None
    """What runs the model."""
    bundle: str | None
    """SHA-256 of its model."""
    other_model: bool
    """Whether most devices that have said so have another bundle."""
    page: str | None
    """Address of its own page, http or https."""
    healthy: bool | None
    """By its last health; None where it is not online, too."""
    problems: list[str]
    """What is wrong with it now, a line each."""
    paused: list[str]
    """Sources that somebody has paused, which is no fault."""
    load: float | None
    """Share of the time that its model needs."""
    temperature: float | None
    """°C, of its hottest zone."""
    waiting: int | None
    """Messages that wait in its outputs."""
    coverage: float | None
    """Share of the last 24 hours that was heard; None where nothing is known of any."""
    events_today: int
    lost: int
    """Messages of it that never came."""


class FleetView(Record):
    """The devices of a fleet."""

    at: float
    """When this was so."""
    broker: BrokerLink | None
    """How the collector reaches its broker; None where that is not known."""
    devices: list[DeviceSummary]
    """By place and name."""


class PlaceLabel(Record):
    """How many events of a class there were at a place."""

    label: str
    count: int


class PlaceSummary(Record):
    """The events at a place."""

    place: str | None
    """None: of devices that have not said where they are."""
    count: int
    labels: list[PlaceLabel]
    """The most frequent first."""
