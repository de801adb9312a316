"""Hold the figures of a trained model, and draw a page of them: curves, figures by class, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from pydantic import BaseModel

from htsat_edge.evaluation import page
from htsat_edge.evaluation.metrics import Interval

NAMES = {
    "accuracy": "balanced accuracy, whole recordings",
    "clip_ap": "mean average precision, whole recordings",
    "frame_ap": "mean average precision, steps of scenes",
    "segment_f1": "F1 of 1 s segments of scenes",
    "event_f1": "F1 of events in scenes (collars 0.2 s, 20 %)",
}
SHORT = {
    "accuracy": "recall",
    "clip_ap": "clip AP",
    "frame_ap": "step AP",
    "segment_f1": "segment F1",
    "event_f1": "event F1",
}
"""The same figures of one class."""


class ClassFigures(BaseModel):
    """One class: how much of it is held, its figures, and the settings that its events are found with."""

    label: str
    recordings: int
    groups: int
    threshold: float
    median_steps: int
    figures: dict[str, Interval]


class Results(BaseModel):
    """Everything that the evaluation found."""

    figures: dict[str, Interval]
    psds1: float
    psds2: float
    rises_in_noise: dict[str, int]
    """How often each class rises over its threshold in an hour of stationary noise."""
    rises_in_ambience: dict[str, int] | None
    """The same with recorded backgrounds over it, sometimes rightly; None where the corpus has none."""
    classes: list[ClassFigures]
    confusion: list[list[int]]
    """Recordings of the row's class that score highest as the column's."""

    def line(self) -> str:
        """Return the figures in one line."""
        shown = [f"{name} {figure}" for name, figure in self.figures.items()]
        shown += [f"psds1 {self.psds1:.3f}", f"psds2 {self.psds2:.3f}"]
        shown += [f"{sum(self.rises_in_noise.values())} rises over a threshold in an hour of noise"]
        if self.rises_in_ambience is not None:
            shown += [f"{sum(self.rises_in_ambience.values())} with recorded backgrounds"]
        if unknown := [c.label for c in self.classes if not c.recordings]:
            shown += [f"(nothing is held of {', '.join(unknown)})"]
        return "  ".join(shown)

    def table(self) -> list[list[str]]:
        """Return the figures over all classes, with their names."""
        rows = [[NAMES[name], str(figure)] for name, figure in self.figures.items()]
        rows += [["PSDS, scenario 1", f"{self.psds1:.2f}"], ["PSDS, scenario 2", f"{self.psds2:.2f}"]]
        noise, ambience = self.rises_in_noise, self.rises_in_ambience
        rows += [["rises over a threshold in an hour of stationary noise", str(sum(noise.values()))]]
        if ambience is not None:
            rows += [["the same with recorded backgrounds over it", str(sum(ambience.values()))]]
        return rows

    def most_rises_in_ambience(self) -> str:
        """Return the classes that rise most often in an hour of recorded backgrounds, and how often."""
        most = sorted((self.rises_in_ambience or {}).items(), key=lambda item: -item[1])
        return ", ".join(f"{label} {count}" for label, count in most if count) or "nothing"

    def confused(self) -> list[tuple[int, str, str]]:
        """Return how many recordings of which class score highest as which other, most first."""
        labels = [c.label for c in self.classes]
        pairs = [
            (count, labels[i], labels[j])
            for i, row in enumerate(self.confusion)
            for j, count in enumerate(row)
            if count and i != j
        ]
        return sorted(pairs, key=lambda pair: -pair[0])


def write_page(path: Path, results: Results, curve: Sequence[dict[str, float]]) -> None:
    """Write an HTML page that needs no other file."""
    labels = [c.label for c in results.classes]
    parts = [
        "<h1>The model on held recordings</h1>",
        page.table(["figure", "value (90 % of resamples)"], results.table()),
        "<p>Intervals of whole recordings are by group (pack or author), those of scenes by scene.</p>",
        "<h2>Training</h2>",
        page.plot(lambda figure: draw_curve(figure, curve), (9, 3)),
        "<h2>By class</h2>",
        page.plot(lambda figure: draw_classes(figure, results.classes), (9, 0.34 * len(results.classes) + 1.2)),
        page.table(
            ["class", "held", "groups", *SHORT.values(), "threshold", "median"],
            [
                [c.label, c.recordings, c.groups, *(c.figures[name] for name in SHORT), c.threshold, c.median_steps]
                for c in results.classes
            ],
        ),
        "<h2>Confusion</h2>",
        "<p>Whole recordings: the class of the row, and the class that scores highest.</p>",
        page.plot(lambda figure: draw_counts(figure, np.array(results.confusion), labels), (8, 7)),
    ]
    page.write(path, "Evaluation", parts)


def draw_curve(figure: Figure, curve: Sequence[dict[str, float]]) -> None:
    """Draw loss, and the figures of each validation, over the steps."""
    loss, scores = figure.subplots(1, 2)
    steps = [row["step"] for row in curve]
    loss.plot(steps, [row["loss"] for row in curve])
    loss.set(xlabel="step", ylabel="loss", ylim=(0, None))
    for name in ("accuracy", "clip_map", "frame_map"):
        if name in curve[0]:  # a training on clips has no frames, and no accuracy where they have several classes
            scores.plot(steps, [row[name] for row in curve], label=name)
    scores.set(xlabel="step", ylim=(0, 1))
    scores.legend()


def draw_classes(figure: Figure, classes: Sequence[ClassFigures]) -> None:
    """Draw the average precision of each class, with intervals."""
    axes = figure.subplots()
    at = np.arange(len(classes))
    for shift, name in ((-0.2, "clip_ap"), (0.2, "frame_ap")):
        found = [c.figures[name] for c in classes]
        values = np.array([f.value or 0 for f in found])
        ends = np.array([[f.low or 0, f.high or 0] for f in found]).T
        # The percentiles of resamples may lie to one side of the figure itself.
        errors = np.maximum([values - ends[0], ends[1] - values], 0)
        axes.barh(at + shift, values, 0.4, xerr=errors, label=SHORT[name], error_kw={"lw": 0.8})
    axes.set(xlim=(0, 1), ylim=(len(classes) - 0.4, -0.6))
    axes.set_yticks(at, [f"{c.label} ({c.recordings})" for c in classes])
    figure.legend(loc="outside upper center", ncols=2)


def draw_counts(figure: Figure, counts: npt.NDArray[np.intp], labels: Sequence[str]) -> None:
    """Draw a confusion matrix (C, C), rows scaled to one."""
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(counts), strict=True):
        share = counts[i, j] / counts[i].sum()
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=7, color="white" if share > 0.5 else "black")
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="classified as", ylabel="recordings of")
