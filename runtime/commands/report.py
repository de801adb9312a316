"""Print events for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.messages import TopScore
from htsat_edge.runtime.dsp.events import Event, EventEnd
from htsat_edge.runtime.dsp.trace import Trace


@dataclass(frozen=True)
class Detections:
    """What was found in one recording."""

    source: str
    """Its name, and after a slash the number of the channel where each has its own events."""
    duration_s: float
    events: list[Event]
    trace: Trace | None
    """What it looked like to the model, where somebody wants to know."""
    failure: HtsatEdgeError | None = None
    """Why no more of it could be read."""

    @property
    def ended(self) -> list[EventEnd]:
        """The events that have ended, in the order of their onsets."""
        ended = [event for event in self.events if isinstance(event, EventEnd)]
        return sorted(ended, key=lambda event: (event.onset, event.label))


def clock(seconds: float, digits: int = 2) -> str:
    """Return seconds as 1:02:03.45, without the hours where there are none."""
    ticks = round(seconds * 10**digits)
    whole, fraction = divmod(ticks, 10**digits)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{text}.{fraction:0{digits}}" if digits else text


def print_events(console: Console, found: Detections) -> None:
    """Print a table of the events."""
    title = Text(visible(found.source), style="bold").append(f"  {clock(found.duration_s)}", style="not bold")
    console.print(title, soft_wrap=True)
    if not found.ended:
        console.print("  no events; --top 5 shows the classes that scored highest\n", highlight=False)
        return
    table = _table("from", "to", "sound", "score")
    for event in found.ended:
        score = f"{event.score:.2f} {bar(event.score)}"
        table.add_row(clock(event.onset), clock(event.offset), Text(event.label), score)
    console.print(table)
    console.print()


def print_top(console: Console, top: Sequence[TopScore]) -> None:
    """Print the classes that scored highest: the score, the threshold that it is compared with, and when."""
    table = _table("highest", "needs", "at", "sound")
    for one in top:
        table.add_row(f"{one.score:.2f}", f"{one.threshold:.2f}", clock(one.at), Text(one.label))
    console.print(table)
    console.print()


def bar(score: float, width: int = 10) -> str:
    """Return a score as a bar."""
    return "▇" * max(1, round(score * width))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
    for name in columns:
        table.add_column(name, justify="left" if name in ("sound", "score") else "right")
    return table
