"""Print for a person what was heard, and why an event was reported."""

from __future__ import annotations

import shlex
from collections.abc import Sequence, Set
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.common.text import listed, plural, visible
from htsat_edge.runtime.dsp.events import is_early
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Explanation, Figures, LabelScore, StoredEvent, Verdict
from htsat_edge.runtime.store.sentences import clock, higher, setting

SOUNDS = 10
"""That are counted by name."""
FOLDED = ("sound", "source", "verdict")
"""Columns of which a long text goes on in the next line."""
FOLDED_AT = 16
"""Letters that are left of them before another column has to go."""
SPARE = {"clip": ["clip?"], "clip?": [], "for": [], "verdict": [], "source": [], "score": []}
"""Columns that go first where a line is short, with what stands in their place."""


def print_events(console: Console, events: Sequence[StoredEvent], thresholds: Sequence[float | None]) -> None:
    """Print a table of events, without what is least needed where a line has no room for it.

    `thresholds` are those that were in force: events that stay below them after all are marked.
    """
    early = {event.key for event, limit in zip(events, thresholds, strict=True) if is_early(event, limit)}
    columns = ["ID", "when", "for", "sound", "score", "source"]
    if any(event.verdict is not None and event.verdict.decision is not None for event in events):
        columns.append("verdict")
    if any(event.clip is not None for event in events):
        columns.append("clip")
    unbounded = console.options.update(max_width=10_000)
    for spare, instead in SPARE.items():
        if Measurement.get(console, unbounded, _table_of(events, columns, early, FOLDED_AT)).maximum <= console.width:
            break
        columns = [name for column in columns for name in (instead if column == spare else [column])]
    console.print(_table_of(events, columns, early))
    if early and "score" in columns:
        print_line(console, "* reported early; its final scores stay below the threshold", style="dim")
    if any(event.time is None for event in events):
        print_line(console, "~ when it was stored: a recording has no time of day", style="dim")


def print_total(console: Console, found: Figures, wanted: EventFilter, shown: int) -> None:
    """Print how many events there are of each sound, and of how many the table is."""
    total = sum(one.count for one in found.labels)
    by_sound = listed((f"{visible(one.label)} {one.count}" for one in found.labels), SOUNDS)
    print_line(console, f"\n{plural(total, 'event')} {period(wanted)}: {by_sound}")
    if shown < total:
        print_line(console, f"above are the last {shown}; --json and --csv print all of them", style="dim")


def print_hint(console: Console, options: Sequence[str]) -> None:
    """Print how to ask why an event was reported."""
    print_line(console, f"why the last one was reported: {_command('events', *options)}", style="dim")


def absence(reader: StoreReader, wanted: EventFilter) -> str:
    """Return that there are no such events, and what the store has."""
    what = f" of {listed(wanted.labels, separator=' or ')}" if wanted.labels else ""
    where = f" in {listed(wanted.sources, separator=' or ')}" if wanted.sources else ""
    text = f"no events{what}{where} {period(wanted)}"
    sources = [source for source in reader.sources() if source.last_at is not None]
    info, newest = reader.info(), reader.events(EventFilter(), 1).events
    if not sources:
        return f"{text}; nothing was heard yet: `htsat-edge listen` fills {info.path}"
    heard = listed((f"{one.name} until {clock(one.last_at)}" for one in sources if one.last_at is not None), 5)
    if not newest or info.oldest_at is None:
        return f"{text}; the store has none at all; listened to: {heard}"
    last = newest[0]
    return (
        f"{text}; the store has {plural(info.events, 'event')}, from {clock(info.oldest_at)} to {clock(last.at)} (the "
        f"last: {last.label} in {last.source}); listened to: {heard}"
    )


def print_why(console: Console, event: StoredEvent, found: Explanation) -> None:
    """Print the reason, and what scored highest at the event's peak, with what each class needs to be reported."""
    title = Text(visible(event.label), style="bold")
    title.append(f"  {visible(event.source)}, {when(event)}, {duration(event)}", style="not bold")
    console.print(title, soft_wrap=True)
    print_line(console, found.text)
    if not found.top:
        return
    print_line(console, f"\nWhat scored highest at its peak, {clock(found.at)}:")
    table = _table("score", "needs", "sound")
    for one in scores_of(event, found):
        needs = "–" if one.threshold is None else f"{one.threshold:.2f}"
        table.add_row(f"{one.score:.2f}", needs, visible(one.label), style="bold" if one.label == event.label else None)
    console.print(table)


def scores_of(event: StoredEvent, found: Explanation) -> list[LabelScore]:
    """Return the classes that scored highest, with that of the event, wherever it stands."""
    score = found.steps[len(found.steps) // 2].score
    if score is None or any(one.label == event.label for one in found.top):
        return found.top
    return [*found.top, LabelScore(label=event.label, score=score, threshold=found.threshold)]


def print_about(console: Console, event: StoredEvent, clips: Path | None) -> None:
    """Print where the clip is, and what was said of the event."""
    said = "" if event.verdict is None else verdict_of(event.verdict)
    if event.verdict is not None and event.verdict.note:
        said = f"{said}; {event.verdict.note}" if said else event.verdict.note
    console.print()
    if event.clip is None:
        print_line(console, f"clip     none{' yet' if event.offset is None else ''}")
    elif clips is None:
        print_line(console, f"clip     {event.clip.name} (--config FILE also says in which folder)")
    else:
        path = clips / event.clip.name
        print_line(console, f"clip     {path}{'' if path.is_file() else ' (is gone)'}")
    if said:
        print_line(console, f"verdict  {visible(said)}")


def print_next(
    console: Console, event: StoredEvent, found: Explanation, clips: Path | None, options: Sequence[str]
) -> None:
    """Print what to try next: a threshold on the clip, and what each threshold comes to."""
    of_source, lines = ("--source", event.source), []
    clip = None if clips is None or event.clip is None else clips / event.clip.name
    if clip is not None and clip.is_file():
        text, tried = "the same clip again, with what else scores high:", ["--top", "5"]
        if (threshold := threshold_above(found)) is not None:
            text = "the same clip at another threshold:"
            tried = ["--labels", event.label, "--threshold", f"{threshold:g}"]
        lines.append((text, _command("detect", *options, *of_source, *tried, str(clip))))
    if found.threshold is not None:
        tuned = _command("tune", *options, *of_source, "--label", event.label)
        lines.append(("how often each threshold would report it:", tuned))
    if is_early(event, found.threshold):
        text = "an early report may not come again from its clip; under `detection`, this makes such reports rarer:"
        lines.insert(0, (text, setting("confirm_s", event.label, 1).strip("`")))
    for text, command in lines:
        print_line(console, f"\n{text}", style="dim")
        print_line(console, f"  {command}")


def threshold_above(found: Explanation) -> float | None:
    """Return a threshold at which there would be no event; None where there is none below 1, or it is in force.

    An early start whose final scores were lower is not told from others by its threshold.
    """
    if found.would_report_at is None or found.threshold is None:
        return None
    threshold = higher(found.would_report_at)
    return threshold if found.threshold < threshold < 1 else None


def period(wanted: EventFilter) -> str:
    """Return the period of a filter."""
    since = clock(wanted.from_at or 0.0)
    return f"since {since}" if wanted.to_at is None else f"from {since} to {clock(wanted.to_at)}"


def when(event: StoredEvent) -> str:
    """Return when an event began, in local time; with a mark, when it was stored."""
    return f"{'~' if event.time is None else ''}{clock(event.at)}"


def duration(event: StoredEvent) -> str:
    """Return how long an event lasted."""
    if event.offset is None:
        return "end not known"
    length_s = event.offset - event.onset
    if length_s < 60:
        return f"{length_s:.1f} s"
    minutes, seconds = divmod(round(length_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def verdict_of(verdict: Verdict) -> str:
    """Return what was said of an event."""
    text = verdict.decision or ""
    return f"{text}: {verdict.label}" if verdict.label else text


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print a text, of which no part commands the terminal, unbroken."""
    lines = "\n".join(visible(line) for line in text.split("\n"))
    console.print(Text(lines, style=style), soft_wrap=True)


def _table_of(events: Sequence[StoredEvent], columns: Sequence[str], early: Set[int], most: int | None = None) -> Table:
    table, mark = _table(*columns, most=most), " *" if early else ""
    for event in events:
        cells = {
            "ID": str(event.key),
            "when": when(event),
            "for": duration(event),
            "sound": event.label,
            "score": f"{event.score:.2f}{mark if event.key in early else ' ' * len(mark)}",
            "source": event.source,
            "verdict": "" if event.verdict is None else verdict_of(event.verdict),
            "clip": "" if event.clip is None else event.clip.name,
            "clip?": "" if event.clip is None else "yes",
        }
        table.add_row(*(Text(visible(cells[column])) for column in columns))
    return table


def _table(*columns: str, most: int | None = None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in columns:
        right, fold = name in ("ID", "for", "score", "needs"), name in FOLDED
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=not fold,
            overflow="fold",
            max_width=most if fold else None,
        )
    return table


def _command(*words: str) -> str:
    return shlex.join(["htsat-edge", *words])
