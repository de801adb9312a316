"""Cutting a stream of frames into the clips that the model sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.stretch import stretch_matrix

NETWORK_FRAMES = 1024
"""What HTS-AT sees once a clip is stretched; short recordings are repeated as often as they fit into this."""


@dataclass(frozen=True)
class Clip:
    """What the model sees at once."""

    step: int
    """Where it begins, in steps since the recording began."""
    log_mel: FloatArray
    """(frames, F) in dB."""


@dataclass(frozen=True)
class Grid:
    """How a model's clips and steps lie on the frames of a recording."""

    frames: int
    """Frames of a clip."""
    steps: int
    """Steps of a clip."""
    step_frames: Fraction
    """Frames of a step: 32 for a clip of 1024 frames, 31.25 for the reference's 10 s of 1001."""
    hop_steps: int
    """Steps from one clip to the next."""

    def frame_of(self, step: int) -> int:
        """The frame at which a step begins, to the nearest."""
        return round(step * self.step_frames)

    def steps_of(self, frames: int) -> int:
        """How many steps it takes to cover a recording of so many frames, at least one."""
        # The last frame is centred on the end of the recording: it begins no new step.
        return max(1, -(-(frames - 1) // self.step_frames))


class ClipStream:
    """Frames in, overlapping clips out."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._frames: FloatArray | None = None
        self._dropped = 0
        self._next_step = 0

    def push(self, log_mel: FloatArray) -> Iterator[Clip]:
        """Take frames (T, F); yield the clips that they complete."""
        self._frames = log_mel if self._frames is None else np.concatenate([self._frames, log_mel])
        while (clip := self._cut(self._next_step)) is not None:
            yield Clip(self._next_step, clip)
            self._next_step += self._grid.hop_steps
        # If the recording ends here, its last clip begins a frame before this, since the last frame begins no step.
        keep = min(self._grid.frame_of(self._next_step), self.total - self._grid.frames - 1)
        if keep > self._dropped:
            self._frames = self._frames[keep - self._dropped :]
            self._dropped = keep

    def flush(self) -> Clip | None:
        """End the recording: the clip that ends with it, if the last one did not.

        Its end is mirrored up to the next whole step. A recording shorter than a clip is tiled instead.
        """
        grid, frames = self._grid, self._frames
        if frames is None or self.total == 0:
            return None
        if self.total < grid.frames:
            return Clip(0, tile(frames, grid.frames))
        step = grid.steps_of(self.total) - grid.steps
        if step <= self._next_step - grid.hop_steps:
            return None
        missing = grid.frame_of(step) + grid.frames - self.total
        frames = np.pad(frames, ((0, max(missing, 0)), (0, 0)), mode="symmetric")
        begin = grid.frame_of(step) - self._dropped
        return Clip(step, frames[begin : begin + grid.frames])

    @property
    def total(self) -> int:
        """Frames so far."""
        return self._dropped + (0 if self._frames is None else len(self._frames))

    def _cut(self, step: int) -> FloatArray | None:
        assert self._frames is not None
        begin = self._grid.frame_of(step) - self._dropped
        clip = self._frames[begin : begin + self._grid.frames]
        return clip if len(clip) == self._grid.frames else None


def tiles(frames: int, clip: int) -> int:
    """How often a recording of so many frames is repeated in a clip.

    As often as it fits into what the network sees, which for the reference's clip of 1001 frames is once more than
    fits the clip at times; a clip that the graph itself stretches far holds what fits the clip.
    """
    return max(1, (NETWORK_FRAMES if 2 * clip > NETWORK_FRAMES else clip) // frames)


def tile(log_mel: FloatArray, frames: int) -> FloatArray:
    """A short log-mel (T, F) as a full clip (frames, F): repeated whole times, then stretched (the reference's way)."""
    tiled = np.tile(log_mel, (tiles(len(log_mel), frames), 1))
    if len(tiled) == frames:
        return tiled
    return stretch_matrix(len(tiled), frames) @ tiled


def untile(framewise: FloatArray, grid: Grid, frames: int) -> FloatArray:
    """The scores (steps, C) of a tiled clip as those of its recording of so many frames: the mean over the tiles."""
    count = tiles(frames, grid.frames)
    centre = (np.arange(grid.steps_of(frames)) + 0.5) * float(grid.step_frames)
    at = np.minimum(centre, frames - 0.5) + frames * np.arange(count)[:, None]
    step = (at * (grid.steps / (frames * count))).astype(int)
    scores: FloatArray = framewise[step].mean(axis=0)
    return scores
