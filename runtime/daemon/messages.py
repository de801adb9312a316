"""The messages that outputs get, and their JSON Schema. Events are in dsp/events.py, where they come from."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.dsp.events import EventEnd, EventStart


class GapMessage(Message):
    """Audio of a source was lost."""

    type: Literal["gap"] = "gap"
    source: str
    onset: float
    """Seconds since the source began."""
    offset: float
    """Seconds; the same as `onset` where nothing is known to be lost."""
    time: str | None
    """Time of day of the onset, ISO 8601; null where unknown."""
    reason: str


class Status(Message):
    """Something has changed, in a source, in an output or in the daemon."""

    type: Literal["status"] = "status"
    state: str
    time: str | None
    """Time of day, ISO 8601; null where unknown, as in a recording."""


class SourceStatus(Status):
    """Something has changed in a source."""

    source: str


class SourceNotice(SourceStatus):
    """A source has stopped, is back, or has failed."""

    text: str


class DaemonStatus(Status):
    """Something has changed in the daemon or in an output."""

    source: None = None


class Listening(SourceStatus):
    """The first samples of a source have come."""

    state: Literal["listening"] = "listening"
    sample_rate: int
    """Hz."""
    hop_s: float
    """Seconds from one run of the model to the next."""
    latency_s: float
    """Seconds from the onset of a sound to its start, without the model's own time."""


class HopChanged(SourceStatus):
    """The model runs more or less often, since the device is too slow, or fast enough again."""

    state: Literal["hop_changed"] = "hop_changed"
    onset: float
    """Seconds since the source began: windows that end later have the new hop."""
    hop_s: float
    latency_s: float
    text: str


class SourceLost(SourceNotice):
    """A source has stopped; it is tried again until it is back."""

    state: Literal["source_lost"] = "source_lost"


class SourceBack(SourceNotice):
    """A source that was lost is back."""

    state: Literal["source_back"] = "source_back"


class SourceFailed(SourceNotice):
    """A source has ended with an error and is not tried again, such as a damaged recording."""

    state: Literal["source_failed"] = "source_failed"


class SourcePaused(SourceNotice):
    """A source is not listened to until somebody wants it again; meanwhile it has a gap."""

    state: Literal["source_paused"] = "source_paused"


class SourceResumed(SourceNotice):
    """A source that was paused is listened to again."""

    state: Literal["source_resumed"] = "source_resumed"


class InputFault(SourceStatus):
    """Something is wrong with a source's sound: it is muted, clipped, humming."""

    state: Literal["input_fault"] = "input_fault"
    problem: str
    advice: str


class InputOk(SourceStatus):
    """An input fault is over."""

    state: Literal["input_ok"] = "input_ok"
    problem: str


class CoverageStatus(SourceStatus):
    """How much of an hour of a source was heard."""

    state: Literal["coverage"] = "coverage"
    onset: float
    offset: float
    """The hour, in seconds since the source began."""
    share: float
    """0 to 1."""
    gaps: int


class LevelStatus(SourceStatus):
    """How loud a source was; 0 dBFS is a square wave at full scale."""

    state: Literal["level"] = "level"
    onset: float
    offset: float
    """The seconds that it is of, since the source began; fewer than `level.every_s` before a gap and at the end."""
    dbfs: float
    """Level without weighting."""
    laeq_db: float | None
    """A-weighted level of the whole, in dB SPL; null without a calibration."""
    lamax_db: float | None
    """Highest A-weighted level with the time weighting Fast, in dB SPL; null without a calibration."""


class ClockSet(DaemonStatus):
    """The system's time of day was set."""

    state: Literal["clock_set"] = "clock_set"
    by_s: float
    """Seconds; positive where it was set forward."""


class ConfigLoaded(DaemonStatus):
    """A changed configuration, or changed thresholds of it, are in force."""

    state: Literal["config_loaded"] = "config_loaded"
    text: str = ""
    """What has changed; earlier versions did not say."""


class ConfigRejected(DaemonStatus):
    """A changed configuration has an error; the previous one stays in force."""

    state: Literal["config_rejected"] = "config_rejected"
    text: str


class CommandRejected(DaemonStatus):
    """A command that came by MQTT cannot be carried out; nothing has changed."""

    state: Literal["command_rejected"] = "command_rejected"
    text: str


class BackendChanged(DaemonStatus):
    """Something else runs the model from now on; no window is lost by it."""

    state: Literal["backend_changed"] = "backend_changed"
    backend: str
    """What runs it now."""
    text: str
    """Why."""


class Enrolled(DaemonStatus):
    """The sounds that were enrolled on this device have changed, or some of them cannot be heard."""

    state: Literal["enrolled"] = "enrolled"
    labels: list[str]
    """All that are heard now."""
    text: str


class OutputFailed(DaemonStatus):
    """An output does not deliver: it tries again, or what its destination refuses is lost."""

    state: Literal["output_failed"] = "output_failed"
    output: str
    text: str


class OutputBack(DaemonStatus):
    """An output that had failed works again."""

    state: Literal["output_back"] = "output_back"
    output: str


class TopScore(BaseModel):
    """A class that scored high."""

    model_config = Message.model_config

    label: str
    score: float
    threshold: float
    at: float
    """Seconds since the recording began."""


class TopScores(SourceStatus):
    """The classes that scored highest in a recording (`htsat-edge detect --top`)."""

    state: Literal["top_scores"] = "top_scores"
    top: list[TopScore]


AnyMessage = (
    EventStart
    | EventEnd
    | GapMessage
    | Listening
    | HopChanged
    | SourceLost
    | SourceBack
    | SourceFailed
    | SourcePaused
    | SourceResumed
    | InputFault
    | InputOk
    | CoverageStatus
    | LevelStatus
    | ClockSet
    | ConfigLoaded
    | ConfigRejected
    | CommandRejected
    | BackendChanged
    | Enrolled
    | OutputFailed
    | OutputBack
    | TopScores
)


def message_schema() -> dict[str, Any]:
    """Return the JSON Schema of one message."""
    schema: dict[str, Any] = TypeAdapter(AnyMessage).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "htsat-edge message", **schema}


def format_time(moment: datetime) -> str:
    """Return a time of day as messages have it: ISO 8601, milliseconds, offset from UTC."""
    return moment.isoformat(timespec="milliseconds")
