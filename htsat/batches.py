"""Draw the batches of a training from its recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from htsat_edge.htsat.checkpoint import weight_files
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.negatives import NEGATIVES
from htsat_edge.htsat.network import STEPS
from htsat_edge.htsat.scenes import Scene, SceneMaker, Sound, load_sounds
from htsat_edge.htsat.settings import Example, TrainConfig
from htsat_edge.htsat.variations import mask_bands
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import sha256_of
from htsat_edge.runtime.dsp.log_mel import FrontEnd

Batch = tuple[Tensor, Tensor]
"""log_mel (B, T, F), and target (B, 32, classes) of scenes or (B, classes) of clips."""
UNLABELLED = (0, 4)
"""Fewest and most events of a scene without labels."""
MIRRORED = STEPS // 16
"""Steps at the end of a window that mirror what was heard last, as the runtime has it unless it is told otherwise."""


class Batches(Dataset[Batch]):
    """The batch of each step, the same for the same step and seed in any process."""

    def __init__(self, maker: SceneMaker, config: TrainConfig, part: slice = slice(None)) -> None:
        """Take a maker of scenes, and which part of each batch is wanted."""
        self._maker = maker
        self._config = config
        self._part = part

    def __getitem__(self, step: int) -> Batch:
        seed, batch = self._config.seed, self._config.batch
        if self._config.draw == "batch":  # one after the other: the whole batch has to be drawn for any part of it
            rngs = [np.random.default_rng((seed, step))] * batch
        else:
            rngs = [np.random.default_rng((seed, step, i)) for i in range(batch)[self._part]]
        scenes = [self._draw(rng, step) for rng in rngs]
        for rng, scene in zip(rngs, scenes, strict=True):
            mask_bands(rng, scene.log_mel)
            self._hear(rng, scene)
        if self._config.draw == "batch":
            scenes = scenes[self._part]
        log_mel = np.stack([scene.log_mel for scene in scenes])
        target = np.stack([scene.target for scene in scenes])
        return torch.from_numpy(log_mel), torch.from_numpy(target)

    def _draw(self, rng: np.random.Generator, step: int) -> Scene:
        config = self._config
        quiet = rng.random() < config.quiet_share
        if quiet and not self._maker.has_others:
            return self._maker.mixture(rng, (0, 0))
        if rng.random() < config.tiled_share:
            return self._maker.tiled(rng, labelled=not quiet)
        return self._maker.mixture(rng, UNLABELLED if quiet else config.events_at(step), labelled=not quiet)

    def _hear(self, rng: np.random.Generator, scene: Scene) -> None:
        """Make some scenes, in place, windows of a stream: of a source that has just started, or that goes on."""
        drawn, heard = rng.random(), STEPS - MIRRORED
        if drawn < self._config.partial_share:
            heard = int(rng.integers(1, heard))
        elif drawn >= self._config.partial_share + self._config.mirrored_share:
            return
        for rows in (scene.log_mel, scene.target):
            step = len(rows) // STEPS
            rows[:] = as_heard(rows, heard * step, MIRRORED * step)


def as_heard(rows: FloatArray, heard: int, mirrored: int) -> FloatArray:
    """Return the window of as many rows that the runtime shows the network once it has heard the first `heard` of them.

    What was heard is repeated before itself, and its end is mirrored (runtime/dsp/windows.py).
    """
    order = np.pad(np.arange(heard), (0, mirrored), mode="symmetric")
    before = np.arange(len(order) - len(rows), 0) % heard
    return rows[np.concatenate([before, order])]


def load_split(
    recordings: Sequence[Recording],
    labels: Sequence[str],
    auxiliary: Sequence[str],
    front_end: FrontEnd,
) -> tuple[list[Sound], list[Sound]]:
    """Return the sounds to learn from, at several speeds, and those to validate on, as they are.

    Raise an HtsatEdgeError where a class has no recording to learn from, or no class has one to validate on.
    """
    learned = [r for r in recordings if not r.held]
    held = [r for r in recordings if r.held]
    known = {r.label for r in learned}
    for label in (*labels, *auxiliary):
        if label not in known:
            raise HtsatEdgeError(f"--data: has no training recording of {label}; it has {', '.join(sorted(known))}")
    if not known.intersection(labels) & {r.label for r in held}:
        raise HtsatEdgeError("--data: holds back no recording of any label, so nothing can be measured")
    return (
        load_sounds(learned, front_end, "reading, train"),
        load_sounds(held, front_end, "reading, val", speeds=(1.0,)),
    )


def identity_of(config: TrainConfig, network: NetworkConfig, recordings: Sequence[Example], init: Path | None) -> str:
    """Return a hash of all that a training depends on, with recordings by name and size.

    A training with another hash must not go on from its save.
    """
    apart = {"network", "validate_clips", "negatives", "not_negative"}
    parts = [config.model_dump_json(exclude=apart), network.model_dump_json()]
    if config.mixes_negatives:
        parts.append(f"negatives {sha256_of(NEGATIVES)} without {config.not_negative}")
    for r in recordings:
        size = r.path.stat().st_size if r.path.exists() else None
        parts.append(
            f"{r.label} {r.group} {r.split} {r.onset_s} {r.offset_s} {r.path.parent.name}/{r.path.name} {size}"
        )
    digest = hashlib.sha256("\n".join(parts).encode())
    if init is not None:
        digest.update(sha256_of(*weight_files(init)).encode())
    return digest.hexdigest()
