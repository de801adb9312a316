"""Files of sounds: recordings to learn from, and sounds that go from device to device."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE, not_found, problems
from htsat_edge.runtime.web.schemas import SoundName, SoundOut, UploadId, UploadOut

PART = 1 << 16


def takes(*kinds: str) -> dict[str, Any]:
    """Return, for the API's schema, that a body is a file of one of these kinds."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {"requestBody": {"required": True, "content": content}}


def sound_file_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["sounds"], responses=STORE)
    received = problems(408, 409, 413)

    @router.post(
        "/sounds/uploads",
        status_code=201,
        responses=received,
        openapi_extra=takes("application/octet-stream", "audio/wav"),
    )
    async def upload(request: Request, filename: Annotated[str, Query(max_length=255)] = "") -> UploadOut:
        """Keep a recording for an hour, to learn a sound from; any format, 30 s at most."""
        return await keep(page, request, filename)

    @router.delete("/sounds/uploads/{upload}", status_code=204, responses=problems(404))
    def remove_upload(upload: UploadId) -> None:
        """Delete a recording that was sent."""
        if not page.uploads.remove([upload]):
            raise not_found(f"upload {upload}")

    @router.post(
        "/sounds/import", responses=received, openapi_extra=takes("application/octet-stream", "application/zip")
    )
    async def import_sound(request: Request) -> SoundOut:
        """Add a sound that another device with the same model has exported."""
        with tempfile.TemporaryFile() as file:
            await receive(request, file)
            return await run_in_threadpool(page.teacher.add_from, file)

    zipped = {"content": {"application/zip": {}}, "description": "The sound, with its recordings"}

    @router.get(
        "/sounds/{name}/export", response_class=StreamingResponse, responses={200: zipped, **problems(404, 409)}
    )
    def export(name: SoundName) -> StreamingResponse:
        """Return a sound with its recordings, for other devices with the same model."""
        file = page.teacher.export(name)
        headers = {"Content-Disposition": 'attachment; filename="htsat-edge-sound.zip"'}
        return StreamingResponse(parts_of(file), media_type="application/zip", headers=headers)

    return router


async def keep(page: PageContext, request: Request, filename: str) -> UploadOut:
    """Keep the recording that a request sends; raise where it is none."""
    library = await run_in_threadpool(lambda: page.teacher.library)
    token, path = await run_in_threadpool(page.uploads.begin, filename)
    try:
        with path.open("xb") as file:
            await receive(request, file)
        rate = library.bundle.info.front_end.sample_rate
        kept = await run_in_threadpool(page.uploads.keep, token, filename, rate)
    finally:
        await run_in_threadpool(page.uploads.end, token)
    return UploadOut(id=kept.id, name=kept.name, seconds=kept.seconds)


async def receive(request: Request, file: IO[bytes]) -> None:
    """Write the body of a request to a file as it comes; the guard bounds it."""
    try:
        async for part in request.stream():
            await run_in_threadpool(file.write, part)
        file.flush()
    except OSError as error:
        raise HtsatEdgeError(f"what was sent cannot be kept: {error.strerror}") from None


def parts_of(file: IO[bytes]) -> Iterator[bytes]:
    """Yield what a file holds, and close it."""
    with file:
        while part := file.read(PART):
            yield part
