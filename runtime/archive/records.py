"""What goes between the parts of a scan: what is heard, how, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.dsp.channels import Channel
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.settings import Settings

SPAN_S = 1800.0
"""Long recordings are heard in spans of so many seconds, which processes share; a multiple of 2 s."""


@dataclass(frozen=True)
class HearingSettings:
    """All that results depend on but the recordings; sent to every process that hears some."""

    bundle: Path
    """Folder of the model."""
    detection: Settings
    """Without early starts: an archive has time for final scores."""
    shown: tuple[str, ...]
    """Labels of the events that are kept."""
    sounds: Path | None = None
    """Folder of enrolled sounds; None: the bundle's own."""
    precision: str | None = None
    """Of the graph or engine; None: the best by measurement."""
    backend: Literal["auto", "onnxruntime", "tensorrt", "remote"] = "auto"
    server: RemoteServer | None = None
    """What runs the model, where `backend` is remote."""
    served: str | None = None
    """What the server says that its precision is."""
    channel: Channel | Literal["each"] = "mix"
    gate_dbfs: float | None = None
    """The model does not run where nothing is louder; None: it runs everywhere."""
    rules: RulesConfig = field(default_factory=RulesConfig)
    source: str = ""
    """Of the configuration whose rules count; empty: those of all."""
    start: datetime | None = None
    """When the recording began, whatever it says itself; without a zone it gets that of the tables."""
    span_s: float = SPAN_S
    scores: bool = False
    """Whether all final scores are kept."""


class ArchiveFile(NamedTuple):
    """A recording that a walk has found."""

    path: Path
    size: int
    """Bytes."""
    mtime_ns: int


@dataclass(frozen=True)
class Origin:
    """When and where a recording was made, as it says itself."""

    start: datetime | None = None
    """Of its first sample; without a zone where none is known."""
    said_by: str = ""
    """What says the time: option, guano, audiomoth, wamd, bext, clip, tag or name; empty where nothing does."""
    latitude: float | None = None
    longitude: float | None = None
    """Degrees, WGS 84."""
    recorder: str = ""
    """Make, model or serial number."""


@dataclass(frozen=True)
class Span:
    """A part of a recording that is heard by itself."""

    path: Path
    number: int
    """From 0 on."""
    count: int
    """Of the recording; 1: it is heard as a whole."""
    scale: float = 1.0
    """Full scale of a file of floats, which whoever cut it has measured."""


@dataclass(frozen=True)
class Quality:
    """What the samples themselves say, of a span or a recording; sums, so that spans can be added."""

    samples: int = 0
    """Of all channels."""
    power: float = 0.0
    """Sum of squares."""
    peak: float = 0.0
    """Largest absolute value; 1 is full scale."""
    clipped: int = 0
    """Samples at full scale."""
    silent_s: float = 0.0
    """Seconds without any change, in runs of 1 s or more: nothing was connected."""
    dropouts: int = 0
    """Runs without any change of 10 ms to 1 s: samples were lost, and replaced."""
    still_first: int = 0
    still_last: int = 0
    """Samples of a channel without any change at the beginning and at the end of a span, which may go on beyond it."""


class FoundEvent(NamedTuple):
    """A sound in a recording."""

    channel: int
    """From 1 on; 0: of all."""
    label: str
    onset: float
    offset: float
    """Both in seconds of the recording."""
    score: float
    """Peak, 0 to 1."""


@dataclass(frozen=True)
class SpanScores:
    """What the model makes of a span."""

    span: Span
    packed: tuple[bytes, ...]
    """Final scores of each channel that is heard, as `ScorePacker` makes them."""
    quality: Quality
    sample_rate: int
    channels: int
    """Of the file."""
    duration_s: float
    """Of what could be read of the span."""
    failure: str = ""
    """Why no more of it could be read."""


@dataclass(frozen=True)
class FoundInRecording:
    """What was found in a recording."""

    duration_s: float
    """Of what could be read."""
    sample_rate: int
    channels: int
    quality: Quality
    events: tuple[FoundEvent, ...]
    """In the order of channel, onset, label."""
    origin: Origin = field(default_factory=Origin)
    failure: str = ""
    """Why no more of it could be read; empty: all was."""
