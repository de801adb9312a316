"""`htsat-edge events`: what was heard, from the store, and why an event was reported."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console

from htsat_edge.runtime.commands import events_report as report
from htsat_edge.runtime.commands.stored import find_store
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.moments import read_moment
from htsat_edge.runtime.common.suggest import known_as, suggest
from htsat_edge.runtime.common.text import listed, visible
from htsat_edge.runtime.store.reader import END_OF_TIME, StoreReader
from htsat_edge.runtime.store.records import EventFilter, StoredEvent
from htsat_edge.runtime.store.sentences import clock
from htsat_edge.runtime.store.why import explain_event

DEFAULT_SINCE = "1d"
ROWS = 500
"""Of a table; a person reads no more."""
PAGE = 1000
WIDE = 250
"""Letters of a line that goes to no terminal: none is broken there."""


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    path, config = find_store(args)
    clips = None if config.outputs.clips is None else config.outputs.clips.folder
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    with StoreReader(path) as reader:
        if args.why is not None:
            say_why(console, reader, args, clips)
            return 0
        labels, sources = find_names(reader, args.labels or [], args.sources or [])
        wanted = read_filter(args, time.time()).model_copy(update={"labels": labels, "sources": sources})
        if not args.json and not args.csv:
            show(console, reader, wanted, args)
        elif not print_rows(oldest_first(reader, wanted), as_csv=args.csv):
            print(report.absence(reader, wanted), file=sys.stderr)
    return 0


def read_filter(args: argparse.Namespace, now: float) -> EventFilter:
    """Return of when events are wanted."""
    since = moment_of("--since", DEFAULT_SINCE if args.since is None else args.since, now)
    until = None if args.until is None else moment_of("--until", args.until, now)
    if until is not None and until <= since:
        raise HtsatEdgeError(
            f"--until {args.until}: is {clock(until)}, and --since is {clock(since)}, not before it; "
            "a day is meant by its beginning: all of yesterday is --since yesterday --until today"
        )
    return EventFilter(from_at=since, to_at=until)


def moment_of(option: str, text: str, now: float) -> float:
    """Return the moment that an option gives; raise an HtsatEdgeError that names the option."""
    try:
        return min(max(0.0, read_moment(text, now)), END_OF_TIME)
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{option} {error}") from None


def find_names(
    reader: StoreReader, labels: Sequence[str], sources: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return classes and sources as the store writes them; upper and lower case are alike.

    Raise an HtsatEdgeError where there is no such source, or no such class in these sources.
    """
    stored = reader.sources()
    names = [source.name for source in stored]
    sources = [known_as(name, names) for name in sources]
    for name in sources:
        if name not in names:
            meant = suggest(name, names, f"; there is {listed(names) or 'none yet'}")
            raise HtsatEdgeError(f"--source {name}: nothing is stored of it{meant}")
    chosen = [source.setup for source in stored if source.setup and source.name in (sources or names)]
    known = {
        label
        for setup in chosen
        for label, limit in zip(setup.labels, setup.thresholds, strict=True)
        if limit is not None
    }
    labels = [known_as(label, known) for label in labels]
    if not known.issuperset(labels):  # classes that were reported once, and sound levels
        known.update(one.label for one in reader.figures(EventFilter(sources=sources)).labels)
        labels = [known_as(label, known) for label in labels]
    for label in labels:
        if label not in known:
            meant = suggest(label, known, f"; there is {listed(sorted(known), 10) or 'none yet'}")
            raise HtsatEdgeError(f"--class {label}: is not reported there{meant}")
    return labels, sources


def newest_first(reader: StoreReader, wanted: EventFilter) -> Iterator[StoredEvent]:
    """Yield the events that a filter lets through, page by page."""
    page = reader.events(wanted, PAGE)
    yield from page.events
    while page.next is not None:
        page = reader.events(wanted, PAGE, page.next)
        yield from page.events


def oldest_first(reader: StoreReader, wanted: EventFilter) -> Iterator[StoredEvent]:
    """Yield the same in the order in which they began; those of one day are held at once."""
    for day in reversed(reader.days(wanted)):
        span = {
            "from_at": max(day.from_at, wanted.from_at or 0.0),
            "to_at": day.to_at if wanted.to_at is None else min(day.to_at, wanted.to_at),
        }
        yield from reversed(list(newest_first(reader, wanted.model_copy(update=span))))


def show(console: Console, reader: StoreReader, wanted: EventFilter, args: argparse.Namespace) -> None:
    """Print a table of the newest events, and how many there are of each sound."""
    events = list(islice(newest_first(reader, wanted), ROWS))[::-1]
    if not events:
        report.print_line(console, report.absence(reader, wanted))
        return
    report.print_events(console, events, reader.thresholds_of(events))
    report.print_total(console, reader.figures(wanted), wanted, len(events))
    report.print_hint(console, [*stored_in(args), "--why", str(events[-1].key)])


def print_rows(events: Iterator[StoredEvent], *, as_csv: bool) -> bool:
    """Print events as CSV or as JSON Lines; return whether there are any."""
    rows = map(row_of, events)
    if (first := next(rows, None)) is None:
        return False
    table = csv.DictWriter(sys.stdout, list(first), lineterminator="\n")
    if as_csv:
        table.writeheader()
    for row in chain([first], rows):
        if as_csv:
            table.writerow({name: visible(cell) if isinstance(cell, str) else cell for name, cell in row.items()})
        else:
            print(json.dumps(row))
    return True


def row_of(event: StoredEvent) -> dict[str, Any]:
    """Return an event with the names that messages have, its key, its clip, and what was said of it."""
    message = event.model_dump(include={"source", "id", "label", "onset", "offset", "score"})
    verdict = event.verdict
    return {
        "key": event.key,
        "time": None if event.time is None else local(event.time),
        **message,
        "clip": None if event.clip is None else event.clip.name,
        "verdict": None if verdict is None else verdict.decision,
        "real_label": None if verdict is None else verdict.label,
        "note": None if verdict is None else verdict.note or None,
    }


def local(text: str) -> str:
    """Return a time of day as this device's clock has it, with its offset."""
    return datetime.fromisoformat(text).astimezone().isoformat(timespec="milliseconds")


def say_why(console: Console, reader: StoreReader, args: argparse.Namespace, clips: Path | None) -> None:
    """Print why an event was reported."""
    if args.csv:
        raise HtsatEdgeError("--csv: the answer to --why is no table; leave one out, or take --json")
    if (event := reader.event(args.why)) is None:
        raise HtsatEdgeError(f"--why {args.why}: the store has no such event; `htsat-edge events` prints their IDs")
    found = explain_event(reader, event)
    if args.json:
        print(found.model_dump_json())
        return
    report.print_why(console, event, found)
    report.print_about(console, event, clips)
    report.print_next(console, event, found, clips, stored_in(args))


def stored_in(args: argparse.Namespace) -> Sequence[str]:
    """Return the option that says where the store is."""
    return ("--database", str(args.database)) if args.config is None else ("--config", str(args.config))
