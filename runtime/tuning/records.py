"""What tuning says of classes and their thresholds; also the types of the page's API."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from htsat_edge.runtime.store.records import Label, Record, StoredEvent

Threshold = Annotated[float, Field(gt=0, le=1)]


class RateBody(Record):
    """How often something is, from how often it was while somebody listened; the interval is exact, of 95 %."""

    count: int
    """How often it was."""
    per_day: float
    """Times in 24 hours of listening."""
    low: float
    high: float


class TuneSuggestion(Record):
    """A threshold for a wanted rate."""

    threshold: Threshold
    rate: RateBody
    """With it, in the same period."""
    certain: bool
    """Whether the upper end of the interval keeps to the wanted rate, too."""
    note: str
    """What a person should know of it, in a sentence; empty where there is nothing."""


class TuneClass(Record):
    """A class of a source in a period."""

    label: str
    threshold: float
    """In force now."""
    listened_h: float
    """For so long the class was scored; gaps do not count."""
    events: int
    """Those that were reported."""
    early: int
    """Of these: early starts that the final scores did not bear out, which no replay finds."""
    rate: RateBody
    """At the threshold in force now, by replay, with early starts."""
    correct: int
    """Of `events`, by what people have said."""
    wrong: int
    suggestion: TuneSuggestion | None
    """For the wanted rate; None where no threshold that was tried keeps to it."""


class TuneOverview(Record):
    """All classes of a source that can be reported, those with most events first."""

    source: str
    from_at: float
    to_at: float
    """The end of what was looked at, in seconds since 1970."""
    wanted: float
    """Events a day, for which thresholds are suggested."""
    listened_h: float
    """For so long the source was scored."""
    classes: list[TuneClass]
    note: str
    """What a person should know of the period, in sentences; empty where there is nothing."""


class TunePoint(Record):
    """What a threshold would have made of a period."""

    threshold: Threshold
    events: int
    """That would have been reported, after all rules, with early starts as they were at the threshold in force."""
    per_day: float
    low: float
    """Of the interval of `per_day`, 95 %."""
    high: float
    false_per_day: float | None
    """Events a day that are wrong, from what people have said of others with such scores; None: too few verdicts."""
    false_low: float | None
    false_high: float | None
    precision: float | None
    """Expected share of the events that are right."""
    precision_low: float | None
    precision_high: float | None
    recall: float | None
    """Expected right events, as a share of those at the lowest threshold of the curve."""
    recall_low: float | None
    recall_high: float | None


class TuneCurve(Record):
    """What each of many thresholds of a class would have made of a period."""

    source: str
    label: str
    from_at: float
    to_at: float
    threshold: float
    """In force now."""
    share_release: float
    """An event goes on while its score is at least this share of the threshold."""
    listened_h: float
    early: int
    """Early starts that the final scores did not bear out."""
    correct: int
    """What people have said of the events of the period."""
    wrong: int
    points: list[TunePoint]
    """The lowest threshold first; one of them is that in force now."""
    note: str
    """What a person should know of it, in sentences; empty where there is nothing."""


class ThresholdChange(Record):
    """A new threshold."""

    source: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """None: for all sources."""
    label: Label
    threshold: Threshold


class TunePreview(Record):
    """What new thresholds would do, and what would be written."""

    diff: str
    """The configuration file's, unified; empty where nothing can be written."""
    note: str = ""
    """Why nothing can be written, or what that would not reach, in sentences; empty where there is nothing."""
    before: float
    """Events a day of the changed classes at the thresholds in force, with all sources that are concerned."""
    after: float
    gone: list[StoredEvent]
    """Stored events of the period that there would not be, the newest first."""
    gone_total: int
    new: int
    """Events that there would be, and are not."""


class TuneApplied(Record):
    """What was written."""

    path: str
    backup: str
    """The file as it was before."""
    diff: str
