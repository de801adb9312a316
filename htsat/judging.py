"""Choose the thresholds of a trained network by what it makes of held material, and compute every figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from htsat_edge.evaluation.event_scores import PSDS1, PSDS2, EventScores, Timed
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.htsat.clip_figures import RESAMPLES, resample
from htsat_edge.htsat.figures import Outputs, labelled
from htsat_edge.htsat.foreign import HeardSound, count_foreign, raise_over_foreign, raise_over_kinds
from htsat_edge.htsat.report import ClassFigures, Results
from htsat_edge.htsat.scenes import Scene, Sound
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.dsp.median import MedianFilter
from htsat_edge.runtime.models.bundle import ModelInfo

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


@dataclass(frozen=True)
class Streamed:
    """Recordings as the runtime would hear them."""

    held: Sequence[HeardSound]
    """Those of the model's classes that it never learned from."""
    chosen_by: Sequence[HeardSound]
    """Those of other sounds that few of may raise an event; none where thresholds are not chosen by them."""
    foreign: Sequence[HeardSound]
    """More of other sounds, also held ones of the user's, to count those that do."""


def choose(outputs: Outputs, quiet: Quiet, streamed: Streamed, model: ModelInfo) -> ModelInfo:
    """Return the model with thresholds and medians: by scenes, then raised over noise, ambience and other sounds."""
    recordings = np.bincount(outputs.truth, minlength=len(model.labels))
    heard = np.concatenate([outputs.framewise, quiet.others])
    active = np.concatenate([outputs.active, np.zeros(quiet.others.shape, bool)])
    thresholds, medians = tune(heard, active, (recordings / (recordings + TRUST)).tolist())
    thresholds = raise_over_quiet(thresholds, smoothed(quiet.tone[0], medians), allowed=0)
    if quiet.ambience is not None:
        thresholds = raise_over_quiet(thresholds, smoothed(quiet.ambience[0], medians), RISES_IN_AMBIENCE)
    chosen = {
        "thresholds": dict(zip(model.labels, thresholds, strict=True)),
        "median_steps": dict(zip(model.labels, medians, strict=True)),
    }
    model = model.model_copy(update=chosen)
    others = streamed.chosen_by
    return raise_over_kinds(raise_over_foreign(model, others), others) if others else model


def judge(
    outputs: Outputs,
    quiet: Quiet,
    streamed: Streamed,
    sounds: Sequence[Sound],
    scenes: Sequence[Scene],
    model: ModelInfo,
) -> Results:
    """Choose thresholds and compute every figure, with intervals by group for recordings and by scene for scenes."""
    labels = model.labels
    held = [sound.recording for sound in labelled(sounds, labels)]
    model = choose(outputs, quiet, streamed, model)
    thresholds = [model.threshold_of(label) for label in labels]
    medians = [model.median_steps[label] for label in labels]
    scored = _score_events(smoothed(outputs.framewise, medians), scenes, labels)
    by_group, by_scene = resample_groups(outputs, [r.group for r in held]), resample_scenes(outputs)
    figures = {
        "accuracy": intervals(outputs.accuracy(), [drawn.accuracy() for drawn in by_group]),
        "clip_ap": intervals(outputs.clip_ap(), [drawn.clip_ap() for drawn in by_group]),
        "frame_ap": intervals(outputs.frame_ap(), [drawn.frame_ap() for drawn in by_scene]),
        "segment_f1": intervals(*scored.segment_f1(thresholds, RESAMPLES)),
        "event_f1": intervals(*scored.event_f1(thresholds, RESAMPLES)),
    }
    found = Counter(one.recording.label for one in streamed.held if one.recording.label in one.reported(model))
    classes = [
        ClassFigures(
            label=label,
            recordings=sum(r.label == label for r in held),
            groups=len({r.group for r in held if r.label == label}),
            threshold=thresholds[k],
            median_steps=medians[k],
            figures={name: columns[k] for name, (_, columns) in figures.items()},
            found=found[label],
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
        foreign=count_foreign(streamed.foreign, model) if streamed.foreign else None,
    )


def _score_events(smooth: FloatArray, scenes: Sequence[Scene], labels: Sequence[str]) -> EventScores:
    timed = [
        Timed.of_steps(scores, scene.duration_s / len(scores), scene.duration_s)
        for scores, scene in zip(smooth, scenes, strict=True)
    ]
    return EventScores(timed, [scene.events for scene in scenes], labels)


def _by_label(
    framewise: FloatArray, medians: Sequence[int], thresholds: Sequence[float], labels: Sequence[str]
) -> dict[str, int]:
    return dict(zip(labels, count_rises(smoothed(framewise, medians), thresholds), strict=True))
