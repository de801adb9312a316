"""The first half of a detector: samples in, windows for the model out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import BLOCK, LogMelStream, TooShortError
from htsat_edge.runtime.dsp.observer import FrameObserver
from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.dsp.windows import Window, WindowCutter
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings

ENTRY_S = 2
"""A recording is entered at a multiple of so many whole seconds, and so much earlier than it is heard at least: a
resampler then begins with a whole sample, and what it makes of its own beginning is not heard."""


class WindowStream:
    """Samples of one source in, windows for the model out; the same log-mels, to the bit, for any chunking."""

    def __init__(
        self,
        info: ModelInfo,
        sample_rate: int,
        settings: Settings = Settings(),
        observer: FrameObserver | None = None,
        step: int = 0,
    ) -> None:
        """Prepare for samples at `sample_rate` Hz.

        Parameters
        ----------
        info, sample_rate, settings, observer
            Those of `Detector`.
        step
            Only the windows that hear beyond this step of the recording are wanted. Its samples are then pushed from
            `begin_s` on, and the windows are the same as if it had been pushed from its beginning: to the bit where
            nothing is resampled.

        Raises
        ------
        HtsatEdgeError
            The settings do not fit the model.
        """
        settings.validate(info)
        if not isinstance(sample_rate, int | np.integer) or sample_rate < 1:
            raise ValueError(f"want a sample rate in Hz, a whole number from 1 on, not {sample_rate!r}")
        self._rate, self._observer = sample_rate, observer
        self.grid = settings.grid(info)
        self._resampler = Resampler(sample_rate, info.front_end.sample_rate)
        frame = self.grid.first_frame(step) // BLOCK * BLOCK
        sample = frame * info.front_end.hop - info.front_end.n_fft // 2
        within = sample > 0
        self.begin_s = 0
        """Seconds of the recording before the first sample that is pushed."""
        if within:
            self.begin_s = max(sample // info.front_end.sample_rate // ENTRY_S * ENTRY_S - ENTRY_S, 0)
        self._early = sample - self.begin_s * info.front_end.sample_rate if within else 0
        self._log_mel = LogMelStream(info.front_end, within)
        self._cutter = WindowCutter(self.grid, step, frame if within else 0)
        self._begin()

    def _begin(self) -> None:
        self._samples, self._over, self._skip = 0, False, self._early

    @property
    def hop_steps(self) -> float:
        """Steps from one window to the next; a change takes effect after the last window that was returned."""
        return self._cutter.hop_steps

    @hop_steps.setter
    def hop_steps(self, steps: float) -> None:
        self._cutter.hop_steps = steps

    @property
    def duration_s(self) -> float:
        """Seconds of audio so far."""
        return self.begin_s + self._samples / self._rate

    def push(self, samples: FloatArray) -> list[Window]:
        """Take samples (S,), floats in [-1, 1]; return the windows that they complete."""
        self._check_open()
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(f"want floats in [-1, 1] of shape (S,), not {samples.dtype} of shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise ValueError("samples must be finite numbers")
        samples = samples.astype(np.float32, copy=False)
        self._samples += len(samples)
        return self._hear(self._resampler.push(samples))

    def flush(self) -> list[Window]:
        """End the recording; return the windows that are left. Raise an HtsatEdgeError where it is too short."""
        self._check_open()
        self._over = True
        windows = self._hear(self._resampler.flush())
        try:
            windows += self._cut(self._log_mel.flush())
        except TooShortError:
            raise HtsatEdgeError(f"{self.duration_s * 1000:.1f} ms are too short for the model") from None
        if (window := self._cutter.flush()) is not None:
            windows.append(replace(window, heard_s=self.duration_s))
        return windows

    def reset(self) -> None:
        """Begin a new recording, whatever became of the last."""
        for stage in (self._resampler, self._log_mel, self._cutter):
            stage.reset()
        self._begin()

    def _check_open(self) -> None:
        if self._over:
            raise ValueError("the recording is over: reset begins another")

    def _hear(self, samples: FloatArray) -> list[Window]:
        if self._skip:
            samples, self._skip = samples[self._skip :], max(self._skip - len(samples), 0)
        return self._cut(self._log_mel.push(samples))

    def _cut(self, log_mel: FloatArray) -> list[Window]:
        if len(log_mel) == 0:
            return []
        if self._observer is not None:
            self._observer.frames(log_mel)
        return [replace(window, heard_s=self.duration_s) for window in self._cutter.push(log_mel)]
