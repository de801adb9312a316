"""Play sounds to a trained network as the runtime does: what fires falsely, what is found, and from which thresholds.

Single windows mislead: at run time the scores of overlapping windows are averaged, and an event starts as soon as the
newest of them are sure. Here the log-mels of recordings pass the runtime's own parts, from the cutter of windows to
the tracker of events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import expit, logit
from torch import nn

from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.htsat.clip_figures import resample
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.figures import score_windows
from htsat_edge.htsat.network import FRAMES, STEPS
from htsat_edge.htsat.report import ForeignFigures
from htsat_edge.htsat.scenes import Sound
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.events import EventStart
from htsat_edge.runtime.dsp.log_mel import FrontEnd, to_db
from htsat_edge.runtime.dsp.windows import Window, WindowCutter
from htsat_edge.runtime.event_stream import EventStream
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

CHOSEN_FOREIGN = 0.03
"""The share that thresholds are chosen for: of other recordings than those chosen by it is somewhat more."""
MANY, MOST_OF_KIND = 20, 0.05
"""Of a kind with so many recordings at most this share may be taken for one class: speech is everywhere."""
SHIFTS = np.round(np.arange(0, 5, 0.1), 1)
"""Of all thresholds at once, in logits."""
HIGHEST = 0.98
"""No threshold is raised above this: the class would hardly ever be detected."""


@dataclass(frozen=True)
class OtherSounds:
    """Shipped sounds of no class of the model, and backgrounds; none where its front end is another."""

    chosen_by: Sequence[Sound] = ()
    """Thresholds are raised until few of these raise an event."""
    counted: Sequence[Sound] = ()
    """Others, to count those that do."""


def background(sounds: Iterable[Sound], wanted: bool) -> list[Sound]:
    """Return the sounds of no class at all, or all but them."""
    return [sound for sound in sounds if (sound.recording.label == BACKGROUND) == wanted]


@dataclass(frozen=True)
class HeardSound:
    """The scores that a network gives for the windows of a recording, as a stream shows them."""

    recording: Recording
    scores: tuple[tuple[Window, FloatArray], ...]
    """Windows, without what was in them, and their scores (32, C)."""

    def reported(self, info: ModelInfo) -> frozenset[str]:
        """Return the classes of which an event starts, with the thresholds and medians of `info`."""
        stream = EventStream(info)
        events = [event for window, framewise in self.scores for event in stream.push(window, framewise)]
        return frozenset(event.label for event in [*events, *stream.flush()] if isinstance(event, EventStart))


def model_of(front_end: FrontEnd, labels: Sequence[str]) -> ModelInfo:
    """Return what the runtime would know of a network, but for thresholds."""
    step_s = FRAMES * front_end.frame_s / STEPS
    return ModelInfo(
        name="trained", front_end=front_end, frames=FRAMES, steps=STEPS, step_s=step_s, labels=list(labels)
    )


def hear(network: nn.Module, sounds: Sequence[Sound], info: ModelInfo, task: str) -> list[HeardSound]:
    """Score every window that the runtime would cut from each sound, at its default hop."""
    grid, heard = Settings().grid(info), []
    for sound in with_progress(sounds, task):
        cutter = WindowCutter(grid)
        windows = [*cutter.push(to_db(sound.power[0]))]
        if (last := cutter.flush()) is not None:
            windows.append(last)
        framewise, _ = score_windows(network, [window.log_mel for window in windows])
        without = [replace(window, log_mel=window.log_mel[:0]) for window in windows]
        scores = zip(without, framewise[..., : len(info.labels)], strict=True)
        heard.append(HeardSound(sound.recording, tuple(scores)))
    return heard


def raise_over_foreign(info: ModelInfo, foreign: Sequence[HeardSound], most: float = CHOSEN_FOREIGN) -> ModelInfo:
    """Raise all thresholds alike, in logits, until at most a share of the recordings of other sounds raise an event."""
    fired = list(foreign)
    for shift in SHIFTS:
        raised = {label: _shifted(info.threshold_of(label), shift) for label in info.labels}
        moved = info.model_copy(update={"thresholds": raised})
        fired = [heard for heard in fired if heard.reported(moved)]  # what is silent now stays so
        if len(fired) <= most * len(foreign):
            break
    return moved


def raise_over_kinds(info: ModelInfo, foreign: Sequence[HeardSound]) -> ModelInfo:
    """Raise the threshold of each class by itself until it stands for next to none of each common kind of sound."""
    by_kind = Counter(heard.recording.label for heard in foreign)
    common = [[h for h in foreign if h.recording.label == kind] for kind, count in by_kind.items() if count >= MANY]
    for label, kind in product(info.labels, common):
        begun = info.threshold_of(label)
        for shift in SHIFTS:
            info = info.model_copy(update={"thresholds": {**info.thresholds, label: _shifted(begun, shift)}})
            if sum(label in heard.reported(info) for heard in kind) <= MOST_OF_KIND * len(kind):
                break
    return info


def count_foreign(heard: Sequence[HeardSound], info: ModelInfo) -> ForeignFigures:
    """Count the events that recordings of other sounds raise, with an interval by group."""
    reported = [one.reported(info) for one in heard]
    fired = np.array([bool(labels) for labels in reported])
    groups = [one.recording.group for one in heard]
    share = Interval.of(float(fired.mean()), np.array([fired[rows].mean() for rows in resample(groups)]))
    kinds = Counter(one.recording.label for one in heard)
    of_kind = Counter(one.recording.label for one, labels in zip(heard, reported, strict=True) if labels)
    return ForeignFigures(
        recordings=len(heard),
        groups=len(set(groups)),
        fired=int(fired.sum()),
        share=share,
        reported={label: sum(label in labels for labels in reported) for label in info.labels},
        kinds={kind: (of_kind[kind], count) for kind, count in sorted(kinds.items())},
    )


def _shifted(threshold: float, shift: float) -> float:
    return max(threshold, min(round(float(expit(logit(threshold) + shift)), 2), HIGHEST))
