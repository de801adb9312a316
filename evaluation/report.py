"""Show what was measured: a table in the terminal, and a page that needs no other file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from htsat_edge.evaluation import page
from htsat_edge.evaluation.budget import ENOUGH, Accuracy
from htsat_edge.evaluation.comparison import Measured
from htsat_edge.evaluation.figures import TITLES
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.evaluation.playback import OddWindow, Version
from htsat_edge.evaluation.tables import wide_console
from htsat_edge.runtime.commands.plot import mark_khz
from htsat_edge.runtime.common.text import clock
from htsat_edge.runtime.dsp.log_mel import FrontEnd
from htsat_edge.runtime.models.bundle import CPU_FP32

LEGEND = (
    "Changes from fp32 are in points (hundredths), in brackets the interval of 90 % of resamples of the recordings. "
    "Raw outputs are what scores are made of; 10 dB more are a third of the error."
)
GAP = 2
"""Spaces between two columns."""
MOST_DOTS = 50_000
SHOWN_CLASSES = 30
"""Most classes whose change a page shows: those that lose most."""


def print_table(found: Accuracy) -> None:
    """Print the figures, a column for each graph; on a narrow terminal without intervals, some graphs below others."""
    console = wide_console()
    console.print(Text(heading(found), style="bold"), soft_wrap=True)
    whole = [["", *found.graphs], *rows(found)]
    fits = (needed := sum(_widths(whole))) <= console.width
    for part in [whole] if fits else split([["", *found.graphs], *rows(found, with_intervals=False)], console.width):
        console.print(make_table(part))
    left_out = (
        () if fits else (f"Intervals are left out here: they need {needed} columns. A file and the page have them.",)
    )
    for text in (*left_out, LEGEND, recommendation(found)):
        console.print(Text(text), soft_wrap=True)


def make_table(lines: Sequence[Sequence[str]]) -> Table:
    """Return a table of its lines, of which the first one is its header."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    table.add_column("")
    for name in lines[0][1:]:
        table.add_column(name, justify="right")
    for name, *cells in lines[1:]:
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


def split(lines: Sequence[Sequence[str]], width: int) -> list[list[list[str]]]:
    """Return a table as several that are no wider than `width`, each with the first column and some of the others."""
    first, *widths = _widths(lines)
    parts: list[list[int]] = []
    room = 0
    for column, wide in enumerate(widths, 1):
        if not parts or wide > room:
            parts.append([0])
            room = width - first
        parts[-1].append(column)
        room -= wide
    return [[[line[column] for column in part] for line in lines] for part in parts]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [GAP + max(map(len, column)) for column in zip(*lines, strict=True)]


def recommendation(found: Accuracy) -> str:
    """Return which graph htsat-edge will use, in a line."""
    chosen, events = found.recommended["onnxruntime"], found.graphs["fp32"].events
    if [*found.graphs] == ["fp32"]:
        return "Only fp32 was measured: on a CPU, htsat-edge uses this bundle in full precision until more graphs are."
    if events < ENOUGH:
        why = f"{events} events are too few to say more, want {ENOUGH}"
    elif chosen in ("fp32", CPU_FP32):
        why = "none of the others that were measured is within the budget and a tenth faster"
    else:
        why = "the fastest graph within the budget"
    return f"On a CPU, htsat-edge uses {chosen} of this bundle from now on: {why}."


def heading(found: Accuracy) -> str:
    """Return what was measured on, in a line."""
    labels = {
        "when": "labels say when each class sounds",
        "whether": "labels say which classes sound",
        "none": "without labels: agreement with fp32",
    }[found.labels_say]
    return f"{found.recordings} recordings of {found.material}, {60 * found.hours:.1f} minutes, {labels}"


def rows(found: Accuracy, with_intervals: bool = True) -> list[list[str]]:
    """Return the rows of the table: the name of a figure, and a cell for each graph."""
    graphs = list(found.graphs.values())
    reference = graphs[0]
    table = [
        ["size", *(f"{m.size / 1e6:.1f} MB" for m in graphs)],
        ["time of one window", *(f"{m.clip_ms:.1f} ms" for m in graphs)],
        ["the same, as a share of fp32's", *(f"{m.clip_ms / reference.clip_ms:.2f}" for m in graphs)],
        [
            "signal to noise of the raw outputs",
            *("–" if m.logit_snr_db is None else f"{m.logit_snr_db:.1f} dB" for m in graphs),
        ],
        ["the same, of the worst window", *(_worst(m) for m in graphs)],
    ]
    table += [
        [TITLES[name], *(_figure(m, name, m is reference, with_intervals) for m in graphs)]
        for name in reference.figures
    ]
    if changes := class_changes(found):
        table.append(
            [f"worst class, {TITLES[changes.figure]}", *(_worst_class(changes, name) for name in found.graphs)]
        )
    table.append(["events reported", *(str(m.events) for m in graphs)])
    table.append(
        ["lost, new ones", *("–" if m is reference else f"{m.events_lost}, {m.events_gained}" for m in graphs)]
    )
    if reference.false_events_per_hour is not None:
        table.append(["false events an hour", *(f"{m.false_events_per_hour:.1f}" for m in graphs)])
    table.append(["within the budget", *("–" if m is reference else "no" if m.broken else "yes" for m in graphs)])
    return table


def _worst(measured: Measured) -> str:
    worst = measured.worst_clip
    return "–" if worst is None else f"{worst.logit_snr_db:.1f} dB"


def _worst_class(changes: ClassChanges, graph: str) -> str:
    known = [(change[graph], label) for label, change in changes.by_label if graph in change]
    if not known:  # fp32 itself
        return "–"
    change, label = min(known)
    return f"{_signed(change)} {label}"


def _figure(measured: Measured, name: str, reference: bool, with_interval: bool) -> str:
    if name not in measured.figures:
        return "–"
    value = f"{measured.figures[name]:.3f}"
    return value if reference else f"{value}  {points(measured.changes[name], with_interval)}"


def points(change: Interval, with_interval: bool = True) -> str:
    """Return a change in points, with its interval."""
    assert change.value is not None
    if not with_interval or change.low is None or change.high is None:
        return _signed(change.value)
    return f"{_signed(change.value)} ({_signed(change.low)} … {_signed(change.high)})"


def _signed(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # adding zero turns minus zero into zero


def write_page(path: Path, found: Accuracy, versions: Sequence[Version]) -> None:
    """Write the page: the table, the change of each class, scores over scores, and the windows that differ most."""
    others = versions[1:]
    parts = [
        "<h1>What the smaller graphs cost</h1>",
        page.paragraph(f"{heading(found)}."),
        page.table(["", *found.graphs], rows(found)),
        page.paragraph(LEGEND),
        page.paragraph(recommendation(found)),
    ]
    parts += [f"<p><b>{name}:</b> {html.escape(line)}</p>" for name, m in found.graphs.items() for line in m.broken]
    if changes := class_changes(found):
        shown = changes.by_label[:SHOWN_CLASSES]
        parts += [
            f"<h2>Change of each class in {TITLES[changes.figure]}</h2>",
            page.plot(lambda figure: draw_changes(figure, shown), (9, 0.34 * len(shown) + 1.2)),
        ]
    parts += [part for version in others for part in _version(versions[0], version)]
    page.write(path, "What the smaller graphs cost", parts)


def _version(reference: Version, version: Version) -> list[str]:
    """Return the parts of the page about one graph."""
    parts = [
        f"<h2>{version.name}</h2>",
        "<p>The highest score of each class in each recording.</p>",
        page.plot(lambda figure: draw_scores(figure, reference, version), (4.5, 4.2)),
    ]
    if version.odd_windows:
        parts += [
            "<p>The windows whose raw outputs are furthest from those of fp32, with their signal to noise.</p>",
            page.plot(lambda figure: draw_windows(figure, version.odd_windows, version.info.front_end), (9, 2.6)),
        ]
    return parts


@dataclass(frozen=True)
class ClassChanges:
    """The changes of one figure of each class."""

    figure: str
    by_label: list[tuple[str, dict[str, float]]]
    """Changes by graph, as shares of 1, for each class; the class with the greatest loss first."""


def class_changes(found: Accuracy) -> ClassChanges | None:
    """Return the changes of each class in event F1, or else in average precision; None where neither is known."""
    (_, reference), *others = found.graphs.items()
    figure = "event_f1" if "event_f1" in reference.figures else "clip_ap"
    others = [(name, measured) for name, measured in others if figure in measured.figures]
    if figure not in reference.figures or not others:
        return None
    by_label = []
    for label, own in reference.class_figures.items():
        if (before := own[figure]) is not None:
            after = {name: measured.class_figures[label][figure] or 0.0 for name, measured in others}
            by_label.append((label, {name: value - before for name, value in after.items()}))
    return ClassChanges(figure, sorted(by_label, key=lambda item: min(item[1].values())))


def draw_changes(figure: Figure, changes: Sequence[tuple[str, dict[str, float]]]) -> None:
    """Draw a bar for each class and graph."""
    axes, graphs = figure.subplots(), list(changes[0][1])
    at, height = np.arange(len(changes)), 0.8 / len(graphs)
    for i, graph in enumerate(graphs):
        axes.barh(at - 0.4 + (i + 0.5) * height, [100 * change[graph] for _, change in changes], height, label=graph)
    axes.axvline(0, color="black", lw=0.8)
    axes.set(xlabel="change from fp32, points", ylim=(len(changes) - 0.4, -0.6))
    axes.set_yticks(at, [label for label, _ in changes])
    figure.legend(loc="outside upper center", ncols=len(graphs))


def draw_scores(figure: Figure, reference: Version, version: Version) -> None:
    """Draw the highest score of each class in each recording, one graph over the other."""
    axes = figure.subplots()
    own, other = (np.concatenate([r.peak for r in v.results]) for v in (reference, version))
    thin = slice(None, None, 1 + len(own) // MOST_DOTS)
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8)
    axes.plot(own[thin], other[thin], ".", ms=3, alpha=0.5, rasterized=True)
    axes.set(
        xlabel=f"score with {reference.name}",
        ylabel=f"score with {version.name}",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
    )


def draw_windows(figure: Figure, windows: Sequence[OddWindow], front_end: FrontEnd) -> None:
    """Draw spectrograms, side by side."""
    for axes, odd in zip(np.atleast_1d(figure.subplots(1, len(windows), sharey=True)), windows, strict=True):
        extent = (0, len(odd.log_mel) * front_end.frame_s, 0, front_end.n_mels)
        axes.imshow(odd.log_mel.T, origin="lower", aspect="auto", cmap="magma", extent=extent, rasterized=True)
        axes.set_title(f"{odd.file}\nfrom {clock(odd.at_s)}: {odd.snr_db:.1f} dB", fontsize=8)
        axes.set(xlabel="s")
    mark_khz(figure.axes[0], front_end)
