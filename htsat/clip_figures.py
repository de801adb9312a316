"""Measure a network on held clips: accuracy where each has one class, mean average precision in any case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel
from torch import nn
from torch.utils.data import DataLoader, Dataset

from htsat_edge.evaluation import page
from htsat_edge.evaluation.metrics import Interval, average_precision, mean_known
from htsat_edge.htsat.clips import LabelledClip, Spectrograms, targets_of, windows_of
from htsat_edge.htsat.doubts import notes_of_held
from htsat_edge.htsat.report import draw_counts, draw_curve
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray

RESAMPLES = 200
"""Of the bootstrap; the intervals are its 5th and 95th percentile."""
AT_ONCE = 16
NAMES = {"accuracy": "accuracy", "clip_ap": "mean average precision"}


@dataclass(frozen=True)
class ClipOutputs:
    """The scores of a network for M held clips and C labels, with their truth."""

    scores: FloatArray
    """(M, C): the highest of all windows of a clip."""
    truth: BoolArray
    """(M, C): which classes sound in it."""

    @property
    def single(self) -> bool:
        """Whether no clip has several classes, so that the highest score is right or wrong."""
        return bool(self.truth.sum(axis=1).max(initial=0) <= 1)

    def accuracy(self) -> float:
        """Return the share of the clips with a class whose class scores highest."""
        named = self.truth.any(axis=1)
        right = self.truth[np.arange(len(self.truth)), self.scores.argmax(axis=1)]
        return float(right[named].mean()) if named.any() else float("nan")

    def confusion(self) -> npt.NDArray[np.intp]:
        """Return (C, C): how many clips of the row's class score highest as the column's."""
        named = self.truth.any(axis=1)
        counts = np.zeros((self.truth.shape[1],) * 2, np.intp)
        np.add.at(counts, (self.truth[named].argmax(axis=1), self.scores[named].argmax(axis=1)), 1)
        return counts

    def clip_ap(self) -> FloatArray:
        """Return (C,): average precision over the clips."""
        return np.array([average_precision(self.scores[:, k], self.truth[:, k]) for k in range(self.truth.shape[1])])

    def figures(self) -> dict[str, float]:
        """Return the figures over all classes of which something is held."""
        accuracy = {"accuracy": self.accuracy()} if self.single else {}
        return {**accuracy, "clip_ap": mean_known(self.clip_ap())}

    def summary(self) -> dict[str, float]:
        """Return the figures for the curve."""
        figures = self.figures()
        return {("clip_map" if name == "clip_ap" else name): value for name, value in figures.items()}


class _Windows(Dataset[torch.Tensor]):
    """The windows (n, 1024, F) of each clip."""

    def __init__(self, spectrograms: Spectrograms) -> None:
        self._spectrograms = spectrograms

    def __len__(self) -> int:
        return len(self._spectrograms)

    def __getitem__(self, index: int) -> torch.Tensor:
        log_mel = self._spectrograms[index].astype(np.float32)
        return torch.from_numpy(np.stack(list(windows_of(log_mel))))


@torch.no_grad()
def score_clips(network: nn.Module, spectrograms: Spectrograms, workers: int = 0) -> FloatArray:
    """Return the clipwise scores (M, C) of a network in evaluation mode, the highest of the windows of each clip."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    loader = DataLoader(_Windows(spectrograms), batch_size=AT_ONCE, collate_fn=list, num_workers=workers)
    scores = []
    for clips in loader:
        found = [network(windows.to(device)).clipwise for windows in torch.cat(clips).split(AT_ONCE)]
        by_clip = torch.cat(found).split([len(clip) for clip in clips])
        scores += [clip.amax(0) for clip in by_clip]
    return torch.stack(scores).float().cpu().numpy()


def apply_to_clips(
    network: nn.Module,
    spectrograms: Spectrograms,
    clips: Sequence[LabelledClip],
    labels: Sequence[str],
    workers: int = 0,
) -> ClipOutputs:
    """Run a network over held clips; outputs beyond the labels are left out."""
    scores = score_clips(network, spectrograms, workers)[:, : len(labels)]
    return ClipOutputs(scores, targets_of(clips, labels))


class ClipClass(BaseModel):
    """One class: how much of it is held, and its figures."""

    label: str
    recordings: int
    groups: int
    recall: float | None
    """Share of its clips that score highest as it; None where clips have several classes, or none is held."""
    clip_ap: Interval


class ClipResults(BaseModel):
    """Everything that is measured on held clips."""

    examples: str = "clips"
    figures: dict[str, Interval]
    recordings: int
    classes: list[ClipClass]
    confusion: list[list[int]] | None
    """Clips of the row's class that score highest as the column's; None where clips have several classes."""

    def line(self) -> str:
        """Return the figures in one line."""
        shown = [f"{name} {figure.value:.3f} ({figure.low:.3f}–{figure.high:.3f})" for name, figure in self._known()]
        unknown = [c.label for c in self.classes if not c.recordings]
        shown += [f"(nothing is held of {', '.join(unknown)})"] if unknown else []
        return "  ".join([*shown, f"{self.recordings} clips"])

    def text(self) -> str:
        """Return the figures for a person, a line each, and what is to be known of them."""
        lines = [f"{NAMES[name]}: {figure}" for name, figure in self._known()]
        notes = notes_of_held((c.recordings, c.groups) for c in self.classes)
        lines += [f"on {self.recordings} held clips, whole: no thresholds are chosen, every class has 0.5"]
        return "\n".join([*lines, *(f"note: {note}" for note in notes)])

    def _known(self) -> list[tuple[str, Interval]]:
        return [(name, figure) for name, figure in self.figures.items() if figure.value is not None]


def judge_clips(outputs: ClipOutputs, clips: Sequence[LabelledClip], labels: Sequence[str]) -> ClipResults:
    """Compute every figure, with intervals over resampled groups: the clips of one are alike."""
    drawn = [_chosen(outputs, rows) for rows in resample([clip.group for clip in clips])]
    ap, ap_drawn = outputs.clip_ap(), np.array([d.clip_ap() for d in drawn])
    figures = {"clip_ap": Interval.of(mean_known(ap), np.array([mean_known(row) for row in ap_drawn]))}
    if outputs.single:
        accuracies = np.array([d.accuracy() for d in drawn])
        figures = {"accuracy": Interval.of(outputs.accuracy(), accuracies), **figures}
    confusion = outputs.confusion() if outputs.single else None
    counts = outputs.truth.sum(axis=0)
    classes = [
        ClipClass(
            label=label,
            recordings=int(counts[k]),
            groups=len({clip.group for clip in clips if label in clip.labels}),
            recall=float(confusion[k, k] / counts[k]) if confusion is not None and counts[k] else None,
            clip_ap=Interval.of(float(ap[k]), ap_drawn[:, k]),
        )
        for k, label in enumerate(labels)
    ]
    return ClipResults(
        figures=figures,
        recordings=len(clips),
        classes=classes,
        confusion=None if confusion is None else confusion.tolist(),
    )


def _chosen(outputs: ClipOutputs, rows: npt.NDArray[np.intp]) -> ClipOutputs:
    return replace(outputs, scores=outputs.scores[rows], truth=outputs.truth[rows])


def resample(groups: Sequence[str]) -> list[npt.NDArray[np.intp]]:
    """Return the rows of each resample: groups are drawn with replacement, whole."""
    rng = np.random.default_rng(0)
    names = np.array(groups)
    members = [np.flatnonzero(names == group) for group in sorted(set(groups))]
    return [np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]) for _ in range(RESAMPLES)]


def write_clip_page(path: Path, results: ClipResults, curve: Sequence[dict[str, float]]) -> None:
    """Write an HTML page that needs no other file."""
    parts = [
        "<h1>The model on held clips</h1>",
        page.table(
            ["figure", "value (90 % of resamples of groups)"],
            [[NAMES[name], str(figure)] for name, figure in results.figures.items()],
        ),
        "<h2>Training</h2>",
        page.plot(lambda figure: draw_curve(figure, curve), (9, 3)),
        "<h2>By class</h2>",
        page.table(
            ["class", "held", "groups", "recall", "average precision"],
            [
                [c.label, c.recordings, c.groups, "–" if c.recall is None else f"{c.recall:.2f}", c.clip_ap]
                for c in results.classes
            ],
        ),
    ]
    if (confusion := results.confusion) is not None:
        labels = [c.label for c in results.classes]
        size = max(6.0, 0.25 * len(labels))
        parts += [
            "<h2>Confusion</h2>",
            "<p>The class of the row, and the class that scores highest.</p>",
            page.plot(lambda figure: draw_counts(figure, np.array(confusion), labels), (size + 1, size)),
        ]
    page.write(path, "Evaluation", parts)
