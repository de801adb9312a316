"""What a device says of itself over MQTT, and the form in which a collector gets its messages."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from htsat_edge.runtime.common.message import Message


class DeviceProfile(BaseModel):
    """What a device is; retained at TOPIC/info."""

    model_config = Message.model_config

    device: str
    """What people call it."""
    place: str | None
    """Where it is, such as Barn; null where nobody has said so."""
    version: str
    """Of htsat-edge."""
    session: str
    """Of the daemon, as in its store: another one after each start, and after each reload of the configuration."""
    started_at: str
    """ISO 8601."""
    model: str
    bundle: str
    """SHA-256 of the bundle's fp32.onnx: devices with the same one hear the same."""
    backend: str
    """What runs the model."""
    precision: str | None
    """Of the engine; null where there is none."""
    hop_s: dict[str, float]
    """By source."""
    health_s: float
    """How often it says how it gets on, at the least: one that is silent for much longer is gone."""
    page: str | None
    """Address of the device's page, from which a collector fetches clips; null where there is none to reach."""


class NumberedMessage(BaseModel):
    """A message of a device at TOPIC/messages; one that comes twice has the same number."""

    model_config = Message.model_config

    session: str
    """As in DeviceProfile: the ids of events count within a session and a source."""
    number: int
    """Counts the messages of a session from 1, one after the other: where one is missing, it was lost."""
    message: dict[str, Any]
    """A message as every output gets it; or a clip: `{"type": "clip_saved", …}` with the fields of a SavedClip
    (store/writes.py), `{"type": "clip_removed", "name": …}`."""
