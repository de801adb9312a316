"""The devices of a fleet, and how many events there are at each place."""

from __future__ import annotations

import time

from fastapi import APIRouter, HTTPException

from htsat_edge.runtime.store.records import At
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.fleet_schemas import FleetView, PlaceSummary
from htsat_edge.runtime.web.fleet_summary import place_summaries, summaries_of
from htsat_edge.runtime.web.problems import STORE


def fleet_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["fleet"], responses=STORE)

    @router.get("/fleet")
    def fleet() -> FleetView:
        """Return the devices, by place and name, and how they get on."""
        now, broker = time.time(), page.settings.broker and page.settings.broker()
        as_of = now if broker is None or broker.connected else broker.since
        with page.read() as reader:
            return FleetView(at=now, broker=broker, devices=summaries_of(reader.devices(), as_of))

    @router.get("/places")
    def places(from_at: At, to_at: At) -> list[PlaceSummary]:
        """Return how many events of each class began in a span of time, by place, the most first."""
        if not from_at < to_at:
            raise HTTPException(400, "to_at: want a time after from_at")
        with page.read() as reader:
            return place_summaries(reader.places(from_at, to_at))

    return router
