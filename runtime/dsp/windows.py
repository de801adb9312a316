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

    step: float
    """At which it begins, in whole quarters, counted since the recording began; below 0 while too little was heard to
    fill it: what lies before 0 repeats what was."""
    log_mel: FloatArray
    """(frames, F) in dB."""
    whole_frames: int | None = None
    """Frames of a recording that fits into a window and is given whole, repeated where it is shorter."""
    heard_s: float = math.inf
    """Seconds of audio by then: no event of the recording ends later."""

    @property
    def is_filled(self) -> bool:
        """Whether it holds what was heard since the recording began, and that is too little: more is to come."""
        return self.step < 0


@dataclass(frozen=True)
class WindowGrid:
    """How a model's windows and steps lie on the frames of a recording."""

    frames: int
    """Frames of a window."""
    steps: int
    """Steps of a window."""
    step_frames: Fraction
    """Frames of a step: 32 for a window of 1024 frames, 31.25 for the reference's 10 s of 1001."""
    hop_steps: float
    """Steps from one window to the next, in whole quarters: binary fractions, which are added up without error."""
    shift_steps: float = 0
    """Steps by which every second window is early, in whole quarters: a sound then lies differently on the steps of
    neighbouring windows, and is found wherever it begins between two of them."""
    mirrored_steps: int = 0
    """Steps at the end of a window that mirror what was heard last."""

    def frame_of(self, step: float) -> int:
        """Return the frame at which a step, or a quarter of one, begins, to the nearest."""
        return round(Fraction(step) * self.step_frames)

    def end_of(self, number: int) -> float:
        """Return up to which step a window hears, by its number from 1 on."""
        return number * self.hop_steps - (self.shift_steps if number % 2 else 0)

    def number_beyond(self, step: int) -> int:
        """Return the number of the first window that hears beyond a step."""
        number = max(1, math.floor(step / self.hop_steps))
        while self.end_of(number) <= step:
            number += 1
        return number

    def first_frame(self, step: int) -> int:
        """Return from which frame on the windows need a recording that hear beyond a step."""
        if step <= self.steps:  # the recording may fit into a window, and is then given whole
            return 0
        return max(self.frame_of(step + self.mirrored_steps - self.steps) - 1, 0)

    def steps_of(self, frames: int) -> int:
        """Return how many steps cover a recording of so many frames, at least one."""
        # The last frame is centred on the end of the recording: it begins no new step.
        return max(1, -(-(frames - 1) // self.step_frames))


class WindowCutter:
    """Frames in, overlapping windows out: one whenever another hop was heard.

    What was heard last is mirrored at the end of a window: the network then has something on both sides of the newest
    sound, and is sure of it earlier. Until a whole window was heard, what was heard is repeated before itself. Both
    were chosen by measurement (docs/performance.md).
    """

    def __init__(self, grid: WindowGrid, step: int = 0, frame: int = 0) -> None:
        """Prepare for a recording.

        Parameters
        ----------
        grid
            How windows lie on it.
        step
            Only the windows that hear beyond this step are wanted; they are cut as if the others had been, too.
        frame
            The first that is pushed; at most `grid.first_frame(step)`.
        """
        self._grid, self._before, self._first = grid, grid.number_beyond(step) - 1, frame
        self.hop_steps = grid.hop_steps
        """Steps from one window to the next; may be set at any time."""
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._frames: FloatArray | None = None
        self._dropped = self._first
        self._end = self._grid.end_of(self._before)
        """Step up to which the last window heard."""
        self._is_early = self._before % 2 == 1
        """Whether the last window was early."""

    def push(self, log_mel: FloatArray) -> Iterator[Window]:
        """Take frames (T, F); yield the windows that they complete."""
        self._frames = log_mel if self._frames is None else np.concatenate([self._frames, log_mel])
        while (log_mel_cut := self._cut(self._next_step)) is not None:
            yield Window(self._next_step, log_mel_cut)
            self._end, self._is_early = self._next_end, not self._is_early
        # The next window begins after this, however short its hop is. If the recording ends here, its last window
        # begins a frame before the last that fits, since the last frame begins no step.
        first = self._grid.frame_of(self._end + self._grid.mirrored_steps - self._grid.steps)
        keep = min(first, self.total - self._grid.frames - 1)
        if keep > self._dropped:
            self._frames = self._frames[keep - self._dropped :]
            self._dropped = keep

    def flush(self) -> Window | None:
        """End the recording; return the window that ends with it, unless the last one did.

        Its end is mirrored up to the next whole step. A recording that fits into a window is given whole, and tiled
        where it is shorter.
        """
        grid, frames = self._grid, self._frames
        if frames is None or self.total == 0:
            return None
        end = grid.steps_of(self.total)
        if self.total <= grid.frames and (self.total < grid.frames or grid.mirrored_steps or self._end < end):
            return Window(0, tile(frames, grid.frames), self.total)
        if end <= self._end:
            return None
        step = end + grid.mirrored_steps - grid.steps
        begin = grid.frame_of(step)
        frames = np.pad(frames, ((0, max(begin + grid.frames - self.total, 0)), (0, 0)), mode="symmetric")
        return Window(step, frames[begin - self._dropped :][: grid.frames])

    @property
    def total(self) -> int:
        """Frames so far."""
        return self._dropped + (0 if self._frames is None else len(self._frames))

    @property
    def _next_step(self) -> float:
        """Where the next window begins."""
        return self._next_end + self._grid.mirrored_steps - self._grid.steps

    @property
    def _next_end(self) -> float:
        """Up to where the next window hears."""
        shift = self._grid.shift_steps
        return self._end + self.hop_steps + (shift if self._is_early else -shift)

    def _cut(self, step: float) -> FloatArray | None:
        """Return the frames of the window that begins at a step; None where not all of them were heard."""
        assert self._frames is not None
        begin, mirrored = self._grid.frame_of(step), self._grid.frame_of(self._grid.mirrored_steps)
        end = begin + self._grid.frames - mirrored
        if end > self.total:
            return None
        heard = self._frames[max(begin - self._dropped, 0) : end - self._dropped]
        before = np.tile(heard, (-(begin // end), 1))[begin:] if begin < 0 else heard[:0]
        if mirrored > len(heard):
            return np.concatenate([before, np.pad(heard, ((0, mirrored), (0, 0)), mode="symmetric")])
        return np.concatenate([before, heard, heard[len(heard) - mirrored :][::-1]])


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
