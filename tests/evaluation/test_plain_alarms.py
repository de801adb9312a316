"""Alarms that are rendered to measure on, against the figures of the standards."""

import zlib

import numpy as np
import pytest

from htsat_edge.evaluation import plain_alarms
from htsat_edge.evaluation.plain_alarms import ALARMS, PATTERNS, RATE, SOUNDING_S, render, tone

SEEDS = range(5)


@pytest.fixture
def dry(monkeypatch):
    """Render without the room."""
    monkeypatch.setattr(plain_alarms, "room", lambda samples, _: samples)
    return render


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


@pytest.mark.parametrize("pattern", PATTERNS)
def test_whole_cycles_sound_until_the_time_is_over(pattern):
    alarm = render(pattern, 3)
    cycle, every_s = PATTERNS[pattern][1](np.random.default_rng((3, zlib.crc32(pattern.encode()))))
    starts = [on for on, _ in alarm.sounding[:: len(cycle)]]
    np.testing.assert_allclose(starts, np.arange(len(starts)) * every_s, atol=1e-6)
    assert starts[-1] < SOUNDING_S <= starts[-1] + every_s
    assert len(alarm.sounding) == len(starts) * len(cycle)
    assert all(on < off for on, off in alarm.sounding)
    assert len(alarm.samples) / RATE == pytest.approx(max(off for _, off in alarm.sounding) + 1, abs=1e-3)


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


def pitches(alarm, count=1, pulse=0):
    """Return the strongest frequencies of a pulse in Hz, low to high."""
    on, off = (round(time * RATE) for time in alarm.sounding[pulse])
    power = np.abs(np.fft.rfft(alarm.samples[on:off] * np.hanning(off - on), 4 * RATE))
    found = []
    for _ in range(count):
        found.append(power.argmax() / 4)
        wide = 8 * RATE // (off - on) + 1
        power[max(0, power.argmax() - wide) : power.argmax() + wide] = 0
    return sorted(found)


def glide(alarm):
    """Return the lowest and the highest pitch of the first pulse in Hz, and how often in a second it goes up."""
    on, off = (round(time * RATE) for time in alarm.sounding[0])
    wave = alarm.samples[on:off]
    at = np.flatnonzero((wave[:-1] < 0) & (wave[1:] >= 0))
    periods = at - wave[at] / (wave[at + 1] - wave[at])
    hz = RATE / np.diff(periods)
    smooth = np.convolve(hz, np.ones(5) / 5, "same")[5:-5]
    up = periods[5:-5][np.flatnonzero((smooth[:-1] < smooth.mean()) & (smooth[1:] >= smooth.mean()))] / RATE
    return *np.quantile(hz, (0.005, 0.995)), (len(up) - 1) / (up[-1] - up[0])


@pytest.mark.parametrize(("pattern", "slowest", "fastest"), [("wail", 10 / 60, 30 / 60), ("yelp", 150 / 60, 250 / 60)])
def test_sirens_sweep_as_often_as_they_may(dry, pattern, slowest, fastest):
    for seed in SEEDS:
        low, high, rate = glide(dry(pattern, seed))
        assert 490 < low < 770
        assert 1270 < high < 1820
        assert slowest * 0.98 < rate < fastest * 1.02


def test_an_electronic_ringer_warbles_at_12_5_hz(dry):
    for seed in SEEDS:
        low, high, rate = glide(dry("electronic ringer", seed))
        assert min(abs(low / base - 1) for base in (404, 808, 1616)) < 0.005
        assert high / low == pytest.approx(1.25, rel=0.01)
        assert rate == pytest.approx(12.5, rel=0.01)


@pytest.mark.parametrize(
    ("pattern", "each_s", "ratio"), [("hi-lo", (0.5, 0.75), 4 / 3), ("hi-lo of 435 and 488 Hz", (1.0, 1.2), 488 / 435)]
)
def test_two_tones_of_a_siren_take_turns(dry, pattern, each_s, ratio):
    for seed in SEEDS:
        alarm = dry(pattern, seed)
        (low,), (high,) = pitches(alarm), pitches(alarm, pulse=1)
        assert high / low == pytest.approx(ratio, rel=0.005)
        assert min(abs(low - wanted) for wanted in (435, 440, 360)) < 1
        assert each_s[0] <= alarm.sounding[0][1] == pytest.approx(alarm.sounding[1][0], abs=1e-3)
        assert alarm.sounding[0][1] <= each_s[1]


@pytest.mark.parametrize(
    ("pattern", "slowest", "fastest"), [("bell of a telephone", 40, 40), ("bell of a clock", 12, 20)]
)
def test_a_hammer_strikes_as_fast_as_it_is_driven(dry, monkeypatch, pattern, slowest, fastest):
    monkeypatch.setattr(plain_alarms, "struck", lambda *_: np.eye(1, 100)[0])
    for seed in SEEDS:
        alarm = dry(pattern, seed)
        strokes = np.flatnonzero(alarm.samples[: RATE * 2]) / RATE
        np.testing.assert_allclose(np.diff(strokes), np.diff(strokes).mean(), atol=1e-4)
        assert slowest * 0.999 < 1 / np.diff(strokes).mean() < fastest * 1.001


@pytest.mark.parametrize(
    ("pattern", "starts", "pulse_s", "tones"),
    [
        ("ringing tone, US", (0, 6), 2, [{440}, {480}]),
        ("ringing tone, UK", (0, 0.6, 3, 3.6), 0.4, [{400}, {450}]),
        ("four beeps", (0, 0.125, 0.25, 0.375, 1), 0.0625, [{2048, 4096}]),
        ("bell of a telephone", (0, 6), 2.6, []),
    ],
)
def test_cadences_and_tones_are_those_of_the_sources(dry, pattern, starts, pulse_s, tones):
    """The last stroke of a bell sounds for 0.6 s."""
    for seed in SEEDS:
        alarm = dry(pattern, seed)
        np.testing.assert_allclose([on for on, _ in alarm.sounding[: len(starts)]], starts)
        np.testing.assert_allclose([off - on for on, off in alarm.sounding], pulse_s)
        for pitch, wanted in zip(pitches(alarm, len(tones)), tones, strict=True):
            assert min(abs(pitch - hz) for hz in wanted) < 1


@pytest.mark.parametrize("pattern", ["reversing beep", "reversing hiss"])
def test_reversing_beeps_once_or_twice_a_second(dry, pattern):
    for seed in SEEDS:
        alarm = dry(pattern, seed)
        (on, off), (following, _) = alarm.sounding[:2]
        assert 1 <= 1 / (following - on) <= 2
        assert following - off == pytest.approx(off - on, abs=1e-3)
        hz, power = spectrum(alarm.samples[: round(off * RATE)])
        if pattern == "reversing beep":
            assert 700 <= pitches(alarm)[0] <= 2800
        else:
            assert power[(hz > 400) & (hz < 8000)].sum() > 0.99 * power.sum()


def test_a_bell_has_the_partials_of_a_bell():
    """Hum, prime, tierce (a minor third over it), quint and nominal."""
    np.testing.assert_allclose(np.array(plain_alarms.BELL[:5]) / 2, [0.5, 1, 6 / 5, 3 / 2, 2])
