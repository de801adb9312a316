"""The first half of a detector: samples in, windows for the model out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import LogMelStream, TooShortError
from htsat_edge.runtime.dsp.observer import FrameObserver
from htsat_edge.runtime.dsp.resampler import Resampler
from htsat_edge.runtime.dsp.windows import Window, WindowCutter
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings


class WindowStream:
    """Samples of one source in, windows for the model out; the same log-mels, to the bit, for any chunking."""

    def __init__(
        self, info: ModelInfo, sample_rate: int, settings: Settings = Settings(), observer: FrameObserver | None = None
    ) -> None:
        """Prepare for samples at `sample_rate` Hz; raise an HtsatEdgeError where the settings do not fit the model."""
        settings.validate(info)
        if not isinstance(sample_rate, int | np.integer) or sample_rate < 1:
            raise ValueError(f"want a sample rate in Hz, a whole number from 1 on, not {sample_rate!r}")
        self._rate, self._observer = sample_rate, observer
        self.grid = settings.grid(info)
        self._resampler = Resampler(sample_rate, info.front_end.sample_rate)
        self._log_mel = LogMelStream(info.front_end)
        self._cutter = WindowCutter(self.grid)
        self._samples, self._over = 0, False

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
        return self._samples / self._rate

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
        return self._cut(self._log_mel.push(self._resampler.push(samples)))

    def flush(self) -> list[Window]:
        """End the recording; return the windows that are left. Raise an HtsatEdgeError where it is too short."""
        self._check_open()
        self._over = True
        windows = self._cut(self._log_mel.push(self._resampler.flush()))
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
        self._samples, self._over = 0, False

    def _check_open(self) -> None:
        if self._over:
            raise ValueError("the recording is over: reset begins another")

    def _cut(self, log_mel: FloatArray) -> list[Window]:
        if len(log_mel) == 0:
            return []
        if self._observer is not None:
            self._observer.frames(log_mel)
        return [replace(window, heard_s=self.duration_s) for window in self._cutter.push(log_mel)]
