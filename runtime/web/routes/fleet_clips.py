"""Recordings of the events of a fleet, each from the device that holds it."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.device_pages import KINDS, DevicePageError, DevicePages
from htsat_edge.runtime.web.fleet_schemas import DeviceSummary
from htsat_edge.runtime.web.fleet_summary import summary_of
from htsat_edge.runtime.web.problems import STORE, not_found, problems
from htsat_edge.runtime.web.routes.clips import ClipName
from htsat_edge.runtime.web.routes.events import NO_NULL

MOST_FETCHING, MOST_OF_DEVICE = 8, 2
"""Clips that are fetched at a time, of all devices and of one; others wait, and no thread of the page does."""
NO_PAGE = (
    "it has not said where its page is, from which the clip would come: give there, in `outputs.mqtt.page`, the "
    "address of its `web` as it is reached from here"
)
RANGE = re.compile(r"bytes=\d{0,18}-\d{0,18}", re.ASCII)
"""A range that is passed on; as in HTTP, another is no range, and the whole clip is the answer."""


def fleet_clip_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["clips"], responses=STORE)
    pages = DevicePages(page.settings.page_password, page.settings.page_hosts)
    fetching = anyio.CapacityLimiter(MOST_FETCHING)
    of_device = defaultdict[str, anyio.CapacityLimiter](lambda: anyio.CapacityLimiter(MOST_OF_DEVICE))
    sound = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS.values()}}

    @router.get(
        "/clips/{name}",
        response_class=Response,
        responses={
            200: {**sound, "description": "The recording"},
            206: {**sound, "description": "A range of it"},
            **problems(404, 416, 502, 504),
        },
    )
    async def clip(
        request: Request,
        name: ClipName,
        device: Annotated[str, Query(min_length=1, max_length=1000, pattern=NO_NULL)],
    ) -> Response:
        """Return a recording of an event of a device, or a range of it, as the device's own page gives it."""
        holder = await run_in_threadpool(find_holder, page, device, name)
        if holder.page is None:
            raise HTTPException(502, shown(f"{holder.name}: {NO_PAGE}"))
        asked = request.headers.get("range", "")
        part = asked if RANGE.fullmatch(asked) else None
        try:
            async with of_device[device]:
                if await has_left(request):
                    raise HTTPException(502, "nobody waits for the clip any more")
                fetched = await anyio.to_thread.run_sync(pages.fetch, holder.page, name, part, limiter=fetching)
        except DevicePageError as error:
            gone = " (it is offline; its clips can be heard when it is back)" if holder.state == "offline" else ""
            raise HTTPException(error.status, shown(f"{holder.name}: {error.detail}{gone}")) from None
        headers = {**fetched.headers, "Cache-Control": "private, no-cache"}
        return Response(fetched.content, fetched.status, headers, fetched.kind)

    return router


async def has_left(request: Request) -> bool:
    """Return whether whoever has asked is gone, as one is who hurries through the list."""
    await request.body()  # else that would come first
    return await request.is_disconnected()


def find_holder(page: PageContext, device: str, name: str) -> DeviceSummary:
    """Return the device that holds a clip; raise where it is not known to have that clip."""
    with page.read() as reader:
        there = reader.device(device) if reader.clip(name, device) is not None else None
    if there is None:
        raise not_found(f"clip {name} of {device}")
    return summary_of(there, time.time())
