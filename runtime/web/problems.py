"""What is answered where something is wrong: one line, as `ApiProblem` has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line, shown
from htsat_edge.runtime.store.problems import ContentError, StoreError
from htsat_edge.runtime.web.schemas import ApiProblem

Responses = dict[int | str, dict[str, Any]]
TEXTS = {
    400: "Something in the request is wrong",
    401: "A login is needed, or the password is wrong",
    403: "The request comes from another page, or for another host",
    404: "It does not exist",
    408: "The body has not come in time",
    409: "It cannot be done at present, or not here",
    413: "The body is too long",
    416: "The file has no such range",
    429: "Too many tries",
    500: "The page has failed",
    502: "The device does not give it",
    503: "The store cannot be read or written at present",
    504: "The device does not answer in time",
}


def problems(*more: int) -> Responses:
    """Return what every request may be answered with, and `more`, for the API's schema."""
    return {status: {"model": ApiProblem, "description": TEXTS[status]} for status in sorted({400, 403, *more})}


STORE = problems(401, 503)
"""Of all that reads the store."""


def report_problems(app: FastAPI) -> None:
    """Have errors answered in one line."""

    @app.exception_handler(RequestValidationError)
    def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return answer(400, describe(error))

    @app.exception_handler(ContentError)
    def _content(_: Request, error: ContentError) -> JSONResponse:
        return answer(400, str(error))

    @app.exception_handler(StoreError)
    def _store(_: Request, error: StoreError) -> JSONResponse:
        return answer(503, str(error))

    @app.exception_handler(HtsatEdgeError)
    def _other(_: Request, error: HtsatEdgeError) -> JSONResponse:
        return answer(400, str(error))


def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer that says what is wrong."""
    return JSONResponse({"detail": shown(detail)}, status, headers)


def describe(error: RequestValidationError) -> str:
    """Return the first thing that is wrong with a request, and where it is."""
    first = error.errors()[0]
    place, *keys = first["loc"]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {in_one_line(first['ctx']['error'])}"
    where = ".".join(str(key) for key in keys) or "the body"
    return f"{where}: {in_one_line(first['msg'])}" if place != "header" else f"header {where}: {first['msg']}"


@contextmanager
def finding() -> Iterator[None]:
    """Answer that it does not exist where what is asked for is not in the store, but the store can be read."""
    try:
        yield
    except StoreError:
        raise
    except HtsatEdgeError as error:
        raise HTTPException(404, shown(str(error))) from None


def not_found(what: str) -> HTTPException:
    """Return the error for what does not exist."""
    return HTTPException(404, f"{shown(what)} does not exist")
