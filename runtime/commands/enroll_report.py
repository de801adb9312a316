"""What `htsat-edge enroll` prints: how well a sound was learned, and which sounds there are."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.models.sounds import Confusion, Estimate, SoundInfo, SoundReport, Sounds

MOST_CONFUSIONS = 5


def print_report(console: Console, label: str, report: SoundReport, place: Path | None) -> None:
    """Print how well a sound is told from others; `place` is its json, None where it is not used."""
    verdict = ("learned", "green") if report.accepted else ("refused", "red")
    console.print(Text.assemble((shown(label), "bold"), ": ", verdict, f" from {report.recordings} recordings"))
    if report.reason:
        console.print(Text(shown(report.reason)))
        console.print(Text("At the lowest threshold that keeps from that:"))
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, text in (
        ("recall", f"{percent(report.recall)} of these recordings, each found by what the others taught"),
        (
            "false alarms",
            f"{interval(report.false_alarms_per_h)} an hour, on {number(report.background_h)} h of background",
        ),
        ("fires on", confusions(report.confusions)),
        ("threshold", f"{report.threshold:.2f}"),
    ):
        table.add_row(Text(name, "bold"), Text(text))
    console.print(table)
    for line in next_steps(label, place):
        console.print(Text(shown(line)), soft_wrap=True)


def next_steps(label: str, place: Path | None) -> list[str]:
    """Return what a person can do now."""
    if place is None:
        return [
            "Nothing was written.",
            "Next: more recordings, of the sound alone, made where the device stands; --background FOLDER adds what "
            "else is heard there.",
        ]
    return [
        f"{place}: a class like any other from now on; a daemon that runs takes it over within a second.",
        f'Next: htsat-edge detect FILE --sounds {place.parent} --labels "{label}" · where it is wrong, say so on the '
        f'page, then: htsat-edge enroll --refresh "{label}"',
    ]


def interval(figure: Estimate) -> str:
    """Return a rate with its interval."""
    return f"{number(figure.value)} ({number(figure.low)} to {number(figure.high)})"


def number(value: float) -> str:
    """Return a rate with as many digits as matter."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}".rstrip("0").rstrip(".")


def percent(figure: Estimate) -> str:
    """Return a share with its interval."""
    return f"{figure.value:.0%} ({100 * figure.low:.0f} to {figure.high:.0%})"


def confusions(found: list[Confusion]) -> str:
    """Return on which recordings of known classes a sound fires."""
    named = [f"{one.label}: {one.fired} of {one.of}" for one in found if one.fired]
    more = f" and {len(named) - MOST_CONFUSIONS} more" if len(named) > MOST_CONFUSIONS else ""
    return (" · ".join(named[:MOST_CONFUSIONS]) + more) or "no known class"


def print_sounds(console: Console, sounds: Sounds) -> None:
    """Print a table of the sounds of a folder, and what is wrong with the others."""
    if not sounds.known and not sounds.broken:
        console.print(Text(f'{sounds.folder}: no sounds; htsat-edge enroll "Our doorbell" a.wav b.wav c.wav adds one'))
        return
    if sounds.known:
        table = Table(box=None, header_style="bold")
        for column in ("label", "state", "threshold", "recordings", "recall", "false alarms/h", "enrolled", "name"):
            table.add_column(column, overflow="fold", no_wrap=column == "enrolled")
        usable = {sound.name for sound in sounds.usable}
        for name, info in sounds.known:
            state = "in use" if name in usable else "other graph"
            table.add_row(*(Text(shown(cell)) for cell in row_of(name, info, state)))
        console.print(table)
    if sounds.stale:
        console.print(Text("htsat-edge enroll --refresh learns those for this graph"))
    for problem in sounds.problems:
        console.print(Text(f"not used: {shown(problem)}"), soft_wrap=True)


def row_of(name: str, info: SoundInfo, state: str) -> list[str]:
    """Return the cells of a sound."""
    return [
        info.label,
        state,
        f"{info.threshold:.2f}",
        str(sum(one.kind == "positive" for one in info.recordings)),
        percent(info.report.recall),
        interval(info.report.false_alarms_per_h),
        f"{info.enrolled_at:%Y-%m-%d}",
        name,
    ]
