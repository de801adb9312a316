"""Measure a model on held recordings, and choose its thresholds there.

python -m htsat.evaluate --config configs/train.yaml --data FOLDER --checkpoint RUN/model.safetensors --out RUN

It writes RUN/thresholds.json for `export/to_onnx.py --thresholds`, and RUN/classes.csv with the figures by class.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from htsat.checkpoint import load_network
from htsat.corpus import BACKGROUND, read_manifest
from htsat.network import FRAMES
from htsat.scenes import Scene, SceneMaker, Sound, load_sounds
from htsat.settings import make_folder, make_parser, read_training
from runtime.clips import tile
from runtime.command import run
from runtime.features import FloatArray, FrontEnd, to_db
from runtime.smooth import MedianFilter

BoolArray = npt.NDArray[np.bool_]

TUNING_SCENES = 500
THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
MEDIANS = (1, 3, 5)
BETA = 0.5
"""Of the F-score that thresholds are chosen by: precision counts twice, since false alarms are what users mind."""
TRUST = 5
"""A class with this many held recordings has a threshold half its own and half that of all classes."""


@dataclass(frozen=True)
class Figures:
    """What a model reaches; one value a label, NaN where nothing is held of it."""

    recordings: list[int]
    recall: list[float]
    """The share of whole recordings whose own class scores highest."""
    clip_ap: list[float]
    """Average precision of clipwise over whole recordings."""
    frame_ap: list[float]
    """Average precision of framewise over the steps of scenes."""

    def summary(self) -> dict[str, float]:
        """The means over the classes."""
        return {
            "accuracy": float(np.nanmean(self.recall)),
            "clip_map": float(np.nanmean(self.clip_ap)),
            "frame_map": float(np.nanmean(self.frame_ap)),
        }


def average_precision(scores: FloatArray, truth: BoolArray) -> float:
    """The area under precision over recall, of one class; NaN where nothing is true."""
    if not truth.any():
        return float("nan")
    truth = truth[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
    return float(precision[truth].mean())


@torch.no_grad()
def score_clips(network: nn.Module, log_mels: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Framewise (N, 32, C) and clipwise (N, C) of clips (1024, F)."""
    outputs = [network(batch) for batch in torch.from_numpy(np.stack(log_mels)).split(16)]

    def joined(name: str) -> FloatArray:
        parts: list[Tensor] = [getattr(output, name) for output in outputs]
        return torch.cat(parts).numpy()

    return joined("framewise"), joined("clipwise")


def whole(sound: Sound) -> FloatArray:
    """A recording as one clip (1024, F) in dB, tiled as the runtime does with short ones."""
    return tile(to_db(sound.power[0][:FRAMES]), FRAMES)


def evaluate(
    network: nn.Module, sounds: Sequence[Sound], scenes: Sequence[Scene], labels: Sequence[str]
) -> tuple[Figures, FloatArray]:
    """Figures of a network in evaluation mode, and framewise (N, 32, C) of the scenes.

    The network's outputs beyond the labels are left out.
    """
    classes = len(labels)
    sounds = [sound for sound in sounds if sound.recording.label in labels]
    truth = np.array([labels.index(sound.recording.label) for sound in sounds])
    clipwise = score_clips(network, [whole(sound) for sound in sounds])[1][:, :classes]
    framewise = score_clips(network, [scene.log_mel for scene in scenes])[0][..., :classes]
    active = np.stack([scene.target for scene in scenes]) > 0.5
    best = clipwise.argmax(axis=1)
    own = [truth == k for k in range(classes)]
    figures = Figures(
        recordings=[int(mine.sum()) for mine in own],
        recall=[float((best[mine] == k).mean()) if mine.any() else float("nan") for k, mine in enumerate(own)],
        clip_ap=[average_precision(clipwise[:, k], mine) for k, mine in enumerate(own)],
        frame_ap=[average_precision(framewise[..., k].ravel(), active[..., k].ravel()) for k in range(classes)],
    )
    return figures, framewise


def held_scenes(sounds: Sequence[Sound], names: Sequence[str], front_end: FrontEnd, count: int) -> list[Scene]:
    """Scenes of held recordings, the same each time; the backgrounds under them may be those of the training."""
    judge, rng = SceneMaker(sounds, names, front_end), np.random.default_rng(0)
    return [judge.mixture(rng, (0, 4)) for _ in range(count)]


def tune(framewise: FloatArray, active: BoolArray, trust: Sequence[float]) -> tuple[FloatArray, list[int]]:
    """Thresholds (C,) and median lengths of each class for framewise (N, 32, C) and what is active in it.

    `trust` is how far a class may go its own way, from 0 to 1: with few recordings its best values are chance. Its
    threshold lies that far from everyone's to its own; its median is its own where the trust is above a half.
    """
    score = np.zeros((len(MEDIANS), len(THRESHOLDS), framewise.shape[2]))
    for i, length in enumerate(MEDIANS):
        smooth = np.stack([_smooth(clip, length) for clip in framewise])
        for j, threshold in enumerate(THRESHOLDS):
            score[i, j] = f_score(smooth >= threshold, active)
    common_median, common_threshold = np.unravel_index(score.mean(axis=2).argmax(), score.shape[:2])
    thresholds, medians = [], []
    for k, weight in enumerate(trust):
        median = score[:, :, k].max(axis=1).argmax() if weight > 0.5 else common_median
        own = THRESHOLDS[score[median, :, k].argmax()]
        thresholds.append(round(float(weight * own + (1 - weight) * THRESHOLDS[common_threshold]), 2))
        medians.append(MEDIANS[median])
    return np.array(thresholds, np.float32), medians


def f_score(found: BoolArray, active: BoolArray) -> npt.NDArray[np.float64]:
    """The F-score of each class over all steps, precision counting twice."""
    axes = tuple(range(found.ndim - 1))
    hits = (found & active).sum(axis=axes)
    wrong, missed = (found & ~active).sum(axis=axes), (~found & active).sum(axis=axes)
    square = BETA**2
    return (1 + square) * hits / np.maximum((1 + square) * hits + square * missed + wrong, 1e-9)


def _smooth(scores: FloatArray, length: int) -> FloatArray:
    median = MedianFilter([length] * scores.shape[1])
    rest = [median.push(scores), median.flush()]
    return np.concatenate([part for part in rest if part is not None])


def measure(args: argparse.Namespace) -> int:
    """Measure and tune what the arguments ask for."""
    config, network_config = read_training(args.config)
    make_folder(args.out)
    network = load_network(args.checkpoint, network_config)
    front_end, labels = network_config.front_end, config.labels
    recordings = [r for r in read_manifest(args.data / "manifest.csv") if r.split == "val" or r.label == BACKGROUND]
    sounds = load_sounds(recordings, front_end, "reading", speeds=(1.0,))
    scenes = held_scenes(sounds, labels, front_end, TUNING_SCENES)
    figures, framewise = evaluate(network, sounds, scenes, labels)
    trust = [count / (count + TRUST) for count in figures.recordings]
    thresholds, medians = tune(framewise, np.stack([scene.target for scene in scenes]) > 0.5, trust)
    write_thresholds(args.out / "thresholds.json", labels, thresholds, medians)
    write_classes(args.out / "classes.csv", labels, figures, thresholds, medians)
    print("  ".join(f"{name} {value:.3f}" for name, value in figures.summary().items()))
    return 0


def write_thresholds(path: Path, labels: Sequence[str], thresholds: FloatArray, medians: Sequence[int]) -> None:
    """What `export/to_onnx.py --thresholds` reads."""
    chosen: dict[str, dict[str, Any]] = {
        "thresholds": dict(zip(labels, (round(float(t), 2) for t in thresholds), strict=True)),
        "median_steps": dict(zip(labels, medians, strict=True)),
    }
    path.write_text(json.dumps(chosen, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_classes(
    path: Path, labels: Sequence[str], figures: Figures, thresholds: FloatArray, medians: Sequence[int]
) -> None:
    """The figures by class, for people."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["label", "recordings", "recall", "clip_ap", "frame_ap", "threshold", "median_steps"])
        for k, label in enumerate(labels):
            shown = [f"{column[k]:.2f}" for column in (figures.recall, figures.clip_ap, figures.frame_ap, thresholds)]
            table.writerow([label, figures.recordings[k], *shown, medians[k]])


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = make_parser("python -m htsat.evaluate", "Measure a model on held recordings, and choose its thresholds.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the trained model.safetensors")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
