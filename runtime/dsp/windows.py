"""Cut a stream of frames into the windows that the model sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.dsp.stretch import stretch_matrix

NETWORK_FRAMES = 1024
"""What HTS-AT sees once a window is stretched; short recordings are repeated as often as they fit into this."""


@dataclass(frozen=True)
class Window:
    """The fixed span that the model sees at once."""

    step: int
    """At which it begins, counted since the recording began."""
    log_mel: FloatArray
    """(frames, F) in dB."""
    tiled_frames: int | None = None
    """Frames of a recording that is shorter than a window and was repeated to fill it."""
    heard_s: float = math.inf
    """Seconds of audio by then: no event of the recording ends later."""


@dataclass(frozen=True)
class WindowGrid:
    """How a model's windows and steps lie on the frames of a recording."""

    frames: int
    """Frames of a window."""
    steps: int
    """Steps of a window."""
    step_frames: Fraction
    """Frames of a step: 32 for a window of 1024 frames, 31.25 for the reference's 10 s of 1001."""
    hop_steps: int
    """Steps from one window to the next."""

    def frame_of(self, step: int) -> int:
        """Return the frame at which a step begins, to the nearest."""
        return round(step * self.step_frames)

    def steps_of(self, frames: int) -> int:
        """Return how many steps cover a recording of so many frames, at least one."""
        # The last frame is centred on the end of the recording: it begins no new step.
        return max(1, -(-(frames - 1) // self.step_frames))


class WindowCutter:
    """Frames in, overlapping windows out."""

    def __init__(self, grid: WindowGrid) -> None:
        self._grid = grid
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._frames: FloatArray | None = None
        self._dropped = 0
        self._next_step = 0

    def push(self, log_mel: FloatArray) -> Iterator[Window]:
        """Take frames (T, F); yield the windows that they complete."""
        self._frames = log_mel if self._frames is None else np.concatenate([self._frames, log_mel])
        while (log_mel_cut := self._cut(self._next_step)) is not None:
            yield Window(self._next_step, log_mel_cut)
            self._next_step += self._grid.hop_steps
        # If the recording ends here, its last window begins a frame before this, since the last frame begins no step.
        keep = min(self._grid.frame_of(self._next_step), self.total - self._grid.frames - 1)
        if keep > self._dropped:
            self._frames = self._frames[keep - self._dropped :]
            self._dropped = keep

    def flush(self) -> Window | None:
        """End the recording; return the window that ends with it, unless the last one did.

        Its end is mirrored up to the next whole step. A recording shorter than a window is tiled instead.
        """
        grid, frames = self._grid, self._frames
        if frames is None or self.total == 0:
            return None
        if self.total < grid.frames:
            return Window(0, tile(frames, grid.frames), self.total)
        step = grid.steps_of(self.total) - grid.steps
        if step <= self._next_step - grid.hop_steps:
            return None
        missing = grid.frame_of(step) + grid.frames - self.total
        frames = np.pad(frames, ((0, max(missing, 0)), (0, 0)), mode="symmetric")
        begin = grid.frame_of(step) - self._dropped
        return Window(step, frames[begin : begin + grid.frames])

    @property
    def total(self) -> int:
        """Frames so far."""
        return self._dropped + (0 if self._frames is None else len(self._frames))

    def _cut(self, step: int) -> FloatArray | None:
        assert self._frames is not None
        begin = self._grid.frame_of(step) - self._dropped
        window = self._frames[begin : begin + self._grid.frames]
        return window if len(window) == self._grid.frames else None


def tiles(frames: int, window: int) -> int:
    """Return how often a recording of so many frames is repeated in a window.

    It is as often as it fits into what the network sees, which for the reference's 1001 frames is at times once more
    than fits the window; a window that the graph itself stretches far holds what fits the window.
    """
    return max(1, (NETWORK_FRAMES if 2 * window > NETWORK_FRAMES else window) // frames)


def tile(log_mel: FloatArray, frames: int) -> FloatArray:
    """Return a short log-mel (T, F) as a window (frames, F): repeated, then stretched, as the reference does."""
    tiled = np.tile(log_mel, (tiles(len(log_mel), frames), 1))
    if len(tiled) == frames:
        return tiled
    return stretch_matrix(len(tiled), frames) @ tiled


def untile(framewise: FloatArray, grid: WindowGrid, frames: int) -> FloatArray:
    """Return the scores (n, C) of a recording of so many frames from those (steps, C) of its tiled window."""
    count = tiles(frames, grid.frames)
    centre = (np.arange(grid.steps_of(frames)) + 0.5) * float(grid.step_frames)
    at = np.minimum(centre, frames - 0.5) + frames * np.arange(count)[:, None]
    step = (at * (grid.steps / (frames * count))).astype(int)
    scores: FloatArray = framewise[step].mean(axis=0)
    return scores
