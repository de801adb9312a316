"""Who looks: log in and out."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

import htsat_edge
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.guard import token_of
from htsat_edge.runtime.web.logins import SESSION_S
from htsat_edge.runtime.web.problems import problems
from htsat_edge.runtime.web.schemas import Login, SessionInfo

DEVICE_S = 365 * 86_400
ZONES = "/zoneinfo/"


def session_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["session"])
    known_cookie = f"{page.cookie}-known"

    @router.get("/session", responses=problems())
    def session(request: Request) -> SessionInfo:
        """Return what a browser must know before all else; it needs no login."""
        return info_of(page, page.logins.is_in(token_of(request.headers, page.cookie)))

    @router.post("/login", responses=problems(401, 413, 429))
    def log_in(login: Login, request: Request, response: Response) -> SessionInfo:
        """Log in, with a cookie."""
        address = request.client.host if request.client else ""
        token, wait_s = page.logins.try_password(login.password, address, token_of(request.headers, known_cookie))
        if wait_s:
            seconds = math.ceil(wait_s)
            raise HTTPException(429, f"too many tries; wait {seconds} s", {"Retry-After": str(seconds)})
        if token is None:
            raise HTTPException(401, "the password is wrong")
        secure = request.url.scheme == "https"
        if token:
            response.set_cookie(
                page.cookie, token, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=secure
            )
            response.set_cookie(
                known_cookie,
                page.logins.device_token(),
                max_age=DEVICE_S,
                httponly=True,
                samesite="strict",
                secure=secure,
            )
        return info_of(page, True)

    @router.post("/logout", responses=problems())
    def log_out(request: Request, response: Response) -> SessionInfo:
        """Log out; it needs no login."""
        page.logins.log_out(token_of(request.headers, page.cookie))
        response.delete_cookie(page.cookie, httponly=True, samesite="strict")
        return info_of(page, not page.logins.needs_password)

    return router


def info_of(page: PageContext, logged_in: bool) -> SessionInfo:
    """Return what a browser must know."""
    return SessionInfo(
        version=htsat_edge.__version__,
        needs_password=page.logins.needs_password,
        logged_in=logged_in,
        zone=zone_of(),
        clips=page.settings.clips is not None or page.settings.fleet,
        demo=page.settings.demo,
        fleet=page.settings.fleet,
    )


def zone_of(localtime: Path = Path("/etc/localtime"), timezone: Path = Path("/etc/timezone")) -> str | None:
    """Return the name of the device's time zone, such as Europe/Berlin; None where none is known."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if not name and ZONES in (target := str(localtime.resolve())):
        name = target.rpartition(ZONES)[2]
    if not name:
        with suppress(OSError, UnicodeDecodeError):
            name = timezone.read_text().strip()
    return name if re.fullmatch(r"[A-Za-z]+(/[A-Za-z0-9_+-]+)+|UTC", name) else None
