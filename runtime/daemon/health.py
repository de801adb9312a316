"""Find input faults: what a second of audio looks like when something is wrong with a microphone, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.daemon.config import HealthConfig
from htsat_edge.runtime.dsp.level import deviation_dbfs
from htsat_edge.runtime.dsp.log_mel import hann

FULL_SCALE = 0.99
"""From here on a sample counts as clipped."""
DC = 0.1
"""A mean beside which little of the range is left."""
N_FFT = 4096
HUM_SHARE = 0.9
"""Of the power that lies in harmonics of the mains."""
HUM_DBFS = -60.0
"""Below this level any quiet input has hum."""
BAND_HZ = 5000.0
"""Sound cards and microphones hear beyond this; telephone links and wrong sample rates do not."""
BAND_DB = -75.0
"""Of what lies above, relative to the whole."""
RIGHT = 0.5
"""Of a limit; a problem is over from here on down. Otherwise one at its limit would begin and end without end."""


@dataclass(frozen=True)
class Problem:
    """An input fault."""

    name: str
    advice: str
    raise_s: int
    """Seconds in a row."""
    clear_s: int = 5


PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("digital zero", "the input is muted, or nothing is connected: check alsamixer and the cable", 5),
        Problem("constant", "the input never changes: unplug the device and plug it in again", 5),
        Problem("dc offset", "the mean is far from zero: the microphone's bias or the sound card is broken", 10),
        Problem("clipping", "turn the gain down: alsamixer, F4", 3),
        Problem("too quiet", "turn the gain up: alsamixer, F4; or the microphone is dead", 60),
        Problem("mains hum", "mend the ground or the shield of the cable", 10),
        Problem("dead band", "nothing above 5 kHz: a telephone link, or a wrong sample rate", 30),
    )
}


@dataclass(frozen=True)
class HealthChange:
    """A problem begins or is over."""

    problem: Problem
    begins: bool


class HealthMonitor:
    """Looks at each second of a source."""

    def __init__(self, sample_rate: int, settings: HealthConfig) -> None:
        self.sample_rate, self.settings = sample_rate, settings
        self._window = hann(N_FFT)
        hz = np.fft.rfftfreq(N_FFT, 1 / sample_rate)
        spread = 1.5 * sample_rate / N_FFT
        self._high, self._wide = hz > BAND_HZ, sample_rate > 2.4 * BAND_HZ
        # The lowest bins hold the mean, which is no hum.
        self._hum = [
            (hz > 2 * spread) & (np.abs(hz - mains * np.maximum(1, np.round(hz / mains))) < spread) & (hz < 1000)
            for mains in (50.0, 60.0)
        ]
        self._sound = hz > 2 * spread
        self.active: set[str] = set()
        self.level_dbfs = -np.inf
        """Of the last second."""
        self.reset()

    def reset(self) -> None:
        """Begin anew after a gap; what is wrong stays so until it is heard to be over."""
        self._pending: list[FloatArray] = []
        self._count = 0
        self._wrong = dict.fromkeys(PROBLEMS, 0)
        self._right = dict.fromkeys(PROBLEMS, 0)

    def push(self, samples: FloatArray) -> Iterator[HealthChange]:
        """Take samples (S,); yield the problems that begin or are over."""
        self._pending.append(samples)
        self._count += len(samples)
        if self._count < self.sample_rate:
            return
        joined = np.concatenate(self._pending)
        while len(joined) >= self.sample_rate:
            second, joined = joined[: self.sample_rate], joined[self.sample_rate :]
            yield from self._look(second)
        self._pending, self._count = [joined], len(joined)

    def _look(self, second: FloatArray) -> Iterator[HealthChange]:
        found = self._measure(second)
        for name, problem in PROBLEMS.items():
            self._wrong[name] = self._wrong[name] + 1 if found.get(name, 0.0) > 1 else 0
            self._right[name] = self._right[name] + 1 if found.get(name, 0.0) <= RIGHT else 0
            if name not in self.active and self._wrong[name] >= problem.raise_s:
                self.active.add(name)
                yield HealthChange(problem, begins=True)
            elif name in self.active and self._right[name] >= problem.clear_s:
                self.active.remove(name)
                yield HealthChange(problem, begins=False)

    def _measure(self, second: FloatArray) -> dict[str, float]:
        """Return how much of what is wrong a second has, relative to the limit above which it is a problem."""
        mean = float(second.mean())
        self.level_dbfs = deviation_dbfs(second)
        if second.min() == second.max():
            return {"constant" if second[0] else "digital zero": np.inf}
        clipped_percent = 100 * float(np.mean(np.abs(second) >= FULL_SCALE))
        found = {
            "dc offset": abs(mean) / DC,
            "clipping": clipped_percent / self.settings.clipped_percent,
            "too quiet": 10 ** ((self.settings.quiet_dbfs - self.level_dbfs) / 20),
        }
        if found["too quiet"] > 1:
            return found
        power = self._spectrum(second)
        whole = max(float(power[self._sound].sum()), 1e-30)
        if self.level_dbfs > HUM_DBFS:
            found["mains hum"] = max(float(power[mask].sum()) for mask in self._hum) / whole / HUM_SHARE
        if self._wide:
            high_db = 10 * np.log10(max(float(power[self._high].sum()), 1e-30) / whole)
            found["dead band"] = 10 ** ((BAND_DB - high_db) / 20)
        return found

    def _spectrum(self, second: FloatArray) -> FloatArray:
        """Return the mean power of a second by frequency (N_FFT // 2 + 1,)."""
        count = len(second) // N_FFT
        spans = (second[: count * N_FFT] - second.mean()).reshape(count, N_FFT)
        spectrum = scipy.fft.rfft(spans * self._window, axis=-1)
        power: FloatArray = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
        return power
