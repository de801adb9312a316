"""Sources, thresholds, and how the device gets on."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from htsat_edge.runtime.daemon.live.frames import DeviceStatus
from htsat_edge.runtime.store.reader import StoredSource
from htsat_edge.runtime.store.records import StoredStatus
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE
from htsat_edge.runtime.web.schemas import CoverageHour, DeviceView, SourceInfo

DAY_S = 86_400.0
MOST_GAPS, MOST_STATUSES, MOST_HOURS = 100, 100, 2000
FAULTS = (
    "listening",
    "source_lost",
    "source_back",
    "source_failed",
    "source_paused",
    "source_resumed",
    "input_fault",
    "input_ok",
    "output_failed",
    "output_back",
    "hop_changed",
    "clock_set",
    "config_loaded",
    "config_rejected",
    "command_rejected",
    "backend_changed",
    "enrolled",
)
"""States that tell how the device gets on."""


def device_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["device"], responses=STORE)

    @router.get("/sources")
    async def sources() -> list[SourceInfo]:
        """Return every source that the store knows, or that is listened to."""
        stored, status = await asyncio.gather(run_in_threadpool(stored_sources, page), page.hub.status())
        return join_sources(stored, status)

    @router.get("/thresholds")
    def thresholds() -> dict[str, dict[str, float]]:
        """Return the thresholds of every class that is reported, by source, as it was heard last."""
        return {source.name: thresholds_of(source) for source in stored_sources(page)}

    @router.get("/device")
    async def device() -> DeviceView:
        """Return how the device gets on, and what went wrong of late."""
        stored, status = await asyncio.gather(run_in_threadpool(read_device, page), page.hub.status())
        return stored.model_copy(update={"daemon": status is not None, "status": status})

    return router


def stored_sources(page: PageContext) -> list[StoredSource]:
    """Return the sources of the store."""
    with page.read() as reader:
        return reader.sources()


def join_sources(stored: list[StoredSource], status: DeviceStatus | None) -> list[SourceInfo]:
    """Return the sources of the store, and those that the daemon listens to but has stored nothing of."""
    live = {} if status is None else {source.name: source for source in status.sources}
    infos = [
        SourceInfo(
            name=source.name,
            labels=list(thresholds_of(source)),
            thresholds=thresholds_of(source),
            step_s=source.setup.step_s if source.setup else None,
            first_at=source.first_at,
            last_at=source.last_at,
            live=live.pop(source.name, None),
        )
        for source in stored
    ]
    return infos + [
        SourceInfo(name=name, labels=[], thresholds={}, step_s=None, first_at=None, last_at=None, live=source)
        for name, source in live.items()
    ]


def thresholds_of(source: StoredSource) -> dict[str, float]:
    """Return the thresholds of the classes that a source reports."""
    if source.setup is None:
        return {}
    pairs = zip(source.setup.labels, source.setup.thresholds, strict=True)
    return {label: round(threshold, 4) for label, threshold in pairs if threshold is not None}


def read_device(page: PageContext) -> DeviceView:
    """Return what the store knows of the device."""
    now = time.time()
    with page.read() as reader:
        hours = reader.statuses(now - DAY_S, now, states=["coverage"], limit=MOST_HOURS)
        return DeviceView(
            daemon=False,
            status=None,
            store=reader.info(),
            coverage=[hour for status in hours if (hour := coverage_of(status)) is not None],
            gaps=reader.gaps(now - DAY_S, now, limit=MOST_GAPS),
            statuses=reader.statuses(0, now, states=FAULTS, limit=MOST_STATUSES),
        )


def coverage_of(status: StoredStatus) -> CoverageHour | None:
    """Return the hour that a status tells of; None where it cannot be read."""
    share, gaps = status.message.get("share"), status.message.get("gaps")
    if status.source is None or not isinstance(share, int | float) or not isinstance(gaps, int):
        return None
    return CoverageHour(source=status.source, at=status.at, share=share, gaps=gaps)
