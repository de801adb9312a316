"""A bench as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from htsat_edge.runtime.commands.bench.report import title, told
from htsat_edge.runtime.commands.bench.results import ON_CPU, Bench
from htsat_edge.runtime.common.files import replacing
from matplotlib.ticker import ScalarFormatter

WIDE = 10.0
"""The slowest so many times as slow as the fastest: the axis is logarithmic."""


def draw(path: Path, bench: Bench) -> None:
    """Dots at the medians, with p90 as a whisker; nothing is left half-written."""
    shown = bench.measured[::-1]
    names = [title(m.contender) if m.runs_on == ON_CPU else m.contender.name for m in shown]
    medians = [m.model.p50_ms for m in shown]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.4 * len(shown)), layout="constrained")
    for i, m in enumerate(shown):
        colour = "tab:blue" if m.contender.kind == "bundle" else "tab:gray"
        whisker = [[0.0], [m.model.p90_ms - m.model.p50_ms]]
        axes.errorbar(m.model.p50_ms, i, xerr=whisker, fmt="o", color=colour, capsize=3)
        label = f"{m.model.p50_ms:.1f}"
        axes.annotate(label, (m.model.p90_ms, i), xytext=(8, 0), textcoords="offset points", va="center")
    if max(medians) > WIDE * min(medians):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set_xlim(min(medians) / 1.5, max(medians) * 2)
    else:
        axes.set_xlim(0, max(medians) * 1.3)
    axes.set_yticks(range(len(shown)), names)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("ms from the log-mel of one clip to scores; median, whisker to p90")
    axes.set_title(f"{bench.bundle} on {bench.device.processor}, {told(bench.device)}", fontsize="medium")
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=120)
    plt.close(figure)
