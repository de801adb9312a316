"""What people said of events, with the clips, to take along."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse

from htsat_edge.runtime.store.export import Export, plan_export, write_zip
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE, finding, problems

PART = 1 << 16


def export_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["clips"], responses=STORE)
    exporting = threading.Lock()

    @router.get(
        "/export",
        response_class=StreamingResponse,
        responses={
            200: {"content": {"application/zip": {}}, "description": "manifest.csv, and clips"},
            **problems(404, 429),
        },
    )
    def export() -> StreamingResponse:
        """Return the events that have a verdict as a labelled data set, with their clips."""
        if page.settings.clips is None:
            raise HTTPException(404, "there are no clips: say in `outputs.clips` where they are to be kept")
        with finding(), page.read() as reader:
            planned = plan_export(reader, page.settings.clips)
        if not exporting.acquire(blocking=False):
            raise HTTPException(429, "another export is going on; wait for its end")
        parts = zipped(planned, exporting)
        next(parts)  # from here on it releases the lock, also where nobody takes the rest
        headers = {"Content-Disposition": 'attachment; filename="htsat-edge-verdicts.zip"'}
        return StreamingResponse(parts, media_type="application/zip", headers=headers)

    return router


def zipped(export: Export, exporting: threading.Lock) -> Iterator[bytes]:
    """Yield nothing, then an export as a ZIP, part by part: neither memory nor disk holds all of it.

    Release the lock at the end.
    """
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as stream:
            try:
                write_zip(export, stream)
            except BrokenPipeError:  # whoever asked has gone
                raise
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=write, name="export", daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb", buffering=0) as stream:  # closed before the thread is waited for
            yield b""
            while part := stream.read(PART):
                yield part
        if failures:
            raise failures[0]  # the answer ends in the middle, and is no whole ZIP
    finally:
        thread.join()
        exporting.release()
