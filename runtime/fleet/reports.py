"""What devices publish, read from MQTT: whatever comes from the network is checked, and what is newer is left out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic_core import from_json

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.daemon.config.broker import TOPIC
from htsat_edge.runtime.daemon.messages import GapMessage, Status
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

KINDS = ("info", "health", "status", "messages")
"""What a device publishes under its topic, as far as a collector reads it."""
MOST_BYTES = 65_536
"""Of a message; the health of a device with dozens of sources has some 20 kB."""
MOST_TOPIC, MOST_TEXT = 500, 200
"""Characters of what tables are searched by: PostgreSQL's indexes take 2704 bytes, and a character may have four."""
NULLS = (b"\0", b"\\u0000")
"""The character that no database stores, as it is and as JSON has it."""
DEVICE = re.compile(TOPIC)

Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
Time = Annotated[str, Field(max_length=64)] | None
Number = Annotated[int, Field(ge=1, lt=2**53)]
FileName = Annotated[str, Field(pattern=r"^[^/\\\x00-\x1f]{1,255}$")]


class ReportError(HtsatEdgeError):
    """What came is nothing that a device publishes."""


LENIENT = ConfigDict(extra="ignore", allow_inf_nan=False)
"""A device with a newer version may say more than this one knows."""


class FleetStart(EventStart):
    """The start of an event, on a device."""

    model_config = LENIENT

    source: Text
    id: Number
    label: Text
    time: Time


class FleetEnd(EventEnd):
    """The end of an event, on a device."""

    model_config = LENIENT

    source: Text
    id: Number
    label: Text
    time: Time


class FleetGap(GapMessage):
    """A gap, on a device."""

    model_config = LENIENT

    source: Text
    time: Time
    reason: Annotated[str, Field(min_length=1, max_length=1000)]


class FleetStatus(Status):
    """A status of a device, with whatever belongs to its state."""

    model_config = ConfigDict(extra="allow")

    type: Literal["status"]
    source: Text | None
    state: Text
    time: Time


class ClipSavedReport(BaseModel):
    """A clip is on a device's disk."""

    model_config = LENIENT

    source: Text
    number: Number
    name: FileName
    onset: float
    offset: float
    time: Time


class ClipRemovedReport(BaseModel):
    """A clip is no longer there."""

    model_config = LENIENT

    name: FileName


class UnknownReport(BaseModel):
    """A message of a newer version: nothing of it is stored but that it came."""


def _tag(message: Any) -> str | None:
    kind = message.get("type") if isinstance(message, dict) else None
    if not isinstance(kind, str):
        return None
    return kind if kind in ("start", "end", "gap", "status", "clip_saved", "clip_removed") else "unknown"


class Envelope(BaseModel):
    """NumberedMessage of daemon/device.py, with its message read."""

    model_config = LENIENT

    session: Annotated[str, Field(min_length=1, max_length=100)]
    number: Number
    message: Annotated[
        Annotated[FleetStart, Tag("start")]
        | Annotated[FleetEnd, Tag("end")]
        | Annotated[FleetGap, Tag("gap")]
        | Annotated[FleetStatus, Tag("status")]
        | Annotated[ClipSavedReport, Tag("clip_saved")]
        | Annotated[ClipRemovedReport, Tag("clip_removed")]
        | Annotated[UnknownReport, Tag("unknown")],
        Discriminator(_tag, custom_error_type="tag", custom_error_message="has no type"),
    ]


class FleetProfile(BaseModel):
    """What a collector needs of a DeviceProfile."""

    model_config = LENIENT

    session: Annotated[str, Field(min_length=1, max_length=100)]
    started_at: datetime
    place: Text | None = None


ENVELOPE = TypeAdapter(Envelope)
StoredContent: TypeAlias = FleetStart | FleetEnd | FleetGap | FleetStatus | SavedClip | RemovedClip | None
"""What is stored of a message; None: nothing of it."""


@dataclass(frozen=True)
class MessageReport:
    """A numbered message."""

    device: str
    session: str
    number: int
    content: StoredContent


@dataclass(frozen=True)
class InfoReport:
    """What a device is."""

    device: str
    session: str
    started_at: float
    """Seconds since 1970."""
    place: str | None
    text: str
    """All of it, as JSON."""


@dataclass(frozen=True)
class HealthReport:
    """How a device gets on."""

    device: str
    text: str
    """All of it, as JSON."""


@dataclass(frozen=True)
class OnlineReport:
    """Whether a device is connected to the broker."""

    device: str
    online: bool


@dataclass(frozen=True)
class ForgetReport:
    """Somebody has deleted what a device is."""

    device: str


Report: TypeAlias = MessageReport | InfoReport | HealthReport | OnlineReport | ForgetReport


def read_report(topic: str, payload: bytes) -> Report | None:
    """Return what a device has published at a topic; None where it says nothing, such as a status that was deleted.

    Raises
    ------
    ReportError
        It is nothing that a device publishes.
    """
    device, _, kind = topic.rpartition("/")
    if kind not in KINDS or len(device) > MOST_TOPIC or not DEVICE.fullmatch(device):
        raise ReportError("is no topic of a device")
    if not payload:
        return ForgetReport(device) if kind == "info" else None
    if kind == "status":
        if payload not in (b"online", b"offline"):
            raise ReportError("is neither online nor offline")
        return OnlineReport(device, payload == b"online")
    if len(payload) > MOST_BYTES:
        raise ReportError(f"has more than {MOST_BYTES} bytes")
    if any(null in payload for null in NULLS):
        raise ReportError("holds a null character")
    try:
        content = from_json(payload, allow_inf_nan=False)
        if not isinstance(content, dict):
            raise ReportError("is no JSON object")
        return {"info": _info, "health": _health, "messages": _message}[kind](device, content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ReportError(in_one_line(f"{where}: {first['msg']}")) from None
    except (ValueError, RecursionError, OverflowError) as error:
        raise ReportError(f"cannot be read: {in_one_line(error)}") from None


def _info(device: str, content: dict[str, Any]) -> Report:
    profile = FleetProfile.model_validate(content)
    return InfoReport(device, profile.session, profile.started_at.timestamp(), profile.place, _text(content))


def _health(device: str, content: dict[str, Any]) -> Report:
    return HealthReport(device, _text(content))


def _message(device: str, content: dict[str, Any]) -> Report:
    envelope = ENVELOPE.validate_python(content)
    return MessageReport(device, envelope.session, envelope.number, _stored(envelope))


def _stored(envelope: Envelope) -> StoredContent:
    match message := envelope.message:
        case ClipSavedReport():
            return SavedClip(**message.model_dump())
        case ClipRemovedReport():
            return RemovedClip(message.name)
        case UnknownReport():
            return None
        case FleetStatus():
            _text(message.model_dump())  # raises where a number in it is none
            return message
    return message


def _text(content: dict[str, Any]) -> str:
    """Return JSON; raise a ValueError where it holds a number that is none."""
    return json.dumps(content, allow_nan=False)
