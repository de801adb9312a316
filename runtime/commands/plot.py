"""Draw a recording's timeline: spectrogram, class scores and events on one time axis."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MultipleLocator

from htsat_edge.runtime.commands.report import Detections, clock
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.dsp.log_mel import hz_to_band
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.classes import Classes

MOST_CLASSES = 10
PALETTE = matplotlib.color_sequences["tab10"]
NARROWEST_WITH_SCORE = 0.03
"""The share of the picture's width that a score needs; that of a shorter event stands beside it."""
FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Droid Sans Fallback", "WenQuanYi Zen Hei", "IPAGothic")
"""Of which those that are installed have the letters that matplotlib's own font lacks."""
TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
MARKED = 256
"""Bytes at the beginning of a picture in which it says what has drawn it."""
DYNAMIC_DB = 80
"""What is this far below the loudest is drawn black."""


def has_mark(path: Path) -> bool:
    """Return whether a file is a picture that htsat-edge has drawn; raise an OSError where it cannot be read."""
    with path.open("rb") as file:
        return b"tEXtSoftware\0" + PROGRAM.encode() in file.read(MARKED)


def draw(path: Path, title: str, found: Detections, info: ModelInfo, classes: Classes) -> None:
    """Write the picture of what was found, of these classes; nothing is left half-written."""
    fonts = [font for font in FONTS if font in font_manager.get_font_names()]
    with matplotlib.rc_context({"font.family": ["DejaVu Sans", *fonts]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # it becomes a box; nobody can mend it here
        _draw(path, title, found, info, classes)


def _draw(path: Path, title: str, found: Detections, info: ModelInfo, classes: Classes) -> None:
    trace, events, duration_s = found.trace, found.ended, found.duration_s
    assert trace is not None
    shown, more = _choose_rows(classes, trace, events)
    figure, (spectrogram, scores, bars) = plt.subplots(
        3,
        1,
        figsize=(12, 5.2 + 0.5 * len(shown)),
        sharex=True,
        height_ratios=[3.2, 0.3 * len(shown) + 0.4, 0.25 * len(shown) + 0.4],
        layout="constrained",
    )
    _draw_spectrogram(spectrogram, info, trace)
    _draw_scores(scores, info, trace, classes.labels, shown)
    _draw_events(bars, classes.labels, events, shown, duration_s)
    shown_title = visible(os.fsencode(title).decode(errors="replace"))
    spectrogram.set_title(shown_title, loc="left", fontweight="bold", parse_math=False)
    scores.set_title("scores", loc="left", fontsize=9)
    bars.set_title("events", loc="left", fontsize=9)
    if more:
        bars.set_title(f"and {more} more classes with events", loc="right", fontsize=8)
    _draw_clock(bars, duration_s)
    try:
        with replacing(path) as part:
            figure.savefig(part, dpi=110, format="png", metadata={"Software": PROGRAM})
    finally:
        plt.close(figure)


def _choose_rows(classes: Classes, trace: Trace, events: Sequence[EventEnd]) -> tuple[list[int], int]:
    """Return the classes worth a row, and how many with events found no room.

    Those with events come first, in the order of their onsets, or the strongest where there are too many. Then come
    others by score.
    """
    strongest: dict[int, float] = {}
    for event in events:
        index = classes.labels.index(event.label)
        strongest[index] = max(event.score, strongest.get(index, 0.0))
    room = sorted(strongest, key=lambda index: -strongest[index])[:MOST_CLASSES]
    heard = [index for index in strongest if index in room]
    reported = {classes.labels.index(label) for label in classes.reported}
    best = [k for k, _, _ in trace.top(len(classes.labels)) if k in reported and k not in strongest]
    return (heard + best[: max(3, 6 - len(heard))])[:MOST_CLASSES], len(strongest) - len(heard)


def _draw_spectrogram(axes: Axes, info: ModelInfo, trace: Trace) -> None:
    rows = trace.spectrogram.rows()
    front_end, top = info.front_end, float(rows.max())
    axes.imshow(
        rows.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=max(top - DYNAMIC_DB, float(rows.min())),
        vmax=top + 1e-3,
        extent=(0, len(rows) * trace.spectrogram.span * front_end.frame_s, 0, front_end.n_mels),
        interpolation="nearest",
    )
    ticks_khz = [k for k in (0.1, 0.5, 1, 2, 4, 8) if front_end.lowest_hz <= k * 1000 <= front_end.highest_hz]
    axes.set_yticks([hz_to_band(front_end, k * 1000) for k in ticks_khz], [f"{k:g}" for k in ticks_khz])
    axes.set_ylabel("kHz")


def _draw_scores(axes: Axes, info: ModelInfo, trace: Trace, labels: Sequence[str], shown: Sequence[int]) -> None:
    rows = trace.score.rows()[:, list(shown)]
    image = axes.imshow(
        rows.T,
        aspect="auto",
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(0, len(rows) * trace.score.span * info.step_s, len(shown) - 0.5, -0.5),
        interpolation="nearest",
    )
    _label_rows(axes, labels, shown)
    axes.figure.colorbar(image, ax=axes, pad=0.01, ticks=[0, 0.5, 1]).set_label("score")


def _draw_events(
    axes: Axes, labels: Sequence[str], events: Sequence[EventEnd], shown: Sequence[int], duration_s: float
) -> None:
    narrow_s = duration_s * NARROWEST_WITH_SCORE
    for event in events:
        index = labels.index(event.label)
        if index not in shown:
            continue
        row, width = list(shown).index(index), event.offset - event.onset
        axes.barh(row, width, left=event.onset, height=0.66, color=PALETTE[row % len(PALETTE)])
        at, side = event.onset + width / 2, "center"
        if width <= narrow_s:  # beside it: on the right where there is room
            at, side = (event.offset, "left") if event.offset < duration_s - narrow_s else (event.onset, "right")
        axes.annotate(f" {event.score:.2f} ", (at, row), ha=side, va="center", fontsize=7)
    if not events:
        axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center", color="0.5")
    _label_rows(axes, labels, shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_clock(axes: Axes, duration_s: float) -> None:
    """Draw about ten ticks, at times that a person would choose."""
    tick_s = next((tick for tick in TICKS_S if duration_s / tick <= 12), TICKS_S[-1])
    axes.set_xlim(0, duration_s)
    axes.xaxis.set_major_locator(MultipleLocator(tick_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: clock(x, digits=0 if tick_s >= 1 else 1)))


def _label_rows(axes: Axes, labels: Sequence[str], shown: Sequence[int]) -> None:
    axes.set_yticks(np.arange(len(shown)), [labels[index] for index in shown], parse_math=False)
