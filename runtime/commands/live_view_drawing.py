"""Draw the live view: lines that fill a terminal of any size, and what is left on the screen after it."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from htsat_edge.runtime.commands.live_view_state import EventRow, ScoreNow, SourceView, ViewNote, ViewState
from htsat_edge.runtime.common.text import clock, plural, visible
from htsat_edge.runtime.daemon.health import PROBLEMS
from htsat_edge.runtime.daemon.live.frames import LiveOutput, LiveSource

LOW_HEIGHT, NARROW = 20, 60
"""A terminal that is less high has no empty lines; one that is less wide has no figures beside the scores."""
QUIETEST_DBFS, LOUD_DBFS, ZERO_DBFS = -80.0, -3.0, -160.0
"""Where a level's bar begins; from where on it is red; and what digital zero is below."""
WIDEST = 110
"""Figures that are further from their names are hard to read."""
LONGEST_NAME = 30
LEFT_EVENTS, LEFT_NOTES = 20, 10
"""What is left on the screen after the view."""
FILLED, EMPTY, MARK = "━", "─", "┃"
GOOD, BAD = "green", "red"


@dataclass(frozen=True)
class LivePicture:
    """The view at a moment, as wide and high as the terminal."""

    state: ViewState
    now_s: float
    """On the monotonic clock of the state."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield as many lines as there are."""
        width, height = options.size
        lines = draw(self.state, self.now_s, width, height)
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        yield Text("\n", no_wrap=True).join(lines)


def draw(state: ViewState, now_s: float, width: int, height: int) -> list[Text]:
    """Return the view as lines, `height` of them."""
    width = min(width, WIDEST)
    space = [Text()] if height >= LOW_HEIGHT else []
    head = [*_header(state, now_s), *space, *_sources(state, width, max(2, height // 3)), *space]
    scores = _scores(state, now_s, width, min(max(height // 5, 2), 10))
    foot = [*space, *_notes(state, width, min(max(height // 8, 1), 6)), _footer(state)]
    room = height - len(head) - len(scores) - len(foot) - len(space) - 1
    lines = [*head, *scores, *space, *_events(state, width, max(room, 1))][: height - len(foot)]
    return [*lines, *(Text() for _ in range(height - len(foot) - len(lines))), *foot][:height]


def leave(state: ViewState, now_s: float, width: int) -> Iterator[Text]:
    """Yield the lines that are left on the screen after the view: what the log has said, and the last events."""
    for note in list(state.notes)[-LEFT_NOTES:]:
        yield from _note(note, width)
    if state.sources:
        events = list(state.events)[-LEFT_EVENTS:]
        last = f", the last {len(events)}" if state.count > len(events) else ""
        yield Text(f"{_counted(state.count)} in {clock(now_s - state.begun_s, 0)}{last}", "bold")
        yield from _event_rows(events, state, width)


def meter(share: float, width: int, style: str, mark: float | None = None) -> Text:
    """Return a bar that is filled for a share, with a mark at another one."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    bar = Text.assemble((FILLED * filled, style), (EMPTY * (width - filled), "dim"))
    if mark is None or width == 0:
        return bar
    at = min(round(mark * width), width - 1)
    return Text.assemble(bar[:at], (MARK, "bold"), bar[at + 1 :])


def _header(state: ViewState, now_s: float) -> Iterator[Text]:
    status = state.status
    if status is None:
        yield Text("htsat-edge opens the model and the sources …", "bold")
        return
    # What changes comes first: a narrow terminal cuts the end off.
    figures = f"htsat-edge {clock(now_s - state.begun_s, 0)} · {100 * status.load:.0f} % busy · "
    yield Text.assemble(figures, (visible(status.model), "bold"), (visible(f" on {status.backend}"), "dim"))


def _footer(state: ViewState) -> Text:
    how = "ends; what waits is sent" if state.ending else "Ctrl-C ends"
    unkept = ("", "") if state.kept else (" · nothing is kept: no outputs.store", "yellow")
    return Text.assemble((f"{how} · {_counted(state.count)}", "dim"), unkept)


def _counted(count: int) -> str:
    return plural(count, "event") if count else "no events"


def _heading(text: str, more: str, width: int) -> Text:
    return Text.assemble((text, "bold"), (f"  {more}" if width >= NARROW else "", "dim"))


# Sources and outputs


def _sources(state: ViewState, width: int, most: int) -> list[Text]:
    """Return a line for each source, and what is wrong with it or what it is; those with faults are first."""
    known = {} if state.status is None else {source.name: source for source in state.status.sources}
    outputs = [] if state.status is None else [output for output in state.status.outputs if not output.works]
    failing = [_output(output) for output in outputs][: max(1, most // 3)]
    room = most - len(failing)
    found = [(source, known.get(source.name)) for source in state.sources.values()]
    faults = {source.name: _fault(source, live) for source, live in found}
    found.sort(key=lambda pair: not faults[pair[0].name])
    name_width = _widest((source.name for source, _ in found), min(LONGEST_NAME, width // 3))
    roomy = 2 * len(found) <= room
    lines: list[Text] = []
    for at, (source, live) in enumerate(found):
        own = [_level(source, live, name_width, width)]
        if fault := faults[source.name]:
            own += [Text(f"  {line}", BAD) for line in wrap(fault, width - 2)[:2]]
        elif roomy:
            own.append(Text(f"  {_aside(source, live)}", "dim"))
        if lines and len(lines) + len(own) + (at + 1 < len(found)) > room:
            lines.append(Text(f"and {len(found) - at} more sources", "dim"))
            break
        lines += own
    return lines + failing


def _level(source: SourceView, live: LiveSource | None, name_width: int, width: int) -> Text:
    level = -math.inf if live is None or live.level_dbfs is None else live.level_dbfs
    loud = BAD if source.level_dbfs > LOUD_DBFS else GOOD
    share = 1 - max(source.level_dbfs, QUIETEST_DBFS) / QUIETEST_DBFS
    figure = f"{level:4.0f} dBFS" if level > ZERO_DBFS else "  no sound" if level > -math.inf else " " * 9
    bar = meter(share, max(width - name_width - len(figure) - 2, 0), loud)
    return Text.assemble((_cell(source.name, name_width), "bold"), " ", bar, " ", figure)


def _fault(source: SourceView, live: LiveSource | None) -> str:
    """Return why a source is not heard, or what is wrong with its sound and how to mend it."""
    if live is None or live.paused:
        return ""
    if not live.heard:
        reason = live.failure or source.lost
        return f"lost: {visible(reason)}" if reason else "lost"
    return "; ".join(f"{name}: {PROBLEMS[name].advice}" for name in live.problems)


def _aside(source: SourceView, live: LiveSource | None) -> str:
    """Return what a source is, and what is to be known of it."""
    if live is not None and live.paused:
        return "paused: it is not listened to until somebody wants it again"
    if source.sample_rate is None:
        return visible(f"{source.what or source.name}: waits for its first samples")
    parts = [visible(source.what), f"{source.sample_rate / 1000:g} kHz"]
    if source.scored_s == -math.inf:
        parts.append("first scores in about a second")
    if live is not None and live.gaps:
        parts.append(f"{live.gaps} gap{'s' * (live.gaps > 1)}, {live.lost_s:.1f} s lost")
    if live is not None and live.behind_s > 1 and source.live:
        parts.append(f"{live.behind_s:.0f} s behind")
    if live is not None and live.suppressed:
        parts.append(f"{live.suppressed} events left out by rules")
    if source.device.casefold() not in ("default", source.what.casefold().removeprefix("microphone ")):
        parts.append(visible(source.device))
    return ", ".join(filter(None, parts))


def _output(output: LiveOutput) -> Text:
    return Text(f"{visible(output.name)}: does not deliver; {output.waiting} wait, {output.dropped} lost", BAD)


# Scores


def _scores(state: ViewState, now_s: float, width: int, rows: int) -> list[Text]:
    """Return the classes that score highest now, always as many lines."""
    top = state.top(now_s)[:rows]
    several = len(state.sources) > 1
    lines = [_heading("now", f"the score, and the threshold {MARK} from which on it is an event", width)]
    lines += [_score(one, several, width) for one in top]
    if not top and state.sources:
        lines.append(Text("  nothing that the model knows", "dim"))
    return lines + [Text() for _ in range(rows + 1 - len(lines))]


def _score(one: ScoreNow, several: bool, width: int) -> Text:
    label_width = min(LONGEST_NAME, width // 3)
    style = GOOD if one.score >= one.threshold else ""
    limit = f" {one.threshold:.2f}" if width >= NARROW else ""
    source = f" {_cell(one.source, min(len(one.source), width // 6))}" if several else ""
    bar = meter(one.score, max(width - label_width - 6 - len(limit) - len(source), 0), style or "yellow", one.threshold)
    return Text.assemble((_cell(one.label, label_width), style), f" {one.score:.2f} ", bar, (limit, "dim"), source)


# Events


def _events(state: ViewState, width: int, most: int) -> list[Text]:
    """Return the last events, so many at most, under their heading."""
    rows = list(state.events)[-most:]
    if not rows:
        soon = max((source.latency_s for source in state.sources.values()), default=0.0)
        more = f"  none yet; a sound is reported from {soon:.1f} s after its onset on" if soon else ""
        return [_heading("events", "", width), Text(more, "dim")]
    early = "early: its final scores stay below the threshold" if any(row.early for row in rows) else ""
    return [_heading("events", early, width), *_event_rows(rows, state, width)]


def _event_rows(rows: Sequence[EventRow], state: ViewState, width: int) -> Iterator[Text]:
    """Yield events as a table's rows: when, what, its score, how long, and where."""
    days = {row.time.date() for row in rows if row.time is not None}
    times = [_when(row, len(days) > 1) for row in rows]
    time_width = max(map(len, times), default=0)
    several = len(state.sources) > 1 or width >= NARROW
    source_width = _widest((row.source for row in rows), width // 4) if several else 0
    label_width = _widest((row.label for row in rows), max(width - time_width - source_width - 18 - several, 0))
    for row, time in zip(rows, times, strict=True):
        length = "goes on" if row.offset is None else f"{row.offset - row.onset:.1f} s"
        yield Text.assemble(
            f"{time:>{time_width}} ",
            (_cell(row.label, label_width), "bold" if row.offset is None else ""),
            f" {row.score:.2f} {length:>9} ",
            (_cell(row.source, source_width), "dim"),
            (" early" if row.early else "", "dim"),
        )


def _when(row: EventRow, with_day: bool) -> str:
    if row.time is None:
        return clock(row.onset, 1)
    return f"{row.time:%m-%d %H:%M:%S}" if with_day else f"{row.time:%H:%M:%S}"


def _notes(state: ViewState, width: int, most: int) -> list[Text]:
    """Return the last notes, as many as fit as a whole."""
    lines: list[Text] = []
    for note in reversed(state.notes):
        more = [*_note(note, width)][:most]
        if len(more) + len(lines) > most:
            break
        lines = more + lines
    return lines


def _note(note: ViewNote, width: int) -> Iterator[Text]:
    """Yield a note, in as many lines as it needs."""
    style = BAD if note.level >= logging.ERROR else "yellow" if note.level >= logging.WARNING else ""
    time = f"{note.time:%H:%M:%S} "
    for line in wrap(note.text, max(width - len(time), 10)):
        yield Text.assemble((time, "dim"), (line, style))
        time = " " * len(time)


def _widest(texts: Iterable[str], most: int) -> int:
    """Return how wide a column of these texts is, at most so many cells."""
    return min(max((Text(visible(text)).cell_len for text in texts), default=0), most)


def _cell(text: str, width: int) -> str:
    """Return a text as wide as a column."""
    line = Text(visible(text))
    line.truncate(width, overflow="ellipsis")
    return set_cell_size(line.plain, width)
