"""The bodies of the API that are not records of the store, nor messages."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveSource
from htsat_edge.runtime.models.sounds import LONGEST_LABEL, SoundReport
from htsat_edge.runtime.store.records import At, Key, Record, StoredGap, StoredStatus, StoreInfo, Verdict, tidy
from htsat_edge.runtime.tuning.records import ThresholdChange

MOST_VERDICTS, MOST_CHANGES, MOST_RECORDINGS = 1000, 100, 50
"""In one request."""
SoundLabel = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL), BeforeValidator(tidy)]
"""What cannot be printed is left out."""
SoundName = Annotated[str, Field(pattern="^[^./][^/]*$", max_length=200)]
"""Of its files."""
UploadId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class ApiProblem(Record):
    """Why a request was not answered as wanted."""

    detail: str
    """What is wrong, and how to mend it, in one line."""


class Login(Record):
    """The password of the page."""

    password: Annotated[str, Field(min_length=1, max_length=1000)]


class SessionInfo(Record):
    """What a browser must know before all else."""

    version: str
    needs_password: bool
    logged_in: bool
    """True, too, where no password is needed."""
    zone: str | None
    """Time zone of the device, such as Europe/Berlin; None where it has no such name."""
    clips: bool
    """Whether clips can be played."""
    demo: bool
    fleet: bool
    """Whether the page is of a collector, with the events of many devices."""


class SourceInfo(Record):
    """A source of the store."""

    name: str
    labels: list[str]
    """Those that its events can have, as it was heard last."""
    thresholds: dict[str, float]
    """Of these."""
    step_s: float | None
    first_at: float | None
    last_at: float | None
    """When something of it was stored for the first and the last time."""
    live: LiveSource | None
    """How it gets on; None where the daemon does not run, or no longer listens to it."""


class CoverageHour(Record):
    """How much of an hour of a source was heard."""

    source: str
    at: float
    share: float
    gaps: int


class DeviceView(Record):
    """How the device gets on."""

    daemon: bool
    """Whether the daemon runs."""
    status: DeviceStatus | None
    """The last that it has sent; None while it does not run."""
    store: StoreInfo
    coverage: list[CoverageHour]
    """Of the last 24 hours."""
    gaps: list[StoredGap]
    """The newest first."""
    statuses: list[StoredStatus]
    """Faults, and what became of them, the newest first."""


class VerdictsIn(Record):
    """Verdicts to be stored, each in place of the event's present one."""

    verdicts: Annotated[list[Verdict], Field(min_length=1, max_length=MOST_VERDICTS)]


class VerdictsOut(Record):
    """What has changed: to store `before` undoes it."""

    before: list[Verdict]
    after: list[Verdict]
    unknown: list[Key]
    """Events that do not exist."""


class ChangesIn(Record):
    """New thresholds."""

    changes: Annotated[list[ThresholdChange], Field(min_length=1, max_length=MOST_CHANGES)]


class PreviewIn(ChangesIn):
    """New thresholds, and the period to try them on."""

    from_at: At
    to_at: At


class SoundOut(Record):
    """A sound that was enrolled on this device."""

    name: str
    """Of its files."""
    label: str
    threshold: float | None
    """None where the sound cannot be read."""
    enrolled_at: datetime | None
    state: Literal["in_use", "stale", "problem"]
    """`stale`: learned for another graph, and not heard until it is learned again; `problem`: it cannot be used."""
    problem: str
    """Why it cannot be used; empty where it can."""
    recordings: int
    """Those of the sound itself."""
    report: SoundReport | None
    """How well it is told from everything else."""


class SoundsOut(Record):
    """The sounds that were enrolled on this device."""

    can_enroll: bool
    reason: str
    """Why no sound can be enrolled here; empty where one can."""
    sounds: list[SoundOut]


class UploadOut(Record):
    """A recording that waits to be learned from."""

    id: UploadId
    name: str
    """Of the file, as it was sent."""
    seconds: float


class EnrolIn(Record):
    """Recordings to learn a sound from: events of the store, or uploads."""

    label: SoundLabel
    events: Annotated[list[Key], Field(default_factory=list, max_length=MOST_RECORDINGS)]
    """Keys of events whose clips are kept."""
    uploads: Annotated[list[UploadId], Field(default_factory=list, max_length=MOST_RECORDINGS)]
    replace: bool = False
    """Whether a sound of this label is learned anew; else it is refused where there is one."""


class EnrolOut(Record):
    """What became of it."""

    sound: SoundOut | None
    """None where it was refused, and nothing was changed; the report says why."""
    report: SoundReport


class RenameIn(Record):
    """What a sound is to be called."""

    label: SoundLabel
