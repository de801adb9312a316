"""Measure a trained model on held recordings, and choose its thresholds.

python -m htsat_edge.htsat.evaluate RUN --data FOLDER

It writes into RUN: figures.json with every figure; report.html, a page to look at before a model is shipped; and for a
training on scenes, thresholds.json for `export/to_onnx.py --thresholds`. One on clips is measured on whole clips.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run

try:
    import numpy as np
    import numpy.typing as npt
    import torch

    from htsat_edge.evaluation.event_scores import PSDS1, PSDS2, EventScores, Timed
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.evaluate", "train", missing)

from htsat_edge.evaluation.datasets.options import add_options
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.evaluation.tuning import Tuning
from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.htsat.clip_figures import RESAMPLES, ClipResults, apply_to_clips, judge_clips, resample, write_clip_page
from htsat_edge.htsat.clips import LabelledClip, Spectrograms
from htsat_edge.htsat.config import read_network
from htsat_edge.htsat.corpus import Recording, read_corpora
from htsat_edge.htsat.figures import Outputs, apply, held_scenes, labelled, other_sounds, room_tone, score_windows
from htsat_edge.htsat.network import STEPS
from htsat_edge.htsat.report import ClassFigures, Results, write_page
from htsat_edge.htsat.scenes import Scene, Sound, load_sounds
from htsat_edge.htsat.settings import RunFolder
from htsat_edge.htsat.sources import read_clips
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.dsp.median import MedianFilter

SCENES = 500
HOUR = 352
"""Windows in an hour."""
HIGHEST = 0.9
"""No threshold is raised above this: the class would never be detected."""
RISES_IN_AMBIENCE = 1
"""How often a class may rise to its threshold in an hour of recorded backgrounds, some of which hold it."""
THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
MEDIANS = (1, 3, 5)
BETA = 0.5**0.5
"""Of the F-score that thresholds are chosen by: precision weighs twice as much as recall, as for users."""
TRUST = 5
"""A class with so many held recordings has a threshold half-way between its own and that of all classes."""


def tune(framewise: FloatArray, active: BoolArray, trust: Sequence[float]) -> tuple[list[float], list[int]]:
    """Choose the threshold and the median length of each class.

    Parameters
    ----------
    framewise, active
        Scores (N, 32, C) of scenes, and which classes sound in each step.
    trust
        How far each class may go its own way, 0 to 1: with few recordings its best values are chance. Its threshold
        lies that far from the common one to its own; it has its own median where the trust is above a half.
    """
    score = np.zeros((len(MEDIANS), len(THRESHOLDS), framewise.shape[2]))
    for i, length in enumerate(MEDIANS):
        smooth = smoothed(framewise, [length] * framewise.shape[2])
        for j, threshold in enumerate(THRESHOLDS):
            score[i, j] = f_score(smooth >= threshold, active)
    common_median, common_threshold = np.unravel_index(score.mean(axis=2).argmax(), score.shape[:2])
    thresholds, medians = [], []
    for k, weight in enumerate(trust):
        median = score[:, :, k].max(axis=1).argmax() if weight > 0.5 else common_median
        own = THRESHOLDS[score[median, :, k].argmax()]
        thresholds.append(round(float(weight * own + (1 - weight) * THRESHOLDS[common_threshold]), 2))
        medians.append(MEDIANS[median])
    return thresholds, medians


def raise_over_quiet(thresholds: Sequence[float], quiet: FloatArray, allowed: int) -> list[float]:
    """Raise thresholds until each class rises to its own at most `allowed` times in smoothed scores (N, 32, C).

    None is raised above HIGHEST.
    """
    raised = []
    for threshold, own in zip(thresholds, np.split(quiet, quiet.shape[2], axis=2), strict=True):
        while threshold < HIGHEST and count_rises(own, [threshold])[0] > allowed:
            threshold = round(threshold + 0.01, 2)
        raised.append(threshold)
    return raised


def count_rises(framewise: FloatArray, thresholds: Sequence[float]) -> list[int]:
    """Count how often each class rises to its threshold in smoothed scores (N, 32, C) of separate windows."""
    found = framewise >= np.array(thresholds)
    rises: list[int] = (np.diff(found.astype(np.int8), axis=1, prepend=0) == 1).sum(axis=(0, 1)).tolist()
    return rises


@dataclass(frozen=True)
class Quiet:
    """Scores framewise (N, 32, C) of windows without a sound of any class, an hour each."""

    tone: tuple[FloatArray, FloatArray]
    """Room tone: an hour to choose thresholds by, and another to count false events in."""
    ambience: tuple[FloatArray, FloatArray] | None
    """The same with the corpus's backgrounds over four of five windows, where it has any: those that were learned from
    to choose by, and those that are held back to count in. If there are none of one kind, the others stand for them."""
    others: FloatArray
    """Held recordings of other classes: thresholds are chosen by them as by scenes in which nothing is to be found."""


def f_score(found: BoolArray, active: BoolArray) -> npt.NDArray[np.float64]:
    """Return the F-score of each class over all steps, with precision weighing twice as much as recall."""
    axes = tuple(range(found.ndim - 1))
    hits = (found & active).sum(axis=axes)
    wrong, missed = (found & ~active).sum(axis=axes), (~found & active).sum(axis=axes)
    square = BETA**2
    return (1 + square) * hits / np.maximum((1 + square) * hits + square * missed + wrong, 1e-9)


def smoothed(framewise: FloatArray, medians: Sequence[int]) -> FloatArray:
    """Return scores (N, 32, C) of scenes after the runtime's median filter."""
    return np.stack([_smooth(scene, medians) for scene in framewise])


def _smooth(scores: FloatArray, medians: Sequence[int]) -> FloatArray:
    median = MedianFilter(medians)
    rest = [median.push(scores), median.flush()]
    return np.concatenate([part for part in rest if part is not None])


def resample_groups(outputs: Outputs, groups: Sequence[str]) -> list[Outputs]:
    """Return the recordings with their groups drawn with replacement: those of one pack are alike."""
    return [replace(outputs, clipwise=outputs.clipwise[rows], truth=outputs.truth[rows]) for rows in resample(groups)]


def resample_scenes(outputs: Outputs) -> list[Outputs]:
    """Return the scenes, drawn with replacement."""
    rng, count = np.random.default_rng(0), len(outputs.framewise)
    drawn = [rng.integers(0, count, count) for _ in range(RESAMPLES)]
    return [replace(outputs, framewise=outputs.framewise[i], active=outputs.active[i]) for i in drawn]


def intervals(values: npt.NDArray[np.floating], drawn: npt.ArrayLike) -> tuple[Interval, list[Interval]]:
    """Return the mean over classes, and each class, of a figure (C,), with intervals from its resamples (R, C)."""
    drawn = np.asarray(drawn)
    columns = [Interval.of(float(value), drawn[:, k]) for k, value in enumerate(values)]
    return Interval.of(float(np.nanmean(values)), np.nanmean(drawn, axis=1)), columns


def judge(
    outputs: Outputs,
    quiet: Quiet,
    sounds: Sequence[Sound],
    scenes: Sequence[Scene],
    labels: Sequence[str],
) -> Results:
    """Choose thresholds and compute every figure, with intervals by group for recordings and by scene for scenes."""
    held = [sound.recording for sound in labelled(sounds, labels)]
    recordings = np.bincount(outputs.truth, minlength=len(labels))
    heard = np.concatenate([outputs.framewise, quiet.others])
    active = np.concatenate([outputs.active, np.zeros(quiet.others.shape, bool)])
    thresholds, medians = tune(heard, active, (recordings / (recordings + TRUST)).tolist())
    thresholds = raise_over_quiet(thresholds, smoothed(quiet.tone[0], medians), allowed=0)
    if quiet.ambience is not None:
        thresholds = raise_over_quiet(thresholds, smoothed(quiet.ambience[0], medians), RISES_IN_AMBIENCE)
    smooth = smoothed(outputs.framewise, medians)
    timed = [
        Timed.of_steps(scores, scene.duration_s / len(scores), scene.duration_s)
        for scores, scene in zip(smooth, scenes, strict=True)
    ]
    scored = EventScores(timed, [scene.events for scene in scenes], labels)
    by_group, by_scene = resample_groups(outputs, [r.group for r in held]), resample_scenes(outputs)
    figures = {
        "accuracy": intervals(outputs.accuracy(), [drawn.accuracy() for drawn in by_group]),
        "clip_ap": intervals(outputs.clip_ap(), [drawn.clip_ap() for drawn in by_group]),
        "frame_ap": intervals(outputs.frame_ap(), [drawn.frame_ap() for drawn in by_scene]),
        "segment_f1": intervals(*scored.segment_f1(thresholds, RESAMPLES)),
        "event_f1": intervals(*scored.event_f1(thresholds, RESAMPLES)),
    }
    classes = [
        ClassFigures(
            label=label,
            recordings=int(recordings[k]),
            groups=len({r.group for r in held if r.label == label}),
            threshold=thresholds[k],
            median_steps=medians[k],
            figures={name: columns[k] for name, (_, columns) in figures.items()},
        )
        for k, label in enumerate(labels)
    ]
    return Results(
        figures={name: mean for name, (mean, _) in figures.items()},
        psds1=scored.psds(PSDS1),
        psds2=scored.psds(PSDS2),
        rises_in_noise=_by_label(quiet.tone[1], medians, thresholds, labels),
        rises_in_ambience=quiet.ambience and _by_label(quiet.ambience[1], medians, thresholds, labels),
        classes=classes,
        confusion=outputs.confusion().tolist(),
    )


def _by_label(
    framewise: FloatArray, medians: Sequence[int], thresholds: Sequence[float], labels: Sequence[str]
) -> dict[str, int]:
    return dict(zip(labels, count_rises(smoothed(framewise, medians), thresholds), strict=True))


def measure(args: argparse.Namespace) -> int:
    """Run the command: measure a training."""
    folder = RunFolder(args.run)
    if (args.examples or folder.read_examples()) == "clips":
        print(measure_clips(folder, read_clips(args.data, args.dataset, args.fold)).line())
    else:
        print(measure_scenes(folder, read_corpora(args.data, args.dataset, args.fold)).line())
    return 0


def measure_scenes(folder: RunFolder, corpus: Sequence[Recording]) -> Results:
    """Measure a training on its held parts of recordings and on scenes of them; write what the command writes."""
    config, labels = read_network(folder.network), folder.read_labels()
    network = load_network(folder.model, config)
    held = folder.still_held(corpus)
    if not {r.label for r in held}.intersection(labels):
        raise HtsatEdgeError(f"{folder.path}: none of its labels has a held recording in --data")
    backgrounds = [r for r in corpus if r.label == BACKGROUND and r not in held]
    sounds = load_sounds([*held, *backgrounds], config.front_end, "reading", speeds=(1.0,))
    scenes = held_scenes(sounds, labels, config.front_end, SCENES)

    def hour(seed: int, backgrounds: Sequence[Sound] = ()) -> FloatArray:
        windows = room_tone(config.front_end, HOUR, seed, backgrounds)
        return score_windows(network, [window.log_mel for window in windows])[0]

    recorded = [sound for sound in sounds if sound.recording.label == BACKGROUND]
    learned = [sound for sound in recorded if not sound.recording.held] or recorded
    unheard = [sound for sound in recorded if sound.recording.held] or recorded
    others = [scene.log_mel for scene in other_sounds(sounds, labels, config.front_end, HOUR)]
    quiet = Quiet(
        tone=(hour(1), hour(2)),
        ambience=(hour(4, learned), hour(3, unheard)) if recorded else None,
        others=score_windows(network, others)[0] if others else np.zeros((0, STEPS, len(labels)), np.float32),
    )
    results = judge(apply(network, sounds, scenes, labels), quiet, sounds, scenes, labels)
    tuning = Tuning(
        thresholds={c.label: c.threshold for c in results.classes},
        median_steps={c.label: c.median_steps for c in results.classes},
    )
    tuning.write(folder.thresholds)
    write_results(folder, results)
    with replacing(folder.page) as part:
        write_page(part, results, folder.read_curve())
    return results


def measure_clips(folder: RunFolder, clips: Sequence[LabelledClip]) -> ClipResults:
    """Measure a training on its held clips, whole; write figures and page."""
    config, labels = read_network(folder.network), folder.read_labels()
    network = load_network(folder.model, config)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    held = folder.still_held([clip for clip in clips if clip.held], whole=True)
    if not any(clip.labels.intersection(labels) for clip in held):
        raise HtsatEdgeError(f"{folder.path}: none of its labels has a held recording in --data")
    spectrograms = Spectrograms(held, config.front_end, "reading")
    workers = 0 if spectrograms.in_memory else os.cpu_count() or 0
    results = judge_clips(apply_to_clips(network, spectrograms, held, labels, workers), held, labels)
    write_results(folder, results)
    with replacing(folder.page) as part:
        write_clip_page(part, results, folder.read_curve())
    return results


def write_results(folder: RunFolder, results: Results | ClipResults) -> None:
    """Write the figures."""
    with replacing(folder.figures) as part:
        part.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="python -m htsat_edge.htsat.evaluate", description="Measure a model, and choose its thresholds."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder that htsat_edge.htsat.train wrote")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="the folders of recordings that it was trained on",
    )
    add_options(parser)
    parser.add_argument(
        "--examples",
        choices=["scenes", "clips"],
        help="what to measure on (default: what it was trained on): scenes and parts of recordings, or whole clips",
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
