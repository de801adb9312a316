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
from htsat_edge.htsat.doubts import FEW, NAMED, doubts_of_foreign, notes_of_held
from htsat_edge.htsat.settings import CURVE_NAMES

NAMES = {
    "accuracy": "balanced accuracy, whole recordings",
    "clip_ap": "mean average precision, whole recordings",
    "frame_ap": "mean average precision, steps of scenes",
    "segment_f1": "F1 of 1 s segments of scenes",
    "event_f1": "F1 of events in scenes (collars 0.2 s, 20 %)",
}
SHORT = {
    "accuracy": "scores highest",
    "clip_ap": "clip AP",
    "frame_ap": "step AP",
    "segment_f1": "segment F1",
    "event_f1": "event F1",
}
"""The same figures of one class."""
GLOSSES = (
    "scores highest: share of the held recordings of a class in which no other class scores higher",
    "AP (average precision): 1 where all that holds the class scores above all that does not; clip: of whole "
    "recordings; step: of steps of 0.32 s of scenes",
    "collars: an event counts as found where its onset is right to 0.2 s, and its end to 0.2 s or 20 % of its length",
    "PSDS (polyphonic sound detection score): events found at few false ones, over all thresholds; "
    "scenario 1 wants exact times, scenario 2 the right class",
    "rises over a threshold: how often the score of a class comes above it where no such sound is: false events",
)
"""What the words of the tables mean."""


class ClassFigures(BaseModel):
    """One class: how much of it is held, its figures, and the settings that its events are found with."""

    label: str
    recordings: int
    groups: int
    threshold: float
    median_steps: int
    figures: dict[str, Interval]
    found: int | None = None
    """Held recordings in which an event of it starts when they are played as at run time."""

    def shown(self, name: str) -> str:
        """Return a figure; of few recordings without an interval, which would have no width and look like certainty."""
        figure = self.figures[name]
        return f"{figure.value:.2f} (–)" if self.recordings < FEW and figure.value is not None else str(figure)


class ForeignFigures(BaseModel):
    """What the model makes of recordings in which none of its classes sounds, played as at run time."""

    recordings: int
    groups: int
    fired: int
    """Recordings that raise an event."""
    share: Interval
    """Of the recordings, by group."""
    reported: dict[str, int]
    """By class of the model: recordings in which it is reported."""
    kinds: dict[str, tuple[int, int]]
    """By class of the recordings: how many raise an event, and how many there are."""

    def line(self) -> str:
        """Return how many raise an event."""
        share = self.share
        ends = "" if share.low is None or share.high is None else f"; {100 * share.low:.0f}–{100 * share.high:.0f} %"
        return (
            f"{self.fired} of {self.recordings} recordings of {len(self.kinds)} other kinds of sound raise an event "
            f"({100 * (share.value or 0):.1f} %{ends})"
        )

    def by_class(self) -> str:
        """Return as what they are reported, most first."""
        most = sorted(self.reported.items(), key=lambda item: -item[1])
        return "; ".join(f"{label} {count}" for label, count in most[:NAMED] if count) or "nothing"

    def by_kind(self) -> str:
        """Return which sounds they are, most first."""
        most = sorted(self.kinds.items(), key=lambda item: (-item[1][0], item[1][1]))
        return "; ".join(f"{kind} {fired} of {count}" for kind, (fired, count) in most[:NAMED] if fired) or "none"


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
    foreign: ForeignFigures | None = None
    """None where no sounds of other classes could be played."""
    data_doubts: list[str] = []
    """What speaks against the recordings."""

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

    def found(self) -> str:
        """Return how many held recordings are found at run time, and of which classes some are not."""
        judged = [(c.label, c.found or 0, c.recordings) for c in self.classes if c.recordings]
        total, held = sum(found for _, found, _ in judged), sum(count for _, _, count in judged)
        missed = sorted(
            (found / count, f"{label} {found} of {count}") for label, found, count in judged if found < count
        )
        rest = f": {'; '.join(text for _, text in missed[:NAMED])}" if missed else ""
        return f"{total} of {held} held recordings are found ({total / held:.2f}){rest}"

    def doubts(self) -> list[str]:
        """Return what speaks against these figures or the model, in whole sentences, the worst first."""
        share = self.foreign.share.value if self.foreign is not None else None
        reported = self.foreign.by_class() if self.foreign is not None else ""
        return doubts_of_foreign(share, reported) + self.data_doubts

    def notes(self) -> list[str]:
        """Return what is to be known of the figures, and speaks against nothing."""
        return notes_of_held((c.recordings, c.groups) for c in self.classes)

    def text(self) -> str:
        """Return what a person reads first: what is found, what fires falsely, figures, and doubts."""
        lines = [f"at run time, {self.found()}"]
        if self.foreign is not None:
            lines += [f"at run time, {self.foreign.line()}"]
        if self.foreign is not None and self.foreign.fired:
            lines += [f"  reported as {self.foreign.by_class()}", f"  most of them {self.foreign.by_kind()}"]
        lines += [f"{name}: {value}" for name, value in self.table()]
        lines += [f"note: {note}" for note in self.notes()]
        return "\n".join([*lines, *(f"warning: {doubt}" for doubt in self.doubts())])

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
    """Write an HTML page that needs no other file; what speaks against the model stands at its top."""
    labels = [c.label for c in results.classes]
    parts = [
        "<h1>The model on held recordings</h1>",
        *(page.warning(doubt, loud=doubt not in results.data_doubts) for doubt in results.doubts()),
        *describe_run_time(results),
        "<h2>Figures</h2>",
        page.table(["figure", "value (90 % of resamples)"], results.table()),
        page.paragraph(
            " ".join(["Intervals of whole recordings are by group, those of scenes by scene.", *results.notes()])
        ),
        page.bullets(GLOSSES),
        "<h2>Training</h2>",
        page.plot(lambda figure: draw_curve(figure, curve), (9, 3)),
        "<h2>By class</h2>",
        page.plot(lambda figure: draw_classes(figure, results.classes), (9, 0.34 * len(results.classes) + 1.2)),
        page.table(
            ["class", "held", "groups", "found", *SHORT.values(), "threshold", "median, steps"],
            [
                [
                    *(c.label, c.recordings, c.groups, "–" if c.found is None else c.found),
                    *(c.shown(name) for name in SHORT),
                    *(c.threshold, c.median_steps),
                ]
                for c in results.classes
            ],
        ),
        "<h2>Confusion</h2>",
        "<p>Whole recordings: the class of the row, and the class that scores highest.</p>",
        page.plot(lambda figure: draw_counts(figure, np.array(results.confusion), labels), (8, 7)),
    ]
    page.write(path, "Evaluation", parts)


def describe_run_time(results: Results) -> list[str]:
    """Return what the model finds, and what it takes for it, when recordings are played as at run time."""
    parts = ["<h2>At run time</h2>", page.paragraph(f"{results.found()}.")]
    if (foreign := results.foreign) is None:
        return parts
    fired = sorted(foreign.kinds.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        *parts,
        page.paragraph(f"{foreign.line()}. Reported as: {foreign.by_class()}."),
        page.table(
            ["other sounds that raise an event", "recordings", "of"],
            [[kind, count, of] for kind, (count, of) in fired if count],
        )
        if foreign.fired
        else "",
    ]


def draw_curve(figure: Figure, curve: Sequence[dict[str, float]]) -> None:
    """Draw loss, and the figures of each validation, over the steps."""
    loss, scores = figure.subplots(1, 2)
    steps = [row["step"] for row in curve]
    loss.plot(steps, [row["loss"] for row in curve])
    loss.set(xlabel="step", ylabel="loss", ylim=(0, None))
    for name, shown in CURVE_NAMES.items():
        if name in curve[0]:  # a training on clips has no frames, and no accuracy where they have several classes
            scores.plot(steps, [row[name] for row in curve], label=shown)
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
        errors[:, [c.recordings < FEW for c in classes]] = np.nan  # draws none
        # As lists: matplotlib takes a row of a single class for a number, which numpy before 2.4 warns of.
        axes.barh(at + shift, values, 0.4, xerr=errors.tolist(), label=SHORT[name], error_kw={"lw": 0.8})
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
