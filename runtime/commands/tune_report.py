"""Print for a person what tuning says of classes and their thresholds."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.common.text import listed, visible
from htsat_edge.runtime.store.sentences import clock
from htsat_edge.runtime.tuning.intervals import DAY_S
from htsat_edge.runtime.tuning.records import (
    RateBody,
    TuneApplied,
    TuneClass,
    TuneCurve,
    TuneOverview,
    TunePoint,
    TunePreview,
)

ROWS = 12
"""Of a curve."""
EXAMPLES = 5
LEAST_H = 1.0
"""Of listening; from less nobody can say what a day has."""
SAME = 5e-5
"""Thresholds that are nearer to each other are one."""
LEFT = ("sound", "source", "when", "")
"""Columns of texts."""


def print_overview(console: Console, found: TuneOverview) -> None:
    """Print the classes of a source."""
    days = (found.to_at - found.from_at) / DAY_S
    heard = f"{duration(found.listened_h)} heard in the {days:g} days to {clock(found.to_at)[:-3]}"
    heading(console, found.source, heard)
    if found.classes:
        judged = any(one.correct or one.wrong for one in found.classes)
        verdicts = ("right/\nwrong",) if judged else ()
        wanted = number(found.wanted)
        table = _table("sound", "now", "events", "a day", *verdicts, f"for {wanted}\na day", "then\na day")
        for one in found.classes:
            said = (f"{one.correct}/{one.wrong}",) if judged else ()
            suggested = [Text(text, style="bold" if too_often(found, one) else "dim") for text in suggestion(one)]
            row = (Text(one.label), f"{one.threshold:g}", str(one.events), rate(one.rate), *said, *suggested)
            table.add_row(*row)
        console.print(table)
    else:
        console.print("  no events", highlight=False)
    print_notes(console, found)
    console.print()


def suggestion(one: TuneClass) -> tuple[str, str]:
    """Return the threshold that is suggested for a class, and what it would have come to."""
    found = one.suggestion
    if found is None:
        return "none", ""
    return f"{found.threshold:g}", rate(found.rate)


def too_often(found: TuneOverview, one: TuneClass) -> bool:
    """Return whether a class is reported more often than is wanted."""
    return one.rate.per_day > found.wanted


def print_notes(console: Console, found: TuneOverview) -> None:
    """Print what a person should know of the period and of the suggestions, each once."""
    notes = defaultdict(list)
    for one in found.classes:
        if one.suggestion is not None and one.suggestion.note:
            notes[one.suggestion.note].append(one.label)
    lines = [f"{listed(labels)}: {note}" for note, labels in notes.items()]
    if 0 < found.listened_h < LEAST_H:
        console.print(Text("  too little was heard to tune: try again after a day", style="yellow"))
    for line in [found.note, *lines] if found.note else lines:
        console.print(Text(f"  {line}", style="dim"))


def print_curve(console: Console, found: TuneCurve) -> None:
    """Print about a dozen thresholds of a class, and what each would have come to."""
    heading(console, found.label, f"{found.source}, {duration(found.listened_h)} heard")
    if found.points:
        judged = any(point.precision is not None for point in found.points)
        table = _table("threshold", "events", "a day", *(("wrong\na day", "right", "found") if judged else ()), "")
        for point in choose_points(found):
            now = abs(point.threshold - found.threshold) < SAME
            said = (number(point.false_per_day), right(point), share(point.recall)) if judged else ()
            row = (f"{point.threshold:g}", str(point.events), rate(point), *said, "now" if now else "")
            table.add_row(*row, style="bold" if now else None)
        console.print(table)
    if found.note:
        console.print(Text(f"  {found.note}", style="dim"))
    console.print()


def choose_points(found: TuneCurve) -> list[TunePoint]:
    """Return points of a curve as far as there are events, evenly, with that in force."""
    points = found.points
    end = next((k for k, point in enumerate(points) if point.events == 0), len(points) - 1)
    now = min(range(len(points)), key=lambda k: abs(points[k].threshold - found.threshold))
    return [points[k] for k in sorted({now, *np.linspace(0, end, min(ROWS, end + 1)).round().astype(int).tolist()})]


def print_hints(console: Console, overviews: Sequence[TuneOverview]) -> None:
    """Print what to do next."""
    if any(one.suggestion is None for found in overviews for one in found.classes):
        print_ways(console)
    often = [one.label for found in overviews for one in found.classes if too_often(found, one)]
    label = shlex.quote(visible(often[0] if often else "NAME"))
    console.print(
        Text(
            f"--label {label} shows what each threshold comes to; --dry-run shows what would change; "
            f"--label {label} --apply writes it",
            style="dim",
        )
    )


def print_preview(console: Console, found: TunePreview, notes: Sequence[str]) -> None:
    """Print the difference of the configuration, and which events there would not have been."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in found.diff.splitlines():
        console.print(Text(visible(line), style=colours.get(line[:1], "")), soft_wrap=True)
    console.print()
    classes = Counter(event.label for event in found.gone)
    counts = listed((f"{label} {times}" for label, times in classes.most_common()), most=10)
    gone = (
        f"{found.gone_total} stored events would not be: {counts}" if found.gone_total else "no stored event would go"
    )
    new = f"; {found.new} more would be there" if found.new else ""
    change = f"{number(found.before)} a day -> {number(found.after)} a day"
    console.print(Text(f"{gone}{new}; {change}"), soft_wrap=True)
    if found.gone:
        table = _table("when", "sound", "score", "source")
        for event in found.gone[:EXAMPLES]:
            table.add_row(clock(event.at), Text(event.label), f"{event.score:.2f}", Text(visible(event.source)))
        console.print(table)
    for note in notes:
        console.print(Text(f"note: {note}", style="yellow"))
    console.print()


def print_command(console: Console, args: argparse.Namespace, labels: Sequence[str]) -> None:
    """Print how to have these thresholds written."""
    options = [("--config", str(args.config)), ("--source", args.source), ("--days", f"{args.days:g}")]
    options += [("--per-day", f"{args.per_day:g}"), *(("--label", label) for label in labels)]
    words = [word for option, value in options if value is not None for word in (option, value)]
    console.print("nothing was written; to write it for these sounds, or for fewer:")
    console.print(Text(visible(shlex.join(["htsat-edge", "tune", *words, "--apply"]))), soft_wrap=True)


def print_unmet(console: Console, found: Mapping[str, Sequence[str]], per_day: float) -> None:
    """Print of which classes nothing is suggested, and because of which sources."""
    for label, sources in found.items():
        text = f"no threshold of {label} keeps {listed(sources)} to {per_day:g} a day: none is suggested"
        console.print(Text(visible(text), style="yellow"), soft_wrap=True)


def print_nothing(console: Console, path: Path | None) -> None:
    """Print that nothing is to be written: the file has it already, or what is in force is what is wanted."""
    reason = "no sound has a better threshold than that in force" if path is None else f"{path} has these thresholds"
    console.print(Text(visible(f"nothing to change: {reason}")), soft_wrap=True)
    if path is None:
        print_ways(console)


def print_ways(console: Console) -> None:
    """Print what else makes a sound rarer, where no threshold does."""
    text = (
        "other ways: --per-day N allows more; in the configuration, `cooldown_s` and `quiet_hours` of `rules` leave "
        "events out, and `sensitivity: few_false_alarms` of `detection` raises thresholds"
    )
    console.print(Text(text, style="dim"), soft_wrap=True)


def print_applied(console: Console, applied: TuneApplied) -> None:
    """Print what was written."""
    console.print(Text(visible(f"written to {applied.path}; the one before is {applied.backup}")), soft_wrap=True)


def print_taken_over(console: Console, text: str | None) -> None:
    """Print whether a daemon has taken over what was written."""
    if text is None:
        line = "no daemon has reported that it has taken them over: they count as soon as one listens with this file"
    else:
        line = f"in force: {text}" if text else "the daemon has taken them over"
    console.print(Text(visible(line)), soft_wrap=True)


def heading(console: Console, name: str, text: str) -> None:
    """Print a name, and what belongs to it."""
    console.print(Text(visible(name), style="bold").append(f"  {text}", style="not bold"), soft_wrap=True)


def duration(hours: float) -> str:
    """Return hours as a person would say them."""
    if hours < 1 / 30:
        return f"{hours * 3600:.0f} s"
    if hours < 2:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def number(value: float | None) -> str:
    """Return a number with as many digits as matter; nothing where it is not known."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if value >= 0.1 else f"{value:.2f}".rstrip("0").rstrip(".")


def rate(one: RateBody | TunePoint) -> str:
    """Return a rate with its interval."""
    return f"{number(one.per_day)} ({number(one.low)}–{number(one.high)})"


def share(value: float | None) -> str:
    """Return a share in percent; nothing where it is not known."""
    return "" if value is None else f"{100 * value:.0f} %"


def right(point: TunePoint) -> str:
    """Return the share of a threshold's events that is right, with its interval."""
    if point.precision is None or point.precision_low is None or point.precision_high is None:
        return share(point.precision)
    return f"{100 * point.precision:.0f} % ({100 * point.precision_low:.0f}–{100 * point.precision_high:.0f})"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        left = name in LEFT
        table.add_column(name, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    return table
