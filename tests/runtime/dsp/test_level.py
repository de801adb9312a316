import numpy as np
import pytest

from htsat_edge.runtime.dsp.level import level_dbfs
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel

RATE = 32_000


def level(samples):
    return level_dbfs(LogMel(FrontEnd())(samples.astype(np.float32)), FrontEnd())


def sine(hz, amplitude, seconds=1.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize("hz", [400, 1000, 3000, 8000])
@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.003])
def test_a_sine_has_its_root_mean_square(hz, amplitude):
    assert level(sine(hz, amplitude)) == pytest.approx(20 * np.log10(amplitude / np.sqrt(2)), abs=0.5)


def test_noise_has_the_root_mean_square_of_its_band():
    """From 50 to 14 000 Hz of the 16 000; the loudest of many tenths of a second is a little above the mean."""
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * RATE)
    assert level(noise) == pytest.approx(-20 + 10 * np.log10(13_950 / 16_000), abs=0.5)


def test_a_tenth_of_a_second_counts_alone():
    samples = np.random.default_rng(0).normal(0, 1e-4, 10 * RATE)
    samples[5 * RATE : 5 * RATE + RATE // 5] += sine(1000, 0.1, 0.2)
    assert level(samples) == pytest.approx(-23, abs=0.5)


def test_a_shorter_sound_is_averaged_over_a_tenth_of_a_second():
    """10 ms of a sine of 0.7 rms, of which the window and the tenth take their part."""
    samples = np.zeros(RATE)
    samples[16_000:16_320] = sine(1000, 1.0, 0.01)
    assert level(samples) == pytest.approx(20 * np.log10(1 / np.sqrt(2)) - 10, abs=1)


@pytest.mark.parametrize("hz", [10, 15_500])
def test_what_the_model_does_not_hear_counts_little(hz):
    """What is left of it is leakage, most at the ends of the recording, where it is mirrored."""
    assert level(sine(hz, 0.5)) < level(sine(1000, 0.5)) - 25


def test_a_frame_may_be_longer_than_a_tenth_of_a_second():
    front_end = FrontEnd(sample_rate=2000, n_fft=1024, hop=500, n_mels=16, fmin=50, fmax=900)
    one, two = np.full((2, 1, 16), -30, np.float32)
    two = two - 20
    assert level_dbfs(np.concatenate([one, two]), front_end) == level_dbfs(one, front_end)


def test_fewer_frames_than_a_tenth_of_a_second_are_no_span():
    log_mel = np.full((10, 64), -30, np.float32)
    assert level_dbfs(log_mel, FrontEnd()) == pytest.approx(level_dbfs(np.tile(log_mel, (5, 1)), FrontEnd()))


def test_filters_that_were_made_for_another_rate():
    """As in Microsoft's CLAP: they lie elsewhere, and the level stays."""
    front_end = FrontEnd(mel_sample_rate=24_000)
    log_mel = LogMel(front_end)(sine(1000, 0.1).astype(np.float32))
    assert level_dbfs(log_mel, front_end) == pytest.approx(-23, abs=0.5)
