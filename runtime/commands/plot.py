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
from matplotlib.typing import ColorType

from htsat_edge.runtime.commands.report import Detections
from htsat_edge.runtime.commands.truth import TrueSound
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.common.text import clock, visible
from htsat_edge.runtime.dsp.events import EventEnd, is_early
from htsat_edge.runtime.dsp.log_mel import FrontEnd, hz_to_band
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.classes import Classes

MOST_CLASSES = 10
PALETTE = matplotlib.color_sequences["tab10"]
SCORE_HEIGHT = 0.88
"""The share of a row that a score of 1 fills."""
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


def draw(
    path: Path,
    title: str,
    found: Detections,
    info: ModelInfo,
    classes: Classes,
    truth: Sequence[TrueSound] = (),
) -> None:
    """Write the picture of what was found, of these classes, and of what does sound; nothing is left half-written."""
    fonts = [font for font in FONTS if font in font_manager.get_font_names()]
    with matplotlib.rc_context({"font.family": ["DejaVu Sans", *fonts]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")  # it becomes a box; nobody can mend it here
        _draw(path, title, found, info, classes, truth)


def _draw(
    path: Path, title: str, found: Detections, info: ModelInfo, classes: Classes, truth: Sequence[TrueSound]
) -> None:
    trace, events, duration_s = found.trace, found.ended, found.duration_s
    assert trace is not None
    sounding = _find_rows(truth, info, classes)
    shown, more = _choose_rows(classes, trace, events, sounding)
    heights = [2.8, 0.36 * len(shown) + 0.3, 0.24 * len(shown) + 0.3]
    lanes = _stack(truth)
    if truth:
        heights.insert(1, 0.24 * max(lanes) + 0.2)
    figure, (spectrogram, *rows, scores, bars) = plt.subplots(
        len(heights), 1, figsize=(12, sum(heights) + 1.6), sharex=True, height_ratios=heights, layout="constrained"
    )
    _draw_spectrogram(spectrogram, info, trace)
    for axes in rows:
        _draw_truth(axes, truth, lanes, [_color(shown, own) for own in sounding], duration_s)
    _draw_scores(scores, info, trace, classes, shown)
    early = _draw_events(bars, classes, events, shown, duration_s)
    _draw_outlines(bars, truth, sounding, shown)
    shown_title = visible(os.fsencode(title).decode(errors="replace"))
    spectrogram.set_title(shown_title, loc="left", fontweight="bold", parse_math=False)
    scores.set_title("scores; the dashed line is the threshold", loc="left", fontsize=9)
    outlined = "; dashed: what does sound" if truth else ""
    bars.set_title(f"events, each with its highest score{outlined}", loc="left", fontsize=9)
    notes = ["pale: reported early, not borne out by the final scores"] if early else []
    notes += [f"and {more} more classes with events"] if more else []
    bars.set_title("; ".join(notes), loc="right", fontsize=8)
    _draw_clock(bars, duration_s)
    try:
        with replacing(path) as part:
            figure.savefig(part, dpi=110, format="png", metadata={"Software": PROGRAM})
    finally:
        plt.close(figure)


def _find_rows(truth: Sequence[TrueSound], info: ModelInfo, classes: Classes) -> list[list[int]]:
    """Return the classes that each sound belongs to: its own, or its group's; none where the model does not know it."""
    names = {name.casefold(): name for name in [*info.labels, *classes.labels]}
    known = [names.get(sound.label.casefold()) for sound in truth]
    return [[] if name is None else classes.columns_of(name, info) for name in known]


def _choose_rows(
    classes: Classes, trace: Trace, events: Sequence[EventEnd], sounding: Sequence[Sequence[int]]
) -> tuple[list[int], int]:
    """Return the classes worth a row, the highest score first, and how many with events found no room.

    Those with events or that do sound have room before others, of which a few that scored highest are shown as well.
    """
    reported = {classes.labels.index(label) for label in classes.reported}
    strongest: dict[int, float] = {}
    for event in events:
        index = classes.labels.index(event.label)
        strongest[index] = max(event.score, strongest.get(index, 0.0))
    peak = {k: strongest.get(k, score) for k, score, _ in trace.top(len(classes.labels)) if k in reported}
    wanted = {*strongest, *(k for own in sounding for k in own)} & {*peak}
    first = sorted(wanted, key=lambda k: -peak[k])[:MOST_CLASSES]
    others = sorted({*peak} - wanted, key=lambda k: -peak[k])
    rows = (first + others[: max(2, 6 - len(first))])[:MOST_CLASSES]
    return sorted(rows, key=lambda k: -peak[k]), len({*strongest} - {*first})


def _stack(truth: Sequence[TrueSound]) -> list[int]:
    """Return a lane for each sound, from 1 on, so that none lies over another."""
    ends: list[float] = []
    lanes = []
    for sound in truth:
        lane = next((i for i, end in enumerate(ends) if end <= sound.onset), len(ends))
        ends[lane : lane + 1] = [sound.offset]
        lanes.append(lane + 1)
    return lanes


def _color(shown: Sequence[int], own: Sequence[int]) -> ColorType:
    """Return the colour of the first of these classes that has a row, else grey."""
    return next((PALETTE[list(shown).index(k) % len(PALETTE)] for k in own if k in shown), "0.8")


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
    mark_khz(axes, front_end)


def mark_khz(axes: Axes, front_end: FrontEnd) -> None:
    """Mark frequencies on an axis of mel bands."""
    ticks_khz = [k for k in (0.1, 0.5, 1, 2, 4, 8) if front_end.lowest_hz <= k * 1000 <= front_end.highest_hz]
    axes.set_yticks([hz_to_band(front_end, k * 1000) for k in ticks_khz], [f"{k:g}" for k in ticks_khz])
    axes.set_ylabel("kHz")


def _draw_truth(
    axes: Axes, truth: Sequence[TrueSound], lanes: Sequence[int], colors: Sequence[ColorType], duration_s: float
) -> None:
    """Draw what does sound, each with its name, up to the end of the recording."""
    for sound, lane, color in zip(truth, lanes, colors, strict=True):
        end = min(sound.offset, duration_s)
        width = end - sound.onset
        axes.barh(lane, width, left=sound.onset, height=0.8, color=color, alpha=0.45)
        at, side = sound.onset + width / 2, "center"
        if at < NARROWEST_WITH_SCORE * duration_s:  # the name must not stand beyond the picture's edge
            at, side = sound.onset, "left"
        elif at > (1 - NARROWEST_WITH_SCORE) * duration_s:
            at, side = end, "right"
        axes.annotate(visible(sound.label), (at, lane), ha=side, va="center", fontsize=7, parse_math=False)
    axes.set_ylim(max(lanes) + 0.5, 0.5)
    axes.set_yticks([])
    axes.set_title("what does sound", loc="left", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_scores(axes: Axes, info: ModelInfo, trace: Trace, classes: Classes, shown: Sequence[int]) -> None:
    """Draw a curve a class from 0 to 1, full where it reaches its threshold; beside it, its highest score and that."""
    rows = trace.score.rows()[:, list(shown)]
    edges = np.arange(len(rows) + 1) * trace.score.span * info.step_s
    for row, (index, scores) in enumerate(zip(shown, rows.T, strict=True)):
        bottom, needed = row + 0.44, float(classes.thresholds[index])
        color, heights = PALETTE[row % len(PALETTE)], SCORE_HEIGHT * np.append(scores, scores[-1:])
        for part, alpha in ((heights, 0.35), (heights * (heights >= SCORE_HEIGHT * needed), 1.0)):
            axes.fill_between(edges, bottom, bottom - part, step="post", color=color, alpha=alpha, linewidth=0)
        axes.axhline(bottom - SCORE_HEIGHT * needed, color="0.25", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.axhline(bottom, color="0.85", linewidth=0.8, zorder=0)
        text = f"{scores.max():.2f} / {needed:.2f}"
        axes.text(1.005, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set_title("highest / needed", loc="right", fontsize=8)
    _label_rows(axes, classes.labels, shown)


def _draw_events(
    axes: Axes, classes: Classes, events: Sequence[EventEnd], shown: Sequence[int], duration_s: float
) -> bool:
    """Draw each event with its score, pale where that stayed below the threshold; return whether one did."""
    narrow_s, early = duration_s * NARROWEST_WITH_SCORE, False
    for event in events:
        index = classes.labels.index(event.label)
        if index not in shown:
            continue
        row, width = list(shown).index(index), event.offset - event.onset
        pale = is_early(event, float(classes.thresholds[index]))
        early |= pale
        color = PALETTE[row % len(PALETTE)]
        axes.barh(row, width, left=event.onset, height=0.66, color=color, alpha=0.35 if pale else 1)
        at, side = event.onset + width / 2, "center"
        if width <= narrow_s:  # beside it: on the right where there is room
            at, side = (event.offset, "left") if event.offset < duration_s - narrow_s else (event.onset, "right")
        axes.annotate(f" {event.score:.2f} ", (at, row), ha=side, va="center", fontsize=7)
    if not events:
        axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center", color="0.5")
    _label_rows(axes, classes.labels, shown)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return early


def _draw_outlines(
    axes: Axes, truth: Sequence[TrueSound], sounding: Sequence[Sequence[int]], shown: Sequence[int]
) -> None:
    """Draw a dashed box where a class does sound, so that a sound without an event is seen."""
    for sound, own in zip(truth, sounding, strict=True):
        for k in own:
            if k in shown:
                box = (list(shown).index(k), sound.offset - sound.onset)
                axes.barh(*box, left=sound.onset, height=0.86, fill=False, edgecolor="0.25", linestyle="--")


def _draw_clock(axes: Axes, duration_s: float) -> None:
    """Draw about ten ticks, at times that a person would choose."""
    tick_s = next((tick for tick in TICKS_S if duration_s / tick <= 12), TICKS_S[-1])
    axes.set_xlim(0, duration_s)
    axes.xaxis.set_major_locator(MultipleLocator(tick_s))
    axes.set_xlabel("time, h:min:s" if duration_s >= 3600 else "time, min:s")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: clock(x, digits=0 if tick_s >= 1 else 1)))


def _label_rows(axes: Axes, labels: Sequence[str], shown: Sequence[int]) -> None:
    axes.set_yticks(np.arange(len(shown)), [labels[index] for index in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
