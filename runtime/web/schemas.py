"""The bodies of the API that are not records of the store, nor messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveSource
from htsat_edge.runtime.store.records import Key, Record, StoredGap, StoredStatus, StoreInfo, Verdict

MOST_VERDICTS = 1000
"""In one request."""


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
