"""What is sent over the live socket, beside the messages that outputs get."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from htsat_edge.runtime.common.message import Message

FLOOR_DB, DB_STEP = -100.0, 0.5
"""Of the columns of a spectrogram: a byte b is FLOOR_DB + DB_STEP * b."""


class NewestScores(BaseModel):
    """The scores that a window has brought, of the classes that score highest."""

    model_config = Message.model_config

    onset: float
    """Of the first step, in seconds since the source began."""
    step_s: float
    final: int
    """So many of the first steps are final; later frames replace the others."""
    scores: dict[str, list[float]]
    """By class, one for each step."""


class LiveFrame(Message):
    """What one run of the model has brought of a source."""

    type: Literal["frame"] = "frame"
    source: str
    onset: float
    """Of the first column, in seconds since the source began; where there is none, of the next one."""
    time: str | None
    """Of the first column, ISO 8601; null where unknown."""
    column_s: float
    mels: int
    columns: str
    """Base64 of bytes, one a mel band from low to high, column after column."""
    low_hz: float
    """Where the lowest band begins."""
    high_hz: float
    """Where the highest band ends."""
    level_dbfs: float | None
    """Of the last second."""
    newest: NewestScores


class LiveSource(BaseModel):
    """How a source gets on."""

    model_config = Message.model_config

    name: str
    heard: bool
    paused: bool = False
    """Whether somebody has asked not to listen to it, which is no fault."""
    problems: list[str]
    """Input faults at present."""
    failure: str | None
    """Why detection does not work at present."""
    coverage: float
    """Share of the time since the start that was heard, 0 to 1."""
    gaps: int
    lost_s: float
    position_s: float
    """Seconds since the source began."""
    level_dbfs: float | None
    hop_s: float
    latency_s: float
    behind_s: float
    suppressed: int
    """Events that a rule left out."""


class LiveOutput(BaseModel):
    """How an output gets on."""

    model_config = Message.model_config

    name: str
    works: bool
    waiting: int
    sent: int
    dropped: int
    failures: int


class DeviceStatus(Message):
    """How the daemon and the device get on; sent when somebody connects, and every two seconds."""

    type: Literal["device"] = "device"
    source: None = None
    time: str
    version: str
    uptime_s: float
    healthy: bool
    model: str
    backend: str
    """What the model runs on."""
    engine: dict[str, Any] | None
    """The manifest of the engine in use; null where none is."""
    load: float
    """Share of the time that the model needs."""
    inference_ms: float
    """Of a window, the median of the last runs."""
    slowest_ms: float
    temperatures: dict[str, float]
    """°C, by thermal zone."""
    sources: list[LiveSource]
    outputs: list[LiveOutput]
