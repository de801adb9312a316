"""Alarms that are rendered to measure on, against the figures of the standards."""

import numpy as np
import pytest

from htsat_edge.evaluation.plain_alarms import ALARMS, PATTERNS, RATE, SOUNDING_S, render, tone


def spectrum(samples):
    return np.fft.rfftfreq(len(samples), 1 / RATE), np.abs(np.fft.rfft(samples)) ** 2


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_seed_says_every_sample_and_another_seed_says_others(pattern):
    one, again, other = render(pattern, 3), render(pattern, 3), render(pattern, 4)
    np.testing.assert_array_equal(one.samples, again.samples)
    assert len(one.samples) != len(other.samples) or np.abs(one.samples - other.samples).max() > 0.01
    assert one.samples.dtype == np.float32
    assert np.abs(one.samples).max() == pytest.approx(0.5)
    assert one.label in ALARMS
    assert one.sounding[0][0] == 0
    assert all(
        on < SOUNDING_S < len(one.samples) / RATE or on < off < len(one.samples) / RATE for on, off in one.sounding
    )


def test_there_are_patterns_of_every_alarm():
    assert {label for label, _ in PATTERNS.values()} == set(ALARMS)


@pytest.mark.parametrize(
    ("pattern", "pulses", "pulse_s", "pause_s"), [("T3", 3, 0.5, 1.5), ("T3 of 520 Hz", 3, 0.5, 1.5), ("T4", 4, 0.1, 5)]
)
def test_temporal_patterns_are_those_of_the_standards(pattern, pulses, pulse_s, pause_s):
    alarm = render(pattern, 0)
    (first, off), following = alarm.sounding[0], alarm.sounding[pulses]
    assert off - first == pytest.approx(pulse_s, rel=0.1)
    gaps = [b[0] - a[1] for a, b in zip(alarm.sounding, alarm.sounding[1:pulses], strict=False)]
    np.testing.assert_allclose(gaps, off - first, atol=0.001)
    assert following[0] - alarm.sounding[pulses - 1][1] == pytest.approx(pause_s, abs=0.001)
    hz, power = spectrum(alarm.samples)
    low = 494 if "520" in pattern else 2900
    assert power[(hz > low * 0.99) & (hz < low * 1.2)].sum() > 0.3 * power[hz < low * 2].sum()


def test_no_harmonic_folds_back():
    """A square of 5 kHz has its third harmonic, and nothing else, below 16 kHz."""
    hz, power = spectrum(tone(5000, 1, square=True))
    near = (np.abs(hz - 5000) < 200) | (np.abs(hz - 15000) < 200)
    assert power[~near].sum() < 1e-3 * power.sum()


def test_dtmf_has_a_low_and_a_high_tone_of_the_recommendation():
    alarm = render("DTMF", 0)
    on, off = alarm.sounding[0]
    hz, power = spectrum(alarm.samples[round(on * RATE) : round(off * RATE)])
    low, high = (hz[np.where((hz > a) & (hz < b), power, 0).argmax()] for a, b in ((650, 1000), (1150, 1550)))
    assert min(abs(low - wanted) for wanted in (697, 770, 852, 941)) < 15
    assert min(abs(high - wanted) for wanted in (1209, 1336, 1477)) < 15
