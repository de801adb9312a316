"""Thresholds: what others would have made of a period, and write them into the daemon's configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.daemon.config.rules import RulesConfig
from htsat_edge.runtime.store.records import At, Label
from htsat_edge.runtime.tuning.configuration import ThresholdPlan, plan
from htsat_edge.runtime.tuning.intervals import DAY_S, MOST_DAYS
from htsat_edge.runtime.tuning.overview import curve, overview, try_changes
from htsat_edge.runtime.tuning.records import ThresholdChange, TuneApplied, TuneCurve, TuneOverview, TunePreview
from htsat_edge.runtime.web.context import PageContext
from htsat_edge.runtime.web.problems import STORE, finding, problems
from htsat_edge.runtime.web.schemas import ChangesIn, PreviewIn

MOST_LABELS = 50
NO_FILE = (
    "the page does not know the daemon's configuration file: start it with the daemon, by `web:` in that file, or by "
    "`htsat-edge web --config FILE`"
)
Name = Annotated[str, Query(min_length=1, max_length=200)]
Labels = Annotated[list[Label], Query(max_length=MOST_LABELS)]
PerDay = Annotated[float, Query(gt=0, le=100_000)]
Answer = TypeVar("Answer")


def tune_routes(page: PageContext) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["tune"], responses=STORE)
    rules = RulesConfig() if page.settings.config is None else page.settings.config.rules
    one = anyio.CapacityLimiter(1)

    async def in_turn(work: Callable[[], Answer]) -> Answer:
        """Do one piece of long work at a time, in a thread; whoever waits for a turn takes none."""
        return await anyio.to_thread.run_sync(work, limiter=one)

    @router.get("/tune", responses=problems(404))
    async def tune(
        source: Name,
        from_at: At,
        to_at: At,
        per_day: PerDay = 1.0,
        label: Labels = [],  # noqa: B006
    ) -> TuneOverview:
        """Return how often each class of a source is reported, and the thresholds for a wanted rate."""
        check_span(from_at, to_at)
        return await in_turn(partial(read_overview, page, source, from_at, to_at, rules, per_day, label))

    @router.get("/tune/curve", responses=problems(404))
    async def tune_curve(source: Name, label: Annotated[Label, Query()], from_at: At, to_at: At) -> TuneCurve:
        """Return what each of many thresholds of a class would have made of a period of 31 days at most."""
        check_span(from_at, to_at)
        return await in_turn(partial(read_curve, page, source, label, from_at, to_at, rules))

    @router.post("/tune/preview", responses=problems(404, 413))
    async def preview(wanted: PreviewIn) -> TunePreview:
        """Return what new thresholds would have made of a period, and what would be written; nothing is."""
        check_span(wanted.from_at, wanted.to_at)
        return await in_turn(partial(read_preview, page, wanted, rules))

    @router.post("/tune/apply", responses=problems(409, 413))
    async def apply(wanted: ChangesIn) -> TuneApplied:
        """Write new thresholds into the daemon's configuration file, which takes them over; the old one is kept."""
        if page.settings.config_file is None:
            raise HTTPException(409, NO_FILE)
        return await in_turn(partial(write_changes, page.settings.config_file, wanted.changes))

    return router


def check_span(from_at: float, to_at: float) -> None:
    """Raise where a period is none, or too long."""
    if not from_at < to_at:
        raise HTTPException(400, "to_at: want a time after from_at")
    if to_at - from_at > MOST_DAYS * DAY_S:
        raise HTTPException(400, f"to_at: want at most {MOST_DAYS} days after from_at")


def read_overview(
    page: PageContext,
    source: str,
    from_at: float,
    to_at: float,
    rules: RulesConfig,
    per_day: float,
    labels: Sequence[str],
) -> TuneOverview:
    """Return the classes of a source."""
    with finding(), page.read() as reader:
        return overview(reader, source, from_at, to_at, rules, per_day=per_day, labels=labels or None)


def read_curve(
    page: PageContext, source: str, label: str, from_at: float, to_at: float, rules: RulesConfig
) -> TuneCurve:
    """Return the curve of a class."""
    with finding(), page.read() as reader:
        return curve(reader, source, label, from_at, to_at, rules)


def read_preview(page: PageContext, wanted: PreviewIn, rules: RulesConfig) -> TunePreview:
    """Return what new thresholds would do."""
    planned: ThresholdPlan | str = NO_FILE
    if page.settings.config_file is not None:
        try:
            planned = plan(page.settings.config_file, wanted.changes)
        except HtsatEdgeError as error:  # what they would do is worth to know all the same
            planned = shown(str(error))
    with finding(), page.read() as reader:
        return try_changes(reader, None, wanted.changes, wanted.from_at, wanted.to_at, rules, planned)


def write_changes(path: Path, changes: Sequence[ThresholdChange]) -> TuneApplied:
    """Write new thresholds into a configuration file."""
    planned = plan(path, changes)
    return TuneApplied(path=str(path), backup=str(planned.write()), diff=planned.diff)
