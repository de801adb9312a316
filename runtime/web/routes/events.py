"""Events, their figures, and what people say of them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query

from htsat_edge.runtime.store.filters import CURSOR
from htsat_edge.runtime.store.records import (
    At,
    DayCount,
    Decision,
    EventFilter,
    EventPage,
    Figures,
    Key,
    Label,
    StoredEvent,
)
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE, not_found, problems
from htsat_edge.runtime.web.schemas import VerdictsIn, VerdictsOut

MOST_EVENTS = 500
MOST_NAMES = 1000
PLACE = f"^{CURSOR.pattern}$".replace(r"\d", "[0-9]")
"""As readers of the API's schema understand it."""
NO_NULL = r"^[^\x00]*$"
"""No database holds that character."""
Names = Annotated[list[Annotated[str, Query(max_length=1000, pattern=NO_NULL)]], Query(max_length=MOST_NAMES)]


def filter_of(
    from_at: At | None = None,
    to_at: At | None = None,
    source: Names = [],  # noqa: B006
    label: Annotated[list[Label], Query(max_length=MOST_NAMES)] = [],  # noqa: B006
    decision: Decision | Literal["none"] | None = None,
    min_score: Annotated[float | None, Query(ge=0, le=1)] = None,
    locked: bool | None = None,
    has_clip: bool | None = None,
    device: Names = [],  # noqa: B006
    place: Names = [],  # noqa: B006
) -> EventFilter:
    """Return which events a request is about."""
    return EventFilter(
        from_at=from_at,
        to_at=to_at,
        sources=source,
        labels=label,
        decision=decision,
        min_score=min_score,
        locked=locked,
        has_clip=has_clip,
        devices=device,
        places=place,
    )


Wanted = Annotated[EventFilter, Depends(filter_of)]


def event_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["events"], responses=STORE)

    @router.get("/events")
    def events(
        wanted: Wanted,
        limit: Annotated[int, Query(ge=1, le=MOST_EVENTS)] = 100,
        after: Annotated[str | None, Query(pattern=PLACE)] = None,
    ) -> EventPage:
        """Return some events, the newest first; `after` is `next` of the page before."""
        with page.read() as reader:
            return reader.events(wanted, limit, after)

    @router.get("/events/{key}", responses=problems(404))
    def event(key: Annotated[Key, Path()]) -> StoredEvent:
        """Return an event."""
        with page.read() as reader:
            found = reader.event(key)
        if found is None:
            raise not_found(f"event {key}")
        return found

    @router.get("/days")
    def days(wanted: Wanted) -> list[DayCount]:
        """Return how many events each day has, the newest first."""
        with page.read() as reader:
            return reader.days(wanted)

    @router.get("/figures")
    def figures(wanted: Wanted) -> Figures:
        """Return how many events there are by class, by class and hour of the day, and by day."""
        with page.read() as reader:
            return reader.figures(wanted)

    @router.put("/verdicts", responses=problems(413))
    def verdicts(given: VerdictsIn) -> VerdictsOut:
        """Store verdicts, each in place of its event's present one; all or none."""
        before, after, unknown = put_verdicts(page.settings.store, given.verdicts)
        return VerdictsOut(before=before, after=after, unknown=unknown)

    return router
