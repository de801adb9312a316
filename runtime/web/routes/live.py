"""What the daemon hears now."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.guard import token_of
from htsat_edge.runtime.web.hub import KEEP_ALIVE_S
from htsat_edge.runtime.web.problems import problems

EVENTS = """Server-sent events, each with a JSON object as its data: `frame` (LiveFrame), `device` (DeviceStatus),
`message` (what outputs get), `daemon` ({"running": …}, whether the daemon runs), `bye` ({"reason": …}, before the end
where too many look). The last 40 s of frames come first."""


def live_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["live"])

    @router.get(
        "/live",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": EVENTS},
            **problems(401),
        },
    )
    async def live(
        request: Request,
        source: Annotated[list[Annotated[str, Query(max_length=200)]], Query(max_length=1000)] = [],  # noqa: B006
        frames: bool = True,
    ) -> StreamingResponse:
        """Return what the daemon hears of some sources, or of all, until the browser goes."""
        token = token_of(request.headers, page.cookie)
        # Nginx would keep the answer until it has a whole buffer.
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(follow(page, source, frames, token), media_type="text/event-stream", headers=headers)

    return router


async def follow(page: PageContext, sources: list[str], frames: bool, token: str | None) -> AsyncIterator[bytes]:
    """Yield events for as long as whoever asked is logged in."""
    client = page.hub.add(sources, frames)
    checked_s = time.monotonic()
    try:
        async for event in client.events():
            yield event
            if time.monotonic() - checked_s > KEEP_ALIVE_S:
                checked_s = time.monotonic()
                if not page.logins.is_in(token):
                    return
    finally:
        page.hub.remove(client)
