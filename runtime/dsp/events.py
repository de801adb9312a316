"""Events: the form in which a sound goes from the hysteresis to every output."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, Literal, Protocol

from pydantic import ConfigDict, Field

from htsat_edge.runtime.common.message import DECIMALS, Message


def without_null(schema: dict[str, Any]) -> None:
    """Have a schema say that `clip` is a text or missing, as `Event.encoded` has it."""
    schema["required"].remove("clip")
    schema["properties"]["clip"] = {"type": "string", "description": schema["properties"]["clip"]["description"]}


class Event(Message):
    """A sound that has started (`EventStart`) or ended (`EventEnd`).

    Times are seconds of audio since the source began, in whole steps of the model since the last gap (0.32 s in the
    bundled model); an event ends with its recording at the latest.
    """

    model_config = ConfigDict(json_schema_extra=without_null)

    type: Literal["start", "end"]
    source: str
    """Name of the source, or path of the recording."""
    id: int
    """Number of the event in its source, from 1; start and end have the same."""
    label: str
    """Class of the model."""
    onset: float
    """Seconds."""
    offset: float | None
    """Seconds; None at the start."""
    time: str | None
    """Time of day of the onset, ISO 8601 with its offset from UTC; null where unknown."""
    score: float
    """Peak so far, 0 to 1."""
    clip: str | None = None
    """Name of the file that its clip gets; left out where there are no clips."""

    @cached_property
    def encoded(self) -> str:
        """The message as JSON, without the newline; without `clip` where there is none."""
        return json.dumps(self.model_dump(exclude=None if self.clip is not None else {"clip"}))


class EventStart(Event):
    """A sound has started."""

    type: Literal["start"] = "start"
    offset: None = Field(default=None, exclude=True)


class EventEnd(Event):
    """A sound has ended."""

    type: Literal["end"] = "end"
    offset: float
    """Seconds."""


class ScoredEvent(Protocol):
    """An event, here or in the store."""

    @property
    def offset(self) -> float | None:
        """Seconds; None while it goes on."""

    @property
    def score(self) -> float:
        """Peak, of an end that of the final scores."""


def is_early(event: ScoredEvent, threshold: float | None) -> bool:
    """Return whether an event was reported early, and has ended with final scores that stay below the threshold."""
    return threshold is not None and event.offset is not None and event.score < round(threshold, DECIMALS)
