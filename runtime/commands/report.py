"""Print events for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import clock, listed, visible
from htsat_edge.runtime.daemon.messages import TopScore
from htsat_edge.runtime.daemon.outputs.clip_names import parse_clip_name, plain
from htsat_edge.runtime.dsp.events import Event, EventEnd, is_early
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
    heard_as: str = ""
    """The source of a configuration whose settings counted."""
    start: datetime | None = None
    """When it was recorded, where that is known."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many events of each sound a rule did not let through."""

    @property
    def ended(self) -> list[EventEnd]:
        """The events that have ended, in the order of their onsets."""
        ended = [event for event in self.events if isinstance(event, EventEnd)]
        return sorted(ended, key=lambda event: (event.onset, event.label))


def day_and_time(moment: datetime) -> str:
    """Return a moment as the recorder's clock showed it, with its offset from UTC where this device has another one."""
    is_foreign = moment.tzinfo is not None and moment.utcoffset() != moment.astimezone().utcoffset()
    return f"{moment:%Y-%m-%d %H:%M:%S}{moment:%z}" if is_foreign else f"{moment:%Y-%m-%d %H:%M:%S}"


def print_events(
    console: Console, found: Detections, thresholds: Mapping[str, float] = {}, advised: bool = True
) -> None:
    """Print a table of the events; say which of them stay below their thresholds after all.

    Where there are none, say what shows more, if that is `advised`.
    """
    title = Text(visible(found.source), style="bold").append(f"  {clock(found.duration_s)}", style="not bold")
    for note in (day_and_time(found.start) if found.start else "", found.heard_as):
        title.append(f"  {visible(note)}" if note else "", style="not bold")
    console.print(title, soft_wrap=True)
    if found.left_out:
        names = listed((f"{visible(label)} {count}" for label, count in found.left_out.items()), 5)
        console.print(Text(f"  left out by the configuration's rules: {names}"))
    if not found.ended:
        advice = "; --top 5 shows the classes that scored highest" if advised else ""
        console.print(f"  no events{advice}\n", highlight=False)
        return
    table = _table("from", "to", "sound", "score")
    early = [is_early(event, thresholds.get(event.label)) for event in found.ended]
    for event, marked in zip(found.ended, early, strict=True):
        score = f"{event.score:.2f} {bar(event.score)}{' *' if marked else ''}"
        table.add_row(clock(event.onset), clock(event.offset), Text(event.label), score)
    console.print(table)
    if any(early):
        console.print("  * reported early; its final scores stay below the threshold", style="dim", highlight=False)
    console.print()


def print_summary(console: Console, found: Sequence[tuple[Path, Set[str]]]) -> None:
    """Print in how many recordings each sound is, and in how many of the clips that were saved because of it.

    Of each recording there are the sounds that have an event in it, in whichever channel.
    """
    there, own, again = Counter[str](), Counter[str](), Counter[str]()
    names = {plain(label): label for _, heard in found for label in heard}
    for path, heard in found:
        there.update(heard)
        if (clip := parse_clip_name(path.name)) is not None:
            label = names.get(clip.label, clip.label)
            own[label] += 1
            again[label] += label in heard
    table = _table("sound", "recordings", *(["of its own clips"] if own else []))
    for label in sorted({*there, *own}, key=lambda label: (-there[label], label)):
        clips = [f"{again[label]} of {own[label]}" if own[label] else ""] if own else []
        table.add_row(Text(label), f"{there[label]} of {len(found)}", *clips)
    console.print(table if there or own else f"no events in {len(found)} recordings", highlight=False)


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
