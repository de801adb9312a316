"""The page as an application (ASGI): its files, its API, and the guard before both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

import htsat_edge
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.guard import Guard
from htsat_edge.runtime.web.hub import Hub
from htsat_edge.runtime.web.logins import Logins
from htsat_edge.runtime.web.openapi import describe_api
from htsat_edge.runtime.web.passwords import read_password
from htsat_edge.runtime.web.problems import report_problems
from htsat_edge.runtime.web.routes.clips import clip_routes
from htsat_edge.runtime.web.routes.device import device_routes
from htsat_edge.runtime.web.routes.events import event_routes
from htsat_edge.runtime.web.routes.export import export_routes
from htsat_edge.runtime.web.routes.fleet import fleet_routes
from htsat_edge.runtime.web.routes.fleet_clips import fleet_clip_routes
from htsat_edge.runtime.web.routes.live import live_routes
from htsat_edge.runtime.web.routes.scores import score_routes
from htsat_edge.runtime.web.routes.session import session_routes
from htsat_edge.runtime.web.routes.sound_files import sound_file_routes
from htsat_edge.runtime.web.routes.sounds import sound_routes
from htsat_edge.runtime.web.routes.tune import tune_routes
from htsat_edge.runtime.web.settings import PageSettings
from htsat_edge.runtime.web.teacher import Teacher
from htsat_edge.runtime.web.uploads import Uploads

STATIC = Path(__file__).resolve().parent / "static"
"""Resolved, as an editable installation is a tree of links, which are not followed."""
ROUTES = (
    session_routes,
    device_routes,
    live_routes,
    event_routes,
    score_routes,
    clip_routes,
    export_routes,
    tune_routes,
    sound_routes,
    sound_file_routes,
)
FLEET_ROUTES = (session_routes, fleet_routes, event_routes, fleet_clip_routes)
"""Of the page of a collector, which hears nothing itself."""
THREADS = 8
"""In which the store is read; each may need some memory."""
EXPIRE_S = 600.0


def make_app(settings: PageSettings) -> FastAPI:
    """Return the page; raise an HtsatEdgeError where its password cannot be read."""
    password_file = settings.web.password_file
    logins = Logins(None if password_file is None else read_password(password_file))
    uploads = Uploads()
    page = PageContext(settings, Hub(settings.socket), logins, uploads, Teacher(settings, uploads))

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        expiring = asyncio.create_task(expire(page))
        yield
        expiring.cancel()
        await page.hub.close()
        page.uploads.close()

    app = FastAPI(
        title="htsat-edge",
        version=htsat_edge.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # it would fetch scripts from elsewhere
        redoc_url=None,
        lifespan=living,
    )
    app.state.hub = page.hub
    api = APIRouter(prefix="/api")
    for make_routes in FLEET_ROUTES if settings.fleet else ROUTES:
        api.include_router(make_routes(page))
    app.include_router(api)
    report_problems(app)
    describe_api(app)

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        """Return the page."""
        return FileResponse(STATIC / "index.html")

    app.mount("/static", GZipMiddleware(StaticFiles(directory=STATIC)))
    app.add_middleware(Guard, logins=logins, cookie=page.cookie, names=[*settings.web.names, settings.web.host])
    return app


async def expire(page: PageContext) -> None:
    """Delete from time to time what was sent and not used."""
    while True:
        await asyncio.sleep(EXPIRE_S)
        await run_in_threadpool(page.uploads.expire)
