"""Draw the background of scenes: noise, plain or rough, most of the time with recorded backgrounds over it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from htsat_edge.htsat.network import FRAMES
from htsat_edge.htsat.settings import Mix
from htsat_edge.htsat.variations import Rng, colour, from_db
from htsat_edge.runtime.common.arrays import FloatArray

LEVEL = 1e-3
"""Mean power of the noise."""
RECORDED = 0.8
"""The share of backgrounds with recordings over the noise."""
RECORDED_DB = (-5.0, 25.0)
"""Level of each recording above the noise."""
GRAINS = 1 << 22


class Ambience:
    """Draws backgrounds of a window's length."""

    def __init__(self, mels: int, mix: Mix, recorded: Callable[[Rng], FloatArray] | None) -> None:
        """Take what draws a recorded background (T, F), if there are any."""
        self._mels = mels
        self._mix = mix
        self._recorded = recorded
        _grains()  # before a training starts processes, so that they share them

    def draw(self, rng: Rng) -> FloatArray:
        """Return power (1024, F)."""
        rough = rng.random() < self._mix.rough_share
        power = self._rough(rng) if rough else self._plain(rng)
        power *= np.float32(LEVEL / power.mean())
        if self._recorded is not None and rng.random() < RECORDED:
            fewest, most = self._mix.backgrounds
            for _ in range(rng.integers(fewest, most, endpoint=True)):
                recorded = colour(rng, self._recorded(rng))
                recorded = np.resize(np.roll(recorded, rng.integers(len(recorded)), axis=0), power.shape)
                power += recorded * np.float32(LEVEL * from_db(rng.uniform(*RECORDED_DB)) / recorded.mean())
        return power

    def _plain(self, rng: Rng) -> FloatArray:
        """Return stationary noise of a random slope."""
        slope_db = np.linspace(0, rng.uniform(-45, 5), self._mels) + rng.normal(0, 2, self._mels)
        return self._grain(rng) * from_db(slope_db).astype(np.float32)

    def _rough(self, rng: Rng) -> FloatArray:
        """Return noise as of machines and weather: steep slopes, a few tones, slow swells."""
        slope_db = np.linspace(0, rng.uniform(-90, 10), self._mels) + rng.normal(0, 3, self._mels)
        for _ in range(rng.integers(0, 6)):
            # Tones lie low more often than high: hum and its harmonics.
            slope_db[int(self._mels * rng.random() ** 2)] += rng.uniform(3, 25)
        knots = int(rng.integers(2, 30))
        swell_db = np.interp(np.linspace(0, knots - 1, FRAMES), np.arange(knots), rng.normal(0, 1, knots))
        swell = from_db(rng.uniform(0, 6) * swell_db).astype(np.float32)[:, None]
        return self._grain(rng) * from_db(slope_db).astype(np.float32) * swell

    def _grain(self, rng: Rng) -> FloatArray:
        """Return the power of white noise (1024, F), with a mean of 1."""
        start = rng.integers(GRAINS - FRAMES * self._mels)
        return _grains()[start : start + FRAMES * self._mels].reshape(FRAMES, self._mels)


@lru_cache
def _grains() -> FloatArray:
    """Return random power (GRAINS,): scenes take parts of it, since drawing anew would be most of their cost."""
    return np.random.default_rng(0).standard_gamma(3.0, GRAINS, np.float32) / np.float32(3)
