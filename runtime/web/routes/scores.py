"""Scores, and why a class was reported or was not."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from htsat_edge.runtime.store.records import At, Explanation, Label, ScoreSpan
from htsat_edge.runtime.store.why import explain, span
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE, finding, problems

LONGEST_S = 3600.0
MOST_LABELS = 50
Name = Annotated[str, Query(min_length=1, max_length=200)]


def score_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["scores"], responses=STORE)

    @router.get("/scores", responses=problems(404))
    def scores(
        source: Name,
        from_at: At,
        to_at: At,
        label: Annotated[list[Label], Query(max_length=MOST_LABELS)] = [],  # noqa: B006
    ) -> ScoreSpan:
        """Return the scores of a source in a span of an hour at most: of some classes, or of the highest."""
        if not from_at < to_at:
            raise HTTPException(400, "to_at: want a time after from_at")
        if to_at - from_at > LONGEST_S:
            raise HTTPException(400, f"to_at: want at most {LONGEST_S:g} s after from_at")
        with finding(), page.read() as reader:
            return span(reader, source, from_at, to_at, label or None)

    @router.get("/why", responses=problems(404))
    def why(source: Name, label: Annotated[Label, Query()], at: At) -> Explanation:
        """Return why a class was reported at a moment, or was not."""
        with finding(), page.read() as reader:
            return explain(reader, source, label, at)

    return router
