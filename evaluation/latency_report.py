"""Show how soon sounds are reported: a table in the terminal, and a picture."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from rich.table import Table
from rich.text import Text

from htsat_edge.evaluation.latency import FIRST_S
from htsat_edge.evaluation.latency_figures import LatencyFigures, OperatingPoint
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.runtime.common.marks import PROGRAM

COLUMNS = (
    *("\nhop", "look-\nahead", "\nearly", "\nmedian", "\np95", "event\nF1", "segment\nF1", "false\nalarms"),
    *("\nfound", f"first\n{FIRST_S:g} s", "\nlater", "after\na gap", "no\ngap"),
)
PALETTE = matplotlib.color_sequences["tab10"]
TITLES = (
    "s from the onset of a sound to its start\nmedian, whisker to 95 %",
    "event F1\nwith its 90 % interval",
    "segment F1\nwith its 90 % interval",
    "false alarms\nan hour",
)
LINE = 130
"""Letters that the picture is wide."""
MARKED = 256
"""Bytes at the beginning of a file in which it says what has written it."""


def has_mark(path: Path) -> bool:
    """Return whether a file holds figures that htsat-edge has written; raise an OSError where it cannot be read."""
    with path.open("rb") as file:
        return b'"written_by": "' + PROGRAM.encode() + b'"' in file.read(MARKED)


def print_table(found: LatencyFigures) -> None:
    """Print the figures, a row for each operating point."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for point in found.points:
        table.add_row(*map(Text, row(point)))
    console = wide_console()
    console.print(Text(heading(found), style="bold"), soft_wrap=True)
    console.print(table)
    console.print(Text(legend(found)), soft_wrap=True)


def heading(found: LatencyFigures) -> str:
    """Return what was measured on, in a line."""
    sounds = found.points[0].recall.sounds
    return f"{found.graph} of {found.bundle}: {sounds} sounds in {found.recordings} recordings of {found.material}"


def legend(found: LatencyFigures) -> str:
    """Return what the columns say."""
    soon = f"{found.first_s:g} s"
    return (
        "hop, look-ahead: seconds; early: the margin of early starts, none where starts wait for final scores\n"
        "median, p95: seconds of audio from the onset of a sound to its start; the model's own time comes on top\n"
        f"false alarms: starts an hour whose onset is more than {found.near_s:g} s from every sound of the class\n"
        f"found: share of all sounds; of those that begin in the first {soon} of a recording, and later; of those in "
        f"the {soon} after a gap, and of the same ones without the gap\n"
        "*: the default"
    )


def row(point: OperatingPoint) -> list[str]:
    """Return the row of the table, a cell for each of COLUMNS."""
    return [
        f"{'*' if point.is_default else ''}{point.hop_s:.2f}",
        f"{point.look_ahead_s:.2f}",
        _margin(point),
        _number(point.latency_median_s),
        _number(point.latency_p95_s),
        _number(point.event_f1.value),
        _number(point.segment_f1.value),
        f"{point.false_alarms_per_hour:.0f}",
        _number(point.recall.share),
        _number(point.recall_first.share),
        _number(point.recall_later.share),
        _number(point.recall_after_gap.share),
        _number(point.recall_without_gap.share),
    ]


def _margin(point: OperatingPoint) -> str:
    return "none" if point.early_margin is None else f"{point.early_margin:g}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def draw(path: Path, found: LatencyFigures) -> None:
    """Write a PNG with a row for each operating point: latency, F1 with its interval, and false alarms."""
    points = found.points[::-1]
    hops = sorted({point.hop_s for point in points})
    colours = {hop_s: PALETTE[i % len(PALETTE)] for i, hop_s in enumerate(hops)}
    rows = [
        f"{'default: ' if p.is_default else ''}{p.hop_s:.2f} s, {p.look_ahead_s:.2f} s, {_margin(p)}" for p in points
    ]
    figure, plots = plt.subplots(
        1, 4, figsize=(13, 1.6 + 0.3 * len(rows)), layout="constrained", sharey=True, width_ratios=(1.5, 1, 1, 1)
    )
    for i, point in enumerate(points):
        median, p95 = point.latency_median_s, point.latency_p95_s
        alarms = point.false_alarms_per_hour
        spans = (
            (Interval(value=median, low=median, high=p95), f"{_number(median)}, {_number(p95)} s"),
            (point.event_f1, _number(point.event_f1.value)),
            (point.segment_f1, _number(point.segment_f1.value)),
            (Interval(value=alarms, low=alarms, high=alarms), f"{alarms:.0f}"),
        )
        for axes, (span, label) in zip(plots, spans, strict=True):
            _draw_dot(axes, i, span, label, colours[point.hop_s])
    plots[0].set_yticks(range(len(rows)), rows)
    plots[0].set_ylim(-0.6, len(rows) - 0.4)
    plots[0].set_ylabel("hop,\nlook-ahead,\nearly margin,\nin logits")
    for axes, title in zip(plots, TITLES, strict=True):
        axes.set_title(title, fontsize="medium")
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlim(0, 1.35 * axes.dataLim.x1 or 1)
    figure.suptitle(textwrap.fill(heading(found), LINE), fontsize="medium", parse_math=False)  # a model may be called $
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # it becomes a box
        figure.savefig(path, format="png", dpi=120, metadata={"Software": PROGRAM})
    plt.close(figure)


def _draw_dot(axes: Axes, row: int, span: Interval, label: str, colour: object) -> None:
    """Draw a figure with its whiskers, if it is known, and its label beside them."""
    if span.value is None:
        return
    low, high = (span.value if end is None else end for end in (span.low, span.high))
    axes.errorbar(
        span.value, row, xerr=[[span.value - low], [high - span.value]], fmt="o", color=colour, ms=5, capsize=3
    )
    axes.annotate(label, (high, row), xytext=(6, 0), textcoords="offset points", va="center", fontsize="small")
