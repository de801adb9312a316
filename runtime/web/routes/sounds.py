"""Sounds of this device: teach, rename, delete."""

from __future__ import annotations

from fastapi import APIRouter

from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE, problems
from htsat_edge.runtime.web.schemas import EnrolIn, EnrolOut, RenameIn, SoundName, SoundOut, SoundsOut


def sound_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["sounds"], responses=STORE)

    @router.get("/sounds")
    def sounds() -> SoundsOut:
        """Return the sounds of this device, and whether more can be learned."""
        return page.teacher.sounds()

    @router.post("/sounds", responses=problems(409, 413))
    def enroll(wanted: EnrolIn) -> EnrolOut:
        """Learn a sound from events and uploads; it is heard some seconds later, unless the report refuses it."""
        return page.teacher.learn(wanted)

    @router.patch("/sounds/{name}", responses=problems(404, 409, 413))
    def rename(name: SoundName, wanted: RenameIn) -> SoundOut:
        """Give a sound another label, by which it is reported from now on."""
        return page.teacher.rename(name, wanted.label)

    @router.delete("/sounds/{name}", status_code=204, responses=problems(404, 409))
    def remove(name: SoundName) -> None:
        """Delete a sound, with its recordings."""
        page.teacher.remove(name)

    @router.post("/sounds/{name}/refresh", responses=problems(404, 409))
    def refresh(name: SoundName) -> EnrolOut:
        """Learn a sound again, from its recordings and its events that somebody has called wrong."""
        return page.teacher.refresh(name)

    return router
