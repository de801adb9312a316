"""What is known of the devices of a fleet, and how many events there are at each place."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.figures import midnight
from htsat_edge.runtime.store.filters import chosen_by
from htsat_edge.runtime.store.records import FleetDevice, PlaceCount

DAY_S = 86_400.0
LATE_S = 3900.0
"""A device says how much of an hour was heard when it is over."""

SILENT_S = 300.0
"""After which a device is silent that has not said how often it speaks; of others, after MISSED of these times."""
MISSED = 3


class SaidPace(BaseModel):
    """How often a device says how it gets on."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    health_s: Annotated[float, Field(gt=0)]


class SaidCoverage(BaseModel):
    """How much of a time a device says was heard."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    onset: float
    offset: float
    share: Annotated[float, Field(ge=0, le=1)]

    @property
    def length_s(self) -> float:
        """How long that time was."""
        return self.offset - self.onset

    @model_validator(mode="after")
    def _lasts(self) -> SaidCoverage:
        if not 1 <= self.length_s <= DAY_S:
            raise ValueError("want a second to a day")
        return self


class CoveredHour(NamedTuple):
    """How much of an hour of a source was heard."""

    begin: float
    end: float
    share: float


def read_devices(database: StoreConnection, now: float, device: str | None = None) -> list[FleetDevice]:
    """Return the devices, by their topics; or only the one with this topic, if it is known."""
    today = _events_since(database, midnight(*time.localtime(now)[:3]), device)
    coverage = _coverage(database, now, device)
    chosen = chosen_by(device=device)
    rows = database.execute(
        "SELECT device, place, info, info_at, health, health_at, online, online_at, last_at, lost FROM devices "
        f"WHERE 1 = 1{''.join(chosen)} ORDER BY device",
        [*chosen.values()],
    ).fetchall()
    return [
        FleetDevice(
            device=device,
            place=place,
            info=_parsed(info),
            info_at=info_at,
            health=_parsed(health),
            health_at=health_at,
            online=None if online is None else bool(online),
            online_at=online_at,
            last_at=last_at,
            events_today=today.get(device, 0),
            coverage=coverage.get(device),
            lost=lost,
        )
        for device, place, info, info_at, health, health_at, online, online_at, last_at, lost in rows
    ]


def is_silent(online: bool | None, online_at: float | None, spoke_at: float, info: object, as_of: float) -> bool:
    """Return whether a device says nothing, although it counts as online.

    A broker that has lost power no longer knows of which devices it is to publish that they are gone.

    Parameters
    ----------
    online, online_at
        Whether it counts as online, and since when.
    spoke_at
        When it said something last; 0 where it never has.
    info
        What it has said that it is.
    as_of
        When its broker was reached last: where that is away, its devices are not silent.
    """
    patience_s = SILENT_S
    with suppress(ValidationError):  # devices of other versions may say it otherwise
        patience_s = MISSED * SaidPace.model_validate(info).health_s
    return online is True and 0 < max(spoke_at, online_at or 0.0) < as_of - patience_s


def count_silent(database: StoreConnection, as_of: float) -> int:
    """Return how many devices are silent (`is_silent`)."""
    rows = database.execute("SELECT online_at, health_at, last_at, info FROM devices WHERE online = 1").fetchall()
    return sum(
        is_silent(True, online_at, max(health_at or 0.0, last_at or 0.0), _parsed(info), as_of)
        for online_at, health_at, last_at, info in rows
    )


def read_place_counts(database: StoreConnection, from_at: float, to_at: float) -> list[PlaceCount]:
    """Return how many events of each class began in a span at each place, the most frequent first."""
    rows = database.execute(
        "SELECT place, label, count(*) AS events FROM events JOIN sessions ON sessions.id = session "
        "JOIN devices ON devices.device = sessions.device WHERE at >= ? AND at < ? GROUP BY place, label "
        "ORDER BY events DESC, label, coalesce(place, '')",
        (from_at, to_at),
    )
    return [PlaceCount(place=place, label=label, count=count) for place, label, count in rows.fetchall()]


def _events_since(database: StoreConnection, at: float, device: str | None) -> dict[str, int]:
    chosen = chosen_by(device=device)
    rows = database.execute(
        "SELECT device, count(*) FROM events JOIN sessions ON sessions.id = session "
        f"WHERE at >= ? AND device IS NOT NULL{''.join(chosen)} GROUP BY device",
        [at, *chosen.values()],
    )
    return dict(rows.fetchall())


def _parsed(said: str | None) -> Any:
    """Return what a device says as JSON; None where it says nothing, or what only a parser can take."""
    with suppress(ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        return None if said is None else json.loads(said)
    return None


def _coverage(database: StoreConnection, now: float, device: str | None) -> dict[str, float]:
    """Return the share of the last day that the sources of each device were heard, where it has said anything of it."""
    chosen = chosen_by(**{"sessions.device": device})
    rows = database.execute(
        "SELECT sessions.device, source, at, message, first_at FROM statuses JOIN sessions ON sessions.id = session "
        "JOIN devices ON devices.device = sessions.device "
        f"WHERE state = 'coverage' AND at > ? AND at < ?{''.join(chosen)} ORDER BY at",
        [now - DAY_S, now + LATE_S, *chosen.values()],
    )
    hours: defaultdict[tuple[str, float, str], list[CoveredHour]] = defaultdict(list)
    for of_device, source, at, message, first_at in rows.fetchall():
        with suppress(ValidationError):  # devices of other versions may say it otherwise, and none is trusted
            said = SaidCoverage.model_validate_json(message)
            hours[of_device, first_at, source].append(CoveredHour(at - said.length_s, at, said.share))
    shares: defaultdict[str, list[float]] = defaultdict(list)
    for (of_device, first_at, _), of_source in hours.items():
        shares[of_device].append(_share(of_source, first_at, now))
    return {of_device: sum(of_sources) / len(of_sources) for of_device, of_sources in shares.items()}


def _share(hours: Sequence[CoveredHour], first_at: float, now: float) -> float:
    """Return how much was heard of the last day, or of the time since a device is known; what is unsaid was not."""
    begin = max(now - DAY_S, min(first_at, hours[0].begin))
    end = max(hours[-1].end, now - LATE_S)
    heard_s = sum(hour.share * (hour.end - max(hour.begin, begin)) for hour in hours)
    return min(1.0, max(0.0, heard_s / (end - begin)))
