"""Compute figures of a network on held recordings and scenes, fast enough for every few hundred steps of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from htsat_edge.evaluation.metrics import average_precision
from htsat_edge.htsat.network import FRAMES
from htsat_edge.htsat.scenes import Scene, SceneMaker, Sound
from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.dsp.log_mel import FrontEnd, to_db
from htsat_edge.runtime.dsp.windows import tile

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Outputs:
    """The scores of a network for held sounds, for C labels, with their truth."""

    clipwise: FloatArray
    """(M, C), of whole recordings."""
    truth: IntArray
    """(M,): the class of each recording."""
    framewise: FloatArray
    """(N, 32, C), of scenes."""
    active: BoolArray
    """(N, 32, C): which classes sound in them."""

    def accuracy(self) -> FloatArray:
        """Return (C,): the share of whole recordings whose own class scores highest."""
        confusion = self.confusion()
        with np.errstate(invalid="ignore"):
            return np.asarray(confusion.diagonal() / confusion.sum(axis=1))

    def confusion(self) -> IntArray:
        """Return (C, C): how many recordings of the row's class score highest as the column's."""
        classes = self.clipwise.shape[1]
        confusion = np.zeros((classes, classes), np.intp)
        np.add.at(confusion, (self.truth, self.clipwise.argmax(axis=1)), 1)
        return confusion

    def clip_ap(self) -> FloatArray:
        """Return (C,): average precision of clipwise over whole recordings."""
        return np.array([average_precision(scores, self.truth == k) for k, scores in enumerate(self.clipwise.T)])

    def frame_ap(self) -> FloatArray:
        """Return (C,): average precision of framewise over the steps of scenes."""
        classes = self.framewise.shape[2]
        scores, truth = self.framewise.reshape(-1, classes), self.active.reshape(-1, classes)
        return np.array([average_precision(scores[:, k], truth[:, k]) for k in range(classes)])

    def summary(self) -> dict[str, float]:
        """Return the means over the classes of which something is held."""
        return {
            "accuracy": float(np.nanmean(self.accuracy())),
            "clip_map": float(np.nanmean(self.clip_ap())),
            "frame_map": float(np.nanmean(self.frame_ap())),
        }


def apply(
    network: nn.Module,
    sounds: Sequence[Sound],
    scenes: Sequence[Scene],
    labels: Sequence[str],
    task: str | None = None,
) -> Outputs:
    """Run a network in evaluation mode; sounds of other classes, and outputs beyond the labels, are left out.

    With a task, show how far it is.
    """
    sounds = labelled(sounds, labels)
    classes = len(labels)
    return Outputs(
        clipwise=score_windows(network, [whole(sound) for sound in sounds])[1][:, :classes],
        truth=np.array([labels.index(sound.recording.label) for sound in sounds], np.intp),
        framewise=score_windows(network, [scene.log_mel for scene in scenes], task)[0][..., :classes],
        active=np.stack([scene.target for scene in scenes])[..., :classes] > 0.5,
    )


def labelled(sounds: Sequence[Sound], labels: Sequence[str]) -> list[Sound]:
    """Return the sounds of these classes."""
    return [sound for sound in sounds if sound.recording.label in labels]


@torch.no_grad()
def score_windows(
    network: nn.Module, log_mels: Sequence[FloatArray], task: str | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return framewise (N, 32, C) and clipwise (N, C) of windows (1024, F); with a task, show how far it is."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    batches = torch.from_numpy(np.stack(log_mels)).split(16)
    outputs = [network(batch.to(device)) for batch in (with_progress(batches, task) if task else batches)]

    def joined(name: str) -> FloatArray:
        parts: list[Tensor] = [getattr(output, name) for output in outputs]
        return torch.cat(parts).cpu().numpy()

    return joined("framewise"), joined("clipwise")


def whole(sound: Sound) -> FloatArray:
    """Return a recording as one window (1024, F) in dB, tiled as the runtime does with short ones."""
    return tile(to_db(sound.power[0][:FRAMES]), FRAMES)


def room_tone(front_end: FrontEnd, count: int, seed: int, backgrounds: Sequence[Sound] = ()) -> list[Scene]:
    """Return windows of stationary noise without an event; most of them with one of the `backgrounds` over it."""
    maker, rng = SceneMaker(backgrounds, [], front_end, augment=False), np.random.default_rng(seed)
    return [maker.mixture(rng, (0, 0)) for _ in range(count)]


def other_sounds(sounds: Sequence[Sound], labels: Sequence[str], front_end: FrontEnd, count: int) -> list[Scene]:
    """Return windows of sounds of other classes alone, as they are: every other one tiled, the same each time."""
    others = [sound for sound in sounds if sound.recording.label not in labels]
    maker, rng = SceneMaker(others, [], front_end, augment=False), np.random.default_rng(0)
    if not maker.has_others:
        return []
    return [
        maker.tiled(rng, labelled=False) if i % 2 else maker.mixture(rng, (1, 3), labelled=False) for i in range(count)
    ]


def held_scenes(sounds: Sequence[Sound], labels: Sequence[str], front_end: FrontEnd, count: int) -> list[Scene]:
    """Return scenes of held recordings as they are, the same each time."""
    maker, rng = SceneMaker(sounds, labels, front_end, augment=False), np.random.default_rng(0)
    return [maker.mixture(rng, (0, 4)) for _ in range(count)]
