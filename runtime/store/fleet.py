"""What is known of the devices of a fleet, and how many events there are at each place."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from htsat_edge.runtime.store.engine import StoreConnection
from htsat_edge.runtime.store.records import FleetDevice, PlaceCount

DAY_S = 86_400.0
LATE_S = 3900.0
"""A device says how much of an hour was heard when it is over."""


class CoveredHour(NamedTuple):
    """How much of an hour of a source was heard."""

    begin: float
    end: float
    share: float


def read_devices(database: StoreConnection, now: float) -> list[FleetDevice]:
    """Return the devices, by their topics."""
    today, coverage = _events_since(database, _midnight(now)), _coverage(database, now)
    rows = database.execute(
        "SELECT device, place, info, info_at, health, health_at, online, online_at, last_at, lost FROM devices "
        "ORDER BY device"
    ).fetchall()
    return [
        FleetDevice(
            device=device,
            place=place,
            info=None if info is None else json.loads(info),
            info_at=info_at,
            health=None if health is None else json.loads(health),
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


def read_place_counts(database: StoreConnection, from_at: float, to_at: float) -> list[PlaceCount]:
    """Return how many events of each class began in a span at each place, the most frequent first."""
    rows = database.execute(
        "SELECT place, label, count(*) AS events FROM events JOIN sessions ON sessions.id = session "
        "JOIN devices ON devices.device = sessions.device WHERE at >= ? AND at < ? GROUP BY place, label "
        "ORDER BY events DESC, label, coalesce(place, '')",
        (from_at, to_at),
    )
    return [PlaceCount(place=place, label=label, count=count) for place, label, count in rows.fetchall()]


def _events_since(database: StoreConnection, at: float) -> dict[str, int]:
    rows = database.execute(
        "SELECT device, count(*) FROM events JOIN sessions ON sessions.id = session "
        "WHERE at >= ? AND device IS NOT NULL GROUP BY device",
        (at,),
    )
    return dict(rows.fetchall())


def _midnight(now: float) -> float:
    local = time.localtime(now)
    return time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1))


def _coverage(database: StoreConnection, now: float) -> dict[str, float]:
    """Return the share of the last day that the sources of each device were heard, where it has said anything of it."""
    rows = database.execute(
        "SELECT sessions.device, source, at, message, first_at FROM statuses JOIN sessions ON sessions.id = session "
        "JOIN devices ON devices.device = sessions.device WHERE state = 'coverage' AND at > ? AND at < ? ORDER BY at",
        (now - DAY_S, now + LATE_S),
    )
    hours: defaultdict[tuple[str, float, str], list[CoveredHour]] = defaultdict(list)
    for device, source, at, message, first_at in rows.fetchall():
        with suppress(KeyError, TypeError):  # devices of other versions may say it otherwise
            content = json.loads(message)
            length_s = content["offset"] - content["onset"]
            hours[device, first_at, source].append(CoveredHour(at - length_s, at, content["share"]))
    shares: defaultdict[str, list[float]] = defaultdict(list)
    for (device, first_at, _), said in hours.items():
        shares[device].append(_share(said, first_at, now))
    return {device: sum(of_sources) / len(of_sources) for device, of_sources in shares.items()}


def _share(hours: Sequence[CoveredHour], first_at: float, now: float) -> float:
    """Return how much was heard of the last day, or of the time since a device is known; what is unsaid was not."""
    begin = max(now - DAY_S, min(first_at, hours[0].begin))
    end = max(hours[-1].end, now - LATE_S)
    heard_s = sum(hour.share * (hour.end - max(hour.begin, begin)) for hour in hours)
    return min(1.0, max(0.0, heard_s / (end - begin)))
