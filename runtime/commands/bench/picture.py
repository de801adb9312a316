"""Draw a bench as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import ScalarFormatter

from htsat_edge.runtime.commands.bench.report import describe
from htsat_edge.runtime.commands.bench.results import ON_CPU, Bench
from htsat_edge.runtime.common.files import replacing

WIDE = 10.0
"""The axis is logarithmic where the slowest takes more than so many times as long as the fastest."""


def draw(path: Path, bench: Bench) -> None:
    """Write a PNG with a dot at each median latency and a whisker to p90; the file is written whole or not at all."""
    shown = bench.measured[::-1]
    names = [m.candidate.title if m.runs_on == ON_CPU else m.candidate.name for m in shown]
    fastest, slowest = min(m.model.p50_ms for m in shown), max(m.model.p90_ms for m in shown)
    figure, axes = plt.subplots(figsize=(8, 1 + 0.4 * len(shown)), layout="constrained")
    for i, m in enumerate(shown):
        colour = "tab:blue" if m.candidate.kind == "bundle" else "tab:gray"
        whisker = [[0.0], [m.model.p90_ms - m.model.p50_ms]]
        axes.errorbar(m.model.p50_ms, i, xerr=whisker, fmt="o", color=colour, capsize=3)
        label = f"{m.model.p50_ms:.1f}"
        axes.annotate(label, (m.model.p90_ms, i), xytext=(8, 0), textcoords="offset points", va="center")
    if slowest > WIDE * fastest:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ScalarFormatter())
        span = slowest / fastest
        axes.set_xlim(fastest / span**0.05, slowest * span**0.2)
    else:
        axes.set_xlim(0, slowest * 1.3)
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("ms from the log-mel of one window to scores; median, whisker to p90")
    axes.set_title(f"{bench.bundle} on {bench.device.processor}, {describe(bench.device)}", fontsize="medium")
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=120)
    plt.close(figure)
