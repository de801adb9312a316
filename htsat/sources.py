"""What a training learns from and is validated on: scenes, which are mixed of parts of recordings, or whole clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from htsat_edge.evaluation.datasets.checking import read_checked
from htsat_edge.evaluation.datasets.splits import to_learn_from
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.htsat.batches import Batch, Batches, load_split
from htsat_edge.htsat.clip_figures import apply_to_clips
from htsat_edge.htsat.clips import ClipBatches, LabelledClip, Spectrograms, clips_of, targets_of, usable
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording, apart
from htsat_edge.htsat.doubts import named
from htsat_edge.htsat.figures import apply, held_scenes
from htsat_edge.htsat.negatives import load_negatives, refuse_unknown, without_namesake
from htsat_edge.htsat.processes import Processes
from htsat_edge.htsat.scenes import SceneMaker, Sound
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd

SCENES = 128
"""Held scenes to validate on."""


@dataclass(frozen=True)
class TrainingData:
    """The batches of a training, and the figures that it is validated by."""

    batches: Dataset[Batch]
    validate: Callable[[nn.Module], dict[str, float]]
    learned: int
    held: int


def read_clips(data: Sequence[Path], layout: str | None = None, fold: int | None = None) -> list[LabelledClip]:
    """Read data sets for a training on clips, and print what is in them; parameters are those of `read_corpora`.

    Raise an HtsatEdgeError where the paths hold no data set, or one without classes.
    """
    recordings = [r for own in apart(data) for r in to_learn_from(read_checked(own, layout, fold).recordings)]
    if all(recording.labels is None for recording in recordings):
        raise HtsatEdgeError(f"{', '.join(map(str, data))}: has no recording with classes")
    return clips_of(recordings)


def open_scenes(
    recordings: Sequence[Recording], labels: Sequence[str], config: TrainConfig, front_end: FrontEnd, part: slice
) -> TrainingData:
    """Load recordings of single events, to mix scenes of them and of the negatives."""
    sounds, held = load_split(recordings, labels, config.auxiliary, front_end)
    backgrounds = [sound for sound in sounds if sound.recording.label == BACKGROUND]
    scenes = held_scenes(held + backgrounds, labels, front_end, SCENES)
    others = foreign_sounds([*labels, *config.auxiliary], config, front_end)
    maker = SceneMaker(sounds + others, [*labels, *config.auxiliary], front_end, mix=config.mix)

    def validate(network: nn.Module) -> dict[str, float]:
        return apply(network, held, scenes, labels).summary()

    return TrainingData(Batches(maker, config, part), validate, len(sounds), len(held))


def foreign_sounds(names: Sequence[str], config: TrainConfig, front_end: FrontEnd) -> list[Sound]:
    """Return the negatives to learn from; print how many they are, which are left out, and which may have to be."""
    if not config.mixes_negatives:
        return []
    refuse_unknown(config.not_negative)
    negatives = load_negatives(front_end, [*names, *config.not_negative])
    if negatives is None:
        return []
    sounds = negatives.sounds("train")
    classes = len({sound.recording.label for sound in sounds})
    left_out = f"; left out, as yours or related: {'; '.join(negatives.left_out)}" if negatives.left_out else ""
    print(f"negatives: {len(sounds)} recordings of {classes} other classes are mixed in{left_out}")
    if (own := without_namesake(names)) and not config.not_negative:
        print(
            f"negatives: no namesake of {named(own)} among AudioSet's classes: if one of these is the same sound, "
            "say so in the training file, such as `not_negative: [Chop]`"
        )
    return sounds


def open_clips(
    clips: Sequence[LabelledClip],
    labels: Sequence[str],
    config: TrainConfig,
    network: NetworkConfig,
    processes: Processes,
    workers: int,
) -> TrainingData:
    """Load clips; where they do not fit into the memory, `workers` read those that are validated on."""
    names = [*labels, *config.auxiliary]
    clips = usable(clips, names, network.loss)
    learned, held = [clip for clip in clips if not clip.held], [clip for clip in clips if clip.held]
    measured_on = choose(held, config.validate_clips)
    local = processes.local_count
    spectrograms = Spectrograms(learned, network.front_end, "reading, train", local)
    part = processes.part(config.batch)
    batches = ClipBatches(spectrograms, targets_of(learned, names), config, part)
    # Only the first process measures.
    measured = Spectrograms(measured_on if processes.first else [], network.front_end, "reading, val", local)

    def validate(network: nn.Module) -> dict[str, float]:
        own_workers = 0 if measured.in_memory else workers
        return apply_to_clips(network, measured, measured_on, labels, own_workers).summary()

    return TrainingData(batches, validate, len(learned), len(held))


def choose(held: Sequence[LabelledClip], most: int | None) -> list[LabelledClip]:
    """Return at most so many clips, always the same ones, from the whole of the list; all for None."""
    if most is None or len(held) <= most:
        return list(held)
    return [held[i] for i in sorted(np.random.default_rng(0).choice(len(held), most, replace=False))]
