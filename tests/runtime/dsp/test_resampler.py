import numpy as np
import pytest
import soxr

from htsat_edge.runtime.dsp.resampler import Resampler


@pytest.mark.parametrize("rate", [8000, 22_050, 32_000, 44_100, 96_000])
@pytest.mark.parametrize("chunk", [1, 160, 4801])
def test_resampling_does_not_depend_on_chunks(rate, chunk, noise):
    noise = noise[:20_000]
    resampler = Resampler(rate, 32_000)
    parts = [resampler.push(noise[i : i + chunk]) for i in range(0, len(noise), chunk)]
    np.testing.assert_array_equal(np.concatenate([*parts, resampler.flush()]), soxr.resample(noise, rate, 32_000))


@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_a_reset_begins_a_new_recording(rate, noise):
    resampler = Resampler(rate, 32_000)
    resampler.push(noise[:7777])
    resampler.reset()
    found = np.concatenate([resampler.push(noise), resampler.flush()])
    np.testing.assert_array_equal(found, soxr.resample(noise, rate, 32_000))


def test_the_right_rate_is_left_as_it_is(noise):
    resampler = Resampler(32_000, 32_000)
    assert resampler.push(noise) is noise
    assert len(resampler.flush()) == 0
