"""Recordings of events, to listen to."""

from __future__ import annotations

import stat
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import FileResponse

from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.device_pages import KINDS
from htsat_edge.runtime.web.problems import STORE, not_found, problems

ClipName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.+-]*\.(flac|wav)$", max_length=255)]


def clip_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["clips"], responses=STORE)

    @router.get(
        "/clips/{name}",
        response_class=FileResponse,
        responses={
            200: {"content": {kind: {} for kind in KINDS.values()}, "description": "The recording"},
            206: {"content": {kind: {} for kind in KINDS.values()}, "description": "A range of it"},
            **problems(404),
        },
    )
    def clip(name: ClipName) -> FileResponse:
        """Return a recording of an event, or a range of it."""
        with page.read() as reader:
            known = reader.clip(name)
        if known is None or page.settings.clips is None:
            raise not_found(f"clip {name}")
        path = page.settings.clips / name
        try:
            status = path.lstat()
        except OSError:
            status = None
        if status is None or not stat.S_ISREG(status.st_mode):
            raise HTTPException(404, f"clip {name} is gone")
        headers = {"Cache-Control": "private, no-cache"}
        return FileResponse(path, media_type=KINDS[path.suffix], stat_result=status, headers=headers)

    return router
