"""What the daemon writes into the store, beside the messages that every output gets."""

from __future__ import annotations

from dataclasses import dataclass

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.events import Event
from htsat_edge.runtime.store.setup import Setup


@dataclass(frozen=True)
class SourceSetup:
    """What is in force for a source in this session, until the next one."""

    source: str
    setup: Setup
    onset: float = 0.0
    """From which second of the source on."""


@dataclass(frozen=True, eq=False)
class ScoreRow:
    """Final scores of a source, of a minute at most and without a gap."""

    source: str
    onset: float
    """Of the first step, in seconds since the source began."""
    step_s: float
    time: str | None
    """Of the first step, ISO 8601; None where unknown."""
    scores: FloatArray
    """(n, C), the classes of the source's setup."""
    limits: FloatArray | None = None
    """(m, C), ascending: the setup's releases and thresholds, on whose side each score is to stay."""


@dataclass(frozen=True)
class LeftOut:
    """The start of an event that a rule did not let through, or its end."""

    event: Event
    rule: str


@dataclass(frozen=True)
class SavedClip:
    """A recording of an event that is on the disk."""

    source: str
    number: int
    """The event's id."""
    name: str
    """Of the file."""
    onset: float
    """Of the first sample, in seconds since the source began."""
    offset: float
    time: str | None
    """Of the first sample, ISO 8601; None where unknown."""


@dataclass(frozen=True)
class RemovedClip:
    """A recording that is no longer on the disk."""

    name: str


StoreWrite = SourceSetup | ScoreRow | LeftOut | SavedClip | RemovedClip
