"""A bench as a picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from runtime.bench.report import told
from runtime.bench.results import ON_CPU, Bench
from runtime.files import replacing


def draw(path: Path, bench: Bench) -> None:
    """Bars of the medians, with p90 as a whisker; nothing is left half-written."""
    shown = bench.measured[::-1]
    names = [
        f"{m.contender.name}, {m.contender.threads} thr." if m.runs_on == ON_CPU else m.contender.name for m in shown
    ]
    medians = [m.model.p50_ms for m in shown]
    whiskers = [[0.0] * len(shown), [m.model.p90_ms - m.model.p50_ms for m in shown]]
    colours = ["tab:blue" if m.contender.kind == "bundle" else "tab:gray" for m in shown]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.4 * len(shown)), layout="constrained")
    bars = axes.barh(names, medians, xerr=whiskers, color=colours, capsize=3)
    axes.bar_label(bars, [f"{median:.1f}" for median in medians], padding=6)
    axes.set_xscale("log")
    axes.set_xlabel("ms from the log-mel of one clip to scores; median, whisker to p90")
    axes.set_title(f"{bench.bundle} on {bench.device.processor}, {told(bench.device)}", fontsize="medium")
    axes.margins(x=0.12)
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=120)
    plt.close(figure)
