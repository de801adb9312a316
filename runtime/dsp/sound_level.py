"""The level of a sound as a sound level meter has it: LAeq and LAmax with the time weighting Fast (IEC 61672-1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray

STEP_S = 0.125
STEPS = round(1 / STEP_S)
"""Of a second."""
FLOOR = 1e-20
"""The least power: -200 dBFS."""


def power_db(power: float) -> float:
    """Return a power in dB, from -200 on."""
    return 10 * float(np.log10(max(power, FLOOR)))


@dataclass(frozen=True)
class SoundLevel:
    """The level of a second, or of several.

    Powers are mean squares of samples: 0 dBFS is that of a square wave at full scale, and a sine at full scale has
    -3.01 dBFS.
    """

    power: float
    """Around the mean."""
    weighted: float
    """A-weighted."""
    fast: float
    """The largest that was A-weighted and averaged with the time weighting Fast."""

    @property
    def dbfs(self) -> float:
        """The level without weighting, in dBFS."""
        return power_db(self.power)

    @property
    def laeq(self) -> float:
        """The A-weighted level of the whole, in dBFS."""
        return power_db(self.weighted)

    @property
    def lamax(self) -> float:
        """The highest A-weighted level within 125 ms, in dBFS."""
        return power_db(self.fast)

    @staticmethod
    def of(seconds: Sequence[SoundLevel]) -> SoundLevel:
        """Return the level of several seconds, of all their power."""
        count = len(seconds)
        return SoundLevel(
            sum(second.power for second in seconds) / count,
            sum(second.weighted for second in seconds) / count,
            max(second.fast for second in seconds),
        )


@dataclass(frozen=True)
class LevelStep:
    """An eighth of a second."""

    fast: float
    """The largest power in it, A-weighted and averaged with the time weighting Fast."""
    second: SoundLevel | None
    """The level of the second that it completes."""


class LevelMeter:
    """Measures a stream in steps of 125 ms, so that any chunking gives the same."""

    def __init__(self, sample_rate: int) -> None:
        """Prepare for a sample rate in Hz."""
        # Only who measures waits for scipy.signal, which takes longer to load than all else of a session.
        from htsat_edge.runtime.dsp.weighting import AWeighting, FastWeighting

        self.sample_rate = sample_rate
        self._lengths = np.diff([round(k * sample_rate * STEP_S) for k in range(STEPS + 1)])
        self._weighting, self._fast = AWeighting(sample_rate), FastWeighting(sample_rate)
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after a gap."""
        self._weighting.reset()
        self._fast.reset()
        self._samples: FloatArray = np.zeros(0, np.float32)
        self._steps: list[tuple[float, float, float, float]] = []
        """Of the second that has begun: sums of samples, squares and weighted squares, and the largest Fast power."""

    def push(self, samples: FloatArray) -> list[LevelStep]:
        """Take samples (S,); return the steps that they complete."""
        self._samples = np.concatenate([self._samples, samples])
        steps = []
        while len(self._samples) >= (length := self._lengths[len(self._steps)]):
            step, self._samples = self._samples[:length], self._samples[length:]
            steps.append(self._measure(step))
        return steps

    def _measure(self, samples: FloatArray) -> LevelStep:
        squares = self._weighting.push(samples) ** 2
        exact, fast = samples.astype(np.float64), float(self._fast.push(squares).max())
        self._steps.append((float(exact.sum()), float((exact**2).sum()), float(squares.sum()), fast))
        if len(self._steps) < STEPS:
            return LevelStep(fast, None)
        total, power, weighted, _ = np.sum(self._steps, axis=0) / self.sample_rate
        fastest = max(step[-1] for step in self._steps)
        self._steps = []
        return LevelStep(fast, SoundLevel(max(float(power - total**2), 0.0), float(weighted), fastest))
