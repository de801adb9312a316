"""What is read from the store, and the verdicts that are written to it; also the types of the page's API.

`at` is always a time of day in seconds since 1970. `key` numbers the events of the whole store.
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

Stage = Literal[
    "reported",
    "below_release",
    "below_threshold",
    "too_short",
    "confirming",
    "more_specific",
    "suppress",
    "cooldown",
    "quiet_hours",
    "not_reported",
    "gap",
    "input_fault",
    "not_listening",
    "not_stored",
]
"""What became of a step of a class: it belongs to an event that was reported, or what held it back."""
Decision = Literal["correct", "wrong"]
At = Annotated[float, Field(ge=0, le=1e11)]
Key = Annotated[int, Field(ge=1, lt=2**53)]
"""Whole numbers that a browser can hold, too."""
Label = Annotated[str, Field(min_length=1, max_length=200)]


IS_WRONG: JsonValue = {"properties": {"decision": {"const": "wrong"}}, "required": ["decision"]}
"""What is true of a verdict that may have a label, as JSON schema."""


def tidy(label: object) -> object:
    """Return a text as a name of a class can be: composed (NFC), printable, on one line; None where nothing is left."""
    if not isinstance(label, str):
        return label
    printable = "".join(letter if letter.isprintable() else " " for letter in label)
    return unicodedata.normalize("NFC", " ".join(printable.split())) or None


def without_nulls(text: object) -> object:
    """Return a text without a character that PostgreSQL holds nowhere, and of which nobody sees anything."""
    return text.replace("\0", "") if isinstance(text, str) else text


class Record(BaseModel):
    """Something that the store holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Verdict(Record):
    """What a person says of an event; one with nothing but `event` says nothing."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [IS_WRONG, {"properties": {"label": {"type": "null"}}}]})

    event: Key
    """Key of the event."""
    decision: Decision | None = None
    label: Annotated[Label | None, BeforeValidator(tidy)] = None
    """What it really is; only of what is wrong. What cannot be printed is left out."""
    note: Annotated[str, Field(max_length=2000), BeforeValidator(without_nulls)] = ""
    locked: bool = False
    """Whether the event and its clip are kept, whatever their age."""

    @model_validator(mode="after")
    def _consistent(self) -> Verdict:
        if self.label is not None and self.decision != "wrong":
            raise ValueError("label is what it really is: only where decision is wrong")
        return self


class StoredClip(Record):
    """A recording of an event."""

    name: str
    """Of the file."""
    onset: float
    """Of its first sample, in seconds since the source began."""
    offset: float
    at: float


class StoredEvent(Record):
    """An event; `source` to `score` are those of its last message."""

    key: int
    session: int
    source: str
    id: int
    label: str
    onset: float
    offset: float | None
    """None while it goes on, or where its end was not heard."""
    time: str | None
    score: float
    at: float
    """Of the onset; where that is unknown, when it was stored."""
    clip: StoredClip | None
    verdict: Verdict | None
    device: str | None = None
    """Topic of the device that has heard it; None in a device's own store."""


class EventFilter(Record):
    """Which events are wanted; None: all."""

    from_at: At | None = None
    to_at: At | None = None
    sources: list[str] = []
    labels: list[Label] = []
    decision: Decision | Literal["none"] | None = None
    min_score: Annotated[float, Field(ge=0, le=1)] | None = None
    locked: bool | None = None
    has_clip: bool | None = None
    devices: list[str] = []
    places: list[str] = []


class EventPage(Record):
    """Some events, the newest first."""

    events: list[StoredEvent]
    total: int
    """Of all that the filter lets through; 1 000 001 where these are more than a million."""
    next: str | None
    """Where the next page begins; None where there is none."""


class DayCount(Record):
    """How many events a day has, in the device's local time."""

    day: str
    """YYYY-MM-DD."""
    from_at: float
    to_at: float
    count: int


class LabelHour(Record):
    """How many events of a class began in an hour of the day, in the device's local time."""

    label: str
    hour: int
    count: int


class LabelCount(Record):
    """How many events of a class there are."""

    label: str
    count: int
    correct: int
    """Of which somebody has said that they are correct."""
    wrong: int


class Figures(Record):
    """Events by class, by class and hour of the day, and by day."""

    labels: list[LabelCount]
    """The most frequent first."""
    hours: list[LabelHour]
    days: list[DayCount]
    """The newest first."""


class StoreInfo(Record):
    """How much there is in the store."""

    path: str
    size_mb: float
    free_mb: float | None
    """On its disk; None where that is a server's, which does not tell."""
    events: int
    score_rows: int
    score_mb: float
    oldest_at: float | None
    """When the first event began."""


class StoredGap(Record):
    """A part of a source that was not heard."""

    source: str
    onset: float
    offset: float
    at: float
    reason: str
    device: str | None = None


class StoredStatus(Record):
    """A status message."""

    source: str | None
    state: str
    at: float
    message: dict[str, object]
    """All of it."""
    device: str | None = None


class FleetDevice(Record):
    """A device of a fleet, as it was heard of last."""

    device: str
    """Its topic."""
    place: str | None
    """Where it is, as it says itself."""
    info: dict[str, object] | None
    """What it has said that it is (`DeviceProfile`); None where it has not."""
    info_at: float | None
    health: dict[str, object] | None
    """How it gets on (`DeviceStatus`)."""
    health_at: float | None
    online: bool | None
    """None where its broker has not said."""
    online_at: float | None
    """Since when that is so."""
    last_at: float | None
    """When the last message of it was stored."""
    events_today: int
    """Since midnight here."""
    coverage: float | None
    """Share of the last 24 hours that its sources were heard, by what it has said of each hour.

    Hours of which it said nothing count as not heard; None where it said nothing of any.
    """
    lost: int
    """Messages that never came."""


class PlaceCount(Record):
    """How many events of a class there are at a place."""

    place: str | None
    """None: of devices that have said none."""
    label: str
    count: int


class ScorePart(Record):
    """Scores of a source without a gap."""

    at: float
    """Of the first step."""
    onset: float
    """The same, in seconds since the source began."""
    step_s: float
    scores: dict[str, list[float]]
    """By class, one for each step; 0 where it was below the floor of what is stored."""


class ScoreSpan(Record):
    """Scores of a source in a span of time."""

    source: str
    labels: list[str]
    """The classes of `parts`, the highest first."""
    thresholds: dict[str, float | None]
    """What was in force for these; None: not reported."""
    parts: list[ScorePart]
    events: list[StoredEvent]
    """Those of the source that overlap the span."""
    gaps: list[StoredGap]


class WhyStep(Record):
    """A step of one class."""

    at: float
    score: float | None
    """None where nothing was scored."""
    stage: Stage


class LabelScore(Record):
    """The score of a class at a moment."""

    label: str
    score: float
    threshold: float | None


class Explanation(Record):
    """Why a class was reported at a moment, or was not."""

    source: str
    label: str
    at: float
    """The moment that was asked for."""
    stage: Stage
    """What decided there."""
    text: str
    """The same in a sentence, with what to change."""
    threshold: float | None
    """None where the class is not reported, or nothing is known of it."""
    release: float | None
    min_length_s: float | None
    """Evidence that the class needs."""
    would_report_at: float | None
    """The highest threshold at which there would be an event here; None where nothing is high enough to be stored."""
    event: StoredEvent | None
    """The one that was reported here."""
    steps: list[WhyStep]
    top: list[LabelScore]
    """The classes that score highest at the moment."""
