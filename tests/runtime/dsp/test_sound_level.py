"""Levels against sines, against what the standard says of the time weighting, and against a slow twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sosfilt, sosfilt_zi

from htsat_edge.runtime.dsp.level import deviation_dbfs
from htsat_edge.runtime.dsp.sound_level import LevelMeter, SoundLevel
from htsat_edge.runtime.dsp.weighting import a_weighting


def sine(hz, dbfs, seconds=1.0, rate=48_000):
    """A sine whose peak is so many dB below full scale."""
    times = np.arange(round(seconds * rate)) / rate
    return (10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def noise(seconds, rate, seed=0):
    rng = np.random.default_rng(seed)
    loudness = np.repeat(10 ** rng.uniform(-3, 0, round(10 * seconds)), rate // 10)
    return (loudness * rng.normal(0.1, 0.3, len(loudness))).astype(np.float32)


def seconds_of(steps):
    return [step.second for step in steps if step.second is not None]


def measure(samples, rate):
    return seconds_of(LevelMeter(rate).push(samples))


def slow_levels(samples, rate):
    """The levels of each second, from the whole recording at once and one sample after the other."""
    sections = a_weighting(rate)
    state = sosfilt_zi(sections) * float(samples[0])
    squares = sosfilt(sections, samples.astype(float), zi=state)[0] ** 2
    average, averages = 0.0, []
    for square in squares:
        average += (1 - np.exp(-1 / (0.125 * rate))) * (square - average)
        averages.append(average)
    for start in range(0, len(samples) - rate + 1, rate):
        second = slice(start, start + rate)
        yield samples[second].astype(float).std() ** 2, squares[second].mean(), max(averages[second])


def test_a_sine_of_1_khz_has_the_level_of_its_root_mean_square():
    (first, second) = measure(sine(1000, -20, 2), 48_000)
    assert first.dbfs == second.dbfs == pytest.approx(-23.01, abs=0.005)
    assert second.laeq == pytest.approx(-23.01, abs=0.005)
    assert second.lamax == pytest.approx(-23.01, abs=0.01)  # with a ripple of 0.003 dB


@pytest.mark.parametrize(("hz", "weighting"), [(100, -19.1), (250, -8.6), (4000, 1.0), (8000, -1.1)])
def test_another_sine_is_weighted(hz, weighting):
    level = measure(sine(hz, 0, 3), 48_000)[-1]
    assert level.dbfs == pytest.approx(-3.01, abs=0.01)
    assert level.laeq == pytest.approx(-3.01 + weighting, abs=0.2)


@pytest.mark.parametrize(("burst_s", "wanted"), [(1.0, 0.0), (0.5, -0.1), (0.2, -1.0), (0.1, -2.6), (0.05, -4.8)])
def test_short_bursts_are_as_loud_as_the_standard_says(burst_s, wanted):
    """IEC 61672-1:2013, table 4: LAFmax of a burst of 4 kHz, relative to the steady level."""
    steady = measure(sine(4000, -10, 2), 48_000)[-1].lamax
    burst = np.zeros(3 * 48_000, np.float32)
    burst[24_000 : 24_000 + round(burst_s * 48_000)] = sine(4000, -10, burst_s)
    highest = max(level.lamax for level in measure(burst, 48_000))
    assert highest - steady == pytest.approx(wanted, abs=0.06)


def test_fast_falls_by_34_7_db_a_second():
    meter = LevelMeter(48_000)
    meter.push(sine(1000, -10, 2))
    falling = [10 * np.log10(step.fast) for step in meter.push(np.zeros(48_000, np.float32))]
    assert np.diff(falling) == pytest.approx(-34.74 / 8, abs=0.02)


def test_what_fades_is_forgotten():
    """Numbers that are too small for a processor's fast way would cost it many times as much, without end."""
    meter = LevelMeter(8000)
    meter.push(sine(1000, 0, rate=8000))
    assert meter.push(np.zeros(10 * 8000, np.float32))[-1].fast == 0


def test_silence_and_an_offset_have_the_lowest_level():
    for value in (0.0, 0.25):
        (level,) = measure(np.full(16_000, value, np.float32), 16_000)
        assert (level.dbfs, level.laeq, level.lamax) == (-200, -200, -200)


def test_the_level_without_weighting_is_the_one_of_input_faults():
    samples = noise(1, 48_000)
    (level,) = measure(samples, 48_000)
    assert level.dbfs == pytest.approx(deviation_dbfs(samples), abs=1e-4)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000])
def test_levels_are_those_of_a_slow_twin(rate):
    samples = noise(3.5, rate)[: 3 * rate + 100]
    found = [(level.power, level.weighted, level.fast) for level in measure(samples, rate)]
    np.testing.assert_allclose(found, list(slow_levels(samples, rate)), rtol=1e-6)
    assert len(found) == 3


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([8000, 11_025, 8001]), st.lists(st.integers(0, 9000), max_size=12))
def test_any_chunking_gives_the_same(rate, lengths):
    samples, meter, steps, at = noise(2.3, 11_025, seed=3), LevelMeter(rate), [], 0
    for length in [*lengths, len(samples)]:
        steps += meter.push(samples[at : at + length])
        at += length
    assert steps == LevelMeter(rate).push(samples)
    assert len(seconds_of(steps)) == len(samples) // rate


def test_a_gap_begins_anew():
    meter, samples = LevelMeter(8000), noise(1.6, 8000)
    first = meter.push(samples)
    meter.reset()
    assert meter.push(samples) == first


def test_a_minute_has_the_power_of_its_seconds_and_their_highest_level():
    seconds = [SoundLevel(1e-4, 1e-5, 2e-5), SoundLevel(3e-4, 3e-5, 1e-3), SoundLevel(2e-4, 5e-5, 7e-4)]
    minute = SoundLevel.of(seconds)
    assert minute.dbfs == pytest.approx(10 * np.log10(2e-4))
    assert minute.laeq == pytest.approx(10 * np.log10(3e-5))
    assert minute.lamax == pytest.approx(-30)
