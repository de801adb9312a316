"""Events as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from htsat_edge.runtime.detector import Event
from rich.console import Console
from rich.table import Table
from rich.text import Text


def clock(seconds: float, digits: int = 2) -> str:
    """Seconds as 1:02:03.45, without the hours where there are none."""
    ticks = round(seconds * 10**digits)
    whole, fraction = divmod(ticks, 10**digits)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{text}.{fraction:0{digits}}" if digits else text


def print_events(console: Console, source: str, duration_s: float, events: Sequence[Event]) -> None:
    """A table of the events that have ended, in the order of their onsets."""
    ended = sorted((event for event in events if event.offset is not None), key=lambda e: (e.onset, e.label))
    console.print(Text(source, style="bold").append(f"  {clock(duration_s)}", style="not bold"), soft_wrap=True)
    if not ended:
        console.print("  no events; --top 5 shows what came nearest\n", highlight=False)
        return
    table = _table("from", "to", "sound", "score")
    for event in ended:
        assert event.offset is not None
        table.add_row(
            clock(event.onset), clock(event.offset), Text(event.label), f"{event.score:.2f} {bar(event.score)}"
        )
    console.print(table)
    console.print()


def print_top(console: Console, top: Sequence[tuple[str, float, float, float]]) -> None:
    """The classes that scored highest: the score, the threshold that it is compared with, and when it was reached."""
    table = _table("highest", "needs", "at", "sound")
    for label, score, threshold, at in top:
        table.add_row(f"{score:.2f}", f"{threshold:.2f}", clock(at), Text(label))
    console.print(table)
    console.print()


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), header_style="dim")
    for name in columns:
        table.add_column(name, justify="left" if name in ("sound", "score") else "right")
    return table


def bar(score: float, width: int = 10) -> str:
    """A score as a bar."""
    return "▇" * max(1, round(score * width))
