"""Draw what each threshold of some classes comes to: events a day, with their interval."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from htsat_edge.runtime.commands.plot import FONTS
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.tuning.records import TuneCurve

COLUMNS = 3


def draw(path: Path, curves: Sequence[TuneCurve], wanted: float) -> None:
    """Write the picture of curves, each with the wanted number of events a day; nothing is left half-written."""
    fonts = [font for font in FONTS if font in font_manager.get_font_names()]
    with matplotlib.rc_context({"font.family": ["DejaVu Sans", *fonts]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # it becomes a box; nobody can mend it here
        _draw(path, curves, wanted)


def _draw(path: Path, curves: Sequence[TuneCurve], wanted: float) -> None:
    columns = max(1, min(COLUMNS, len(curves)))
    rows = max(1, ceil(len(curves) / columns))
    size = (4.2 * columns + 0.6, 2.8 * rows + 0.4)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    several = len({one.source for one in curves}) > 1
    for axes, found in zip(grid.flat, curves, strict=False):
        _draw_curve(axes, found, wanted)
        title = f"{found.label}, {found.source}" if several else found.label
        axes.set_title(visible(os.fsencode(title).decode(errors="replace")), loc="left", fontsize=10, parse_math=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    figure.supylabel("events a day", fontsize=10)
    figure.supxlabel("threshold", fontsize=10)
    try:
        with replacing(path) as part:
            figure.savefig(part, dpi=110, format="png", metadata={"Software": PROGRAM})
    finally:
        plt.close(figure)


def _draw_curve(axes: Axes, found: TuneCurve, wanted: float) -> None:
    thresholds = [point.threshold for point in found.points]
    rates = [point.per_day for point in found.points]
    axes.fill_between(
        thresholds,
        [point.low for point in found.points],
        [point.high for point in found.points],
        step="post",
        alpha=0.25,
        linewidth=0,
        label="95 % interval",
    )
    axes.step(thresholds, rates, where="post")
    if any(point.false_per_day is not None for point in found.points):
        false = [float("nan") if point.false_per_day is None else point.false_per_day for point in found.points]
        axes.plot(thresholds, false, color="tab:red", linewidth=1, label="of these wrong")
    axes.axvline(found.threshold, color="0.3", linewidth=1, label=f"now {found.threshold:g}")
    axes.axhline(wanted, color="0.3", linewidth=1, linestyle="--", label=f"{wanted:g} a day")
    axes.set_yscale("symlog", linthresh=min(1.0, wanted))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, 1)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False)
