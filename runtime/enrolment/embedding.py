"""Embed recordings: what the model makes of each step of them, heard as the detector hears them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.arrays import BoolArray, FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.timeline import Timeline
from htsat_edge.runtime.dsp.windows import Window, WindowGrid, untile
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.window_stream import WindowStream

BATCH = 8
"""Windows at once."""
LOUD_DB = 15.0
"""A step of a recording belongs to its sound where it is at most so much below the loudest."""


class _Frames:
    """Keeps the frames that go by."""

    def __init__(self) -> None:
        self._parts: list[FloatArray] = []

    def frames(self, log_mel: FloatArray) -> None:
        self._parts.append(log_mel)

    @property
    def log_mel(self) -> FloatArray:
        """All of them, (T, F)."""
        return np.concatenate(self._parts)


@dataclass(frozen=True, eq=False)
class Embedded:
    """A recording as the model hears it."""

    info: ModelInfo
    grid: WindowGrid
    windows: Sequence[Window]
    embeddings: FloatArray
    """(windows, steps, channels)."""
    log_mel: FloatArray
    """(T, F)."""
    loud: BoolArray
    """(n,): the steps of the recording that are nearly as loud as its loudest."""

    @property
    def duration_s(self) -> float:
        """Seconds of the recording."""
        return self.windows[-1].heard_s

    def of_sound(self) -> FloatArray:
        """Return the embeddings (m, channels) of the loud steps, each in every window that heard it."""
        found: list[FloatArray] = []
        for window, own in zip(self.windows, self.embeddings, strict=True):
            if window.whole_frames is not None:
                whole = untile(own, self.grid, window.whole_frames)[: len(self.loud)]
                found.append(whole[self.loud[: len(whole)]])
                continue
            steps = np.arange(self.info.steps - self.grid.mirrored_steps)
            at = steps + round(window.step)
            there = (at >= 0) & (at < len(self.loud))
            there[there] = self.loud[at[there]]
            found.append(own[steps[there]])
        return np.concatenate(found)

    def final(self) -> FloatArray:
        """Return the embeddings (n, channels) of all steps, merged over windows as scores are."""
        timeline = Timeline(self.info.steps, Settings().look_ahead_steps(self.info), self.grid.mirrored_steps)
        parts: list[FloatArray] = []
        for window, own in zip(self.windows, self.embeddings, strict=True):
            if window.whole_frames is None:
                parts.append(timeline.push(window.step, own))
            else:
                parts.append(timeline.push_whole(untile(own, self.grid, window.whole_frames)))
        last = timeline.flush()
        return np.concatenate(parts if last is None else [*parts, last])


def embed(path: Path, info: ModelInfo, backend: Backend, hop_steps: int) -> Embedded:
    """Let a model hear a recording.

    Parameters
    ----------
    path
        Of the recording.
    info, backend
        The model, and what runs it; its graph gives `frame_embedding`.
    hop_steps
        From one window to the next; fewer cost more time.

    Raises
    ------
    HtsatEdgeError
        The recording cannot be read or is too short, or the graph gives no `frame_embedding`.
    """
    file, frames = AudioFile(path), _Frames()
    stream = WindowStream(info, file.sample_rate, Settings(hop_s=hop_steps * info.step_s), frames)
    windows = [window for block in file.blocks(file.sample_rate) for window in stream.push(block)]
    try:
        windows += stream.flush()
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{path}: {error}") from None
    embeddings = embed_windows([window.log_mel for window in windows], backend)
    loud = find_loud(frames.log_mel, info)
    return Embedded(info, stream.grid, windows, embeddings, frames.log_mel, loud)


def find_loud(log_mel: FloatArray, info: ModelInfo) -> BoolArray:
    """Return which steps (n,) of frames (T, F) are nearly as loud as the loudest."""
    level, frame = 10 * np.log10(np.power(10, log_mel / 10).sum(axis=1)), float(info.step_frames)
    steps = max(1, ceil((len(level) - 1) / frame))
    loudest = np.array([level[round(i * frame) : round((i + 1) * frame) + 1].max() for i in range(steps)])
    found: BoolArray = loudest >= loudest.max() - LOUD_DB
    return found


def embed_windows(log_mels: Sequence[FloatArray], backend: Backend) -> FloatArray:
    """Return the embeddings (windows, steps, channels) of windows (T, F).

    Raise an HtsatEdgeError where the graph gives none.
    """
    return np.concatenate([*_embed(log_mels, backend)])


def _embed(log_mels: Sequence[FloatArray], backend: Backend) -> Iterator[FloatArray]:
    for first in range(0, len(log_mels), BATCH):
        found = backend.infer(np.stack(log_mels[first : first + BATCH])).frame_embedding
        if found is None:
            raise HtsatEdgeError(
                "this model gives no frame_embedding, so it cannot learn sounds: export its checkpoint again with "
                "python -m htsat_edge.export.to_onnx"
            )
        yield found


def hop_for(seconds: float, info: ModelInfo, most_windows: int) -> int:
    """Return the hop in steps at which recordings of so many seconds together make about so many windows, or fewer."""
    return int(np.clip(ceil(seconds / info.step_s / most_windows), 1, info.steps // 2))
