"""Variations of a sound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.htsat.variations import (
    borrow_spectrum,
    change_contrast,
    colour,
    crop,
    layer,
    mask_bands,
    reverberate,
    stretch,
)
from htsat_edge.runtime.dsp.log_mel import to_db


def test_colour_and_reverberation_keep_the_shape_of_power():
    rng = np.random.default_rng(0)
    power = np.full((50, 64), 1e-8, np.float32)
    power[:, 20] = 1
    for _ in range(20):
        coloured, wet = colour(rng, power), reverberate(rng, power)
        assert coloured.shape == power.shape
        assert (coloured > 0).all()
        assert len(wet) == 80
        assert (np.diff(wet[50:].sum(axis=1)) < 0).all()  # the tail decays


def noisy(frames, seed=0):
    return np.random.default_rng(seed).gamma(2, 1, (frames, 64)).astype(np.float32)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(5, 1200))
def test_variations_stay_sounds(seed, frames):
    rng, power = np.random.default_rng(seed), noisy(frames)
    for varied in (
        crop(rng, power),
        layer(rng, power, noisy(700, 1)),
        stretch(power, 77),
        change_contrast(rng, power),
        borrow_spectrum(rng, power, noisy(20, 2)),
    ):
        assert varied.dtype == np.float32
        assert varied.shape[1] == 64
        assert (varied > 0).all()
        assert np.isfinite(varied).all()


def test_contrast_scales_what_is_around_each_bands_mean():
    power = noisy(500)
    around = to_db(power) - to_db(power.mean(axis=0))
    varied = to_db(change_contrast(np.random.default_rng(1), power)) + to_db(power.max())
    factor, offset = np.polyfit(around.ravel(), (varied - to_db(power.mean(axis=0))).ravel(), 1)
    assert 0.7 <= factor <= 1.25
    assert offset == pytest.approx(0, abs=1e-3)


def test_a_borrowed_spectrum_lies_between_the_two():
    power, other = noisy(400), noisy(400, 1) * np.linspace(0.1, 3, 64, dtype=np.float32)
    own, wanted = (to_db(x.mean(axis=0)) - to_db(x.mean(axis=0)).mean() for x in (power, other))
    borrowed = to_db(borrow_spectrum(np.random.default_rng(0), power, other).mean(axis=0))
    share = np.polyfit(wanted - own, borrowed - borrowed.mean() - own, 1)[0]
    assert 0.05 < share < 0.5


def test_a_long_sound_is_cropped_and_a_short_one_is_not():
    rng = np.random.default_rng(0)
    assert {len(crop(rng, noisy(120))) for _ in range(20)} == {120}
    lengths = {len(crop(rng, noisy(900))) for _ in range(30)}
    assert max(lengths) == 900
    assert 360 <= min(lengths) < 700


def test_masks_fill_bands_and_a_span():
    log_mel = np.random.default_rng(0).normal(-40, 10, (1024, 64)).astype(np.float32)
    before = log_mel.copy()
    mask_bands(np.random.default_rng(3), log_mel)
    changed = log_mel != before
    assert 0 < changed.mean() < 0.35
    assert np.ptp(log_mel[changed]) == 0
