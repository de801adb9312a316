"""`htsat-edge tune`: how often each class is reported, and the threshold at which it would be as often as is wanted."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from htsat_edge.runtime.commands import tune_report as report
from htsat_edge.runtime.commands.stored import find_store
from htsat_edge.runtime.common.command import require_matplotlib
from htsat_edge.runtime.common.errors import CheckFailed, HtsatEdgeError
from htsat_edge.runtime.common.marks import refuse_foreign
from htsat_edge.runtime.common.suggest import known_as, suggest
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.daemon.config import RulesConfig
from htsat_edge.runtime.store.reader import END_OF_TIME, StoredSource, StoreReader
from htsat_edge.runtime.tuning.configuration import DIGITS, ThresholdPlan, plan
from htsat_edge.runtime.tuning.intervals import DAY_S, MOST_DAYS
from htsat_edge.runtime.tuning.overview import curve, overview, try_changes
from htsat_edge.runtime.tuning.records import (
    ThresholdChange,
    TuneApplied,
    TuneClass,
    TuneCurve,
    TuneOverview,
    TunePreview,
)

MARGIN_S = 60.0
"""Behind the newest thing of a source: a row of scores is of a minute."""
TAKEN_OVER_S = 5.0
"""For so long a daemon is waited for."""
POLL_S = 0.1
MOST_CURVES = 12
"""In a picture."""


@dataclass(frozen=True)
class TuneRun:
    """What is tuned, and in which period."""

    reader: StoreReader
    sources: Sequence[StoredSource]
    from_at: float
    to_at: float
    rules: RulesConfig
    args: argparse.Namespace

    def overviews(self) -> list[TuneOverview]:
        """Return the classes of each source: those that were asked for, else those with events."""
        found, per_day = list[TuneOverview](), self.args.per_day
        for source in self.sources:
            labels = None
            if self.args.label:
                known = reported(source)
                labels = [label for label in self.args.label if label in known]
                if not labels:
                    continue
            one = overview(self.reader, source.name, *self.span, self.rules, per_day=per_day, labels=labels)
            classes = [each for each in one.classes if labels or each.events]
            found.append(one.model_copy(update={"classes": classes}))
        return found

    def curves(self, overviews: Sequence[TuneOverview]) -> list[TuneCurve]:
        """Return the curves of the classes of these sources, of many the first."""
        wanted = [(one.source, each.label) for one in overviews for each in one.classes][:MOST_CURVES]
        return [curve(self.reader, source, label, *self.span, self.rules) for source, label in wanted]

    def preview(self, changes: Sequence[ThresholdChange], planned: ThresholdPlan) -> TunePreview:
        """Return what these thresholds would have changed."""
        return try_changes(self.reader, self.args.source, changes, *self.span, self.rules, planned)

    @property
    def span(self) -> tuple[float, float]:
        """The period."""
        return self.from_at, self.to_at


def run(args: argparse.Namespace) -> int:
    """Run the command; raise a CheckFailed where the daemon rejects what was written."""
    path, rules = check(args)
    with StoreReader(path) as reader:
        tuning = begin(reader, path, rules, args)
        overviews = tuning.overviews()
        curves = tuning.curves(overviews) if args.label or args.plot is not None else []
        if args.plot is not None:
            from htsat_edge.runtime.commands.tune_plot import draw

            draw(args.plot, curves, args.per_day)
        show(args, overviews, curves if args.label else [])
        if args.apply or args.dry_run:
            change(tuning, overviews)
    return 0


def check(args: argparse.Namespace) -> tuple[Path, RulesConfig]:
    """Return where the store is, and the rules between sounds; raise an HtsatEdgeError before any work is done."""
    if args.days > MOST_DAYS:
        raise HtsatEdgeError(f"--days {args.days:g}: want at most {MOST_DAYS}")
    if args.plot is not None:
        require_matplotlib()
        from htsat_edge.runtime.commands.plot import has_mark

        if args.plot.suffix.lower() != ".png" or not args.plot.parent.is_dir():
            raise HtsatEdgeError(f"--plot {args.plot}: want the name of a .png file in a folder that exists")
        refuse_foreign("--plot", args.plot, has_mark)
    if args.config is None and (args.apply or args.dry_run):
        raise HtsatEdgeError("want --config FILE, the daemon's configuration: thresholds are written there")
    if args.apply and not args.label:
        raise HtsatEdgeError(
            "--apply: say for which sounds, --label Dog: a sound may be often there and right; "
            "--dry-run shows what would change for all"
        )
    path, config = find_store(args)
    return path, config.rules


def begin(reader: StoreReader, path: Path, rules: RulesConfig, args: argparse.Namespace) -> TuneRun:
    """Return what is to be tuned; raise an HtsatEdgeError where it is not in the store."""
    stored = [source for source in reader.sources() if source.last_at is not None]
    if not stored:
        raise HtsatEdgeError(f"{path}: nothing was heard yet: `htsat-edge listen` with this store, for a day or more")
    names = [source.name for source in stored]
    named = None if args.source is None else known_as(args.source, names)
    chosen = [source for source in stored if named in (None, source.name)]
    if not chosen:
        meant = suggest(args.source, names, f"; there is {listed(names)}")
        raise HtsatEdgeError(f"--source {args.source}: nothing is stored of it{meant}")
    labels = find_labels(args.label or (), chosen)
    args = argparse.Namespace(**{**vars(args), "source": named, "label": labels})
    to_at = max(source.last_at for source in chosen if source.last_at is not None) + MARGIN_S
    return TuneRun(reader, chosen, max(0.0, to_at - args.days * DAY_S), to_at, rules, args)


def reported(source: StoredSource) -> set[str]:
    """Return the classes that a source reports."""
    if (setup := source.setup) is None:
        return set()
    return {label for label, limit in zip(setup.labels, setup.thresholds, strict=True) if limit is not None}


def find_labels(labels: Sequence[str], sources: Sequence[StoredSource]) -> list[str]:
    """Return classes as the sources write them; raise an HtsatEdgeError where one is not reported in any."""
    known = set[str]().union(*map(reported, sources))
    found = [known_as(label, known) for label in labels]
    for label in found:
        if label not in known:
            raise HtsatEdgeError(f"--label {label}: is not reported there{suggest(label, known)}")
    return found


def show(args: argparse.Namespace, overviews: Sequence[TuneOverview], curves: Sequence[TuneCurve]) -> None:
    """Print the tables, or the records."""
    if args.json:
        for record in [*overviews, *curves]:
            print(record.model_dump_json())
        return
    console = Console()
    for one in overviews:
        report.print_overview(console, one)
    for each in curves:
        report.print_curve(console, each)
    if not (args.label or args.dry_run):
        report.print_hints(console, overviews)


def change(tuning: TuneRun, overviews: Sequence[TuneOverview]) -> None:
    """Show what the suggested thresholds would change, and with --apply write them."""
    args, console = tuning.args, Console()
    changes = choose(overviews, args.source, bool(args.label))
    planned = plan(args.config, changes) if changes else None
    if not args.json:
        report.print_unmet(console, unmet(overviews), args.per_day)
    if planned is None or not planned.diff:
        if not args.json:
            report.print_nothing(console, None if planned is None else planned.path)
        return
    preview = tuning.preview(changes, planned)
    if not args.json:
        report.print_preview(console, preview, planned.notes)
    if args.dry_run:
        if args.json:
            print(preview.model_dump_json())
        else:
            report.print_command(console, args, [one.label for one in changes])
        return
    apply(tuning, planned)


def choose(overviews: Sequence[TuneOverview], source: str | None, lower: bool) -> list[ThresholdChange]:
    """Return the thresholds to write; where they are for several sources, each keeps to its wanted rate with them.

    Without `lower`, only those of classes that are reported more often than is wanted.
    """
    classes: dict[str, list[TuneClass]] = {}
    without = unmet(overviews)
    for one in overviews:
        for each in one.classes:
            if each.label not in without:
                classes.setdefault(each.label, []).append(each)
    wanted = overviews[0].wanted
    changes = []
    for label, found in classes.items():
        new = round(max(each.suggestion.threshold for each in found if each.suggestion is not None), DIGITS)
        often = any(each.rate.per_day > wanted for each in found)
        if (lower or often) and any(round(each.threshold, DIGITS) != new for each in found):
            changes.append(ThresholdChange(source=source, label=label, threshold=new))
    return changes


def unmet(overviews: Sequence[TuneOverview]) -> dict[str, list[str]]:
    """Return the classes of which no threshold keeps to the wanted rate, with the sources that exceed it."""
    found: dict[str, list[str]] = {}
    for one in overviews:
        for each in one.classes:
            if each.suggestion is None:
                found.setdefault(each.label, []).append(one.source)
    return found


def apply(tuning: TuneRun, planned: ThresholdPlan) -> None:
    """Write the configuration, and report whether a daemon has taken it over."""
    args, console = tuning.args, Console()
    began = time.time()
    backup = planned.write()
    applied = TuneApplied(path=str(planned.path), backup=str(backup), diff=planned.diff)
    if args.json:
        print(applied.model_dump_json(), flush=True)
    else:
        report.print_applied(console, applied)
    state, text = wait_for_daemon(tuning.reader, began)
    if state == "config_rejected":
        raise CheckFailed(f"the daemon has rejected the configuration: {text}; the one before is {backup}")
    if not args.json:
        report.print_taken_over(console, text if state else None)


def wait_for_daemon(reader: StoreReader, began: float) -> tuple[str | None, str]:
    """Return what a daemon has said of a changed configuration since a time, its state and its text."""
    end = time.monotonic() + TAKEN_OVER_S
    while time.monotonic() < end:
        found = reader.statuses(began, END_OF_TIME, ["config_loaded", "config_rejected"], limit=1)
        if found:
            return found[0].state, str(found[0].message.get("text", ""))
        time.sleep(POLL_S)
    return None, ""
