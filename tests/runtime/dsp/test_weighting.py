"""A-weighting against the formula and the table of IEC 61672-1:2013, at the sample rates of sound cards."""

import numpy as np
import pytest
from scipy.signal import sosfreqz

from htsat_edge.runtime.dsp.weighting import HIGH_PASS_HZ, LOW_PASS_HZ, AWeighting, a_weighting

RATES = [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000, 384_000]
INFINITE = float("inf")
TABLE = [  # nominal Hz, weighting in dB, and what class 1 allows above and below it
    (10, -70.4, 3.0, INFINITE),
    (12.5, -63.4, 2.5, INFINITE),
    (16, -56.7, 2.0, 4.0),
    (20, -50.5, 2.0, 2.0),
    (25, -44.7, 2.0, 1.5),
    (31.5, -39.4, 1.5, 1.5),
    (40, -34.6, 1.0, 1.0),
    (50, -30.2, 1.0, 1.0),
    (63, -26.2, 1.0, 1.0),
    (80, -22.5, 1.0, 1.0),
    (100, -19.1, 1.0, 1.0),
    (125, -16.1, 1.0, 1.0),
    (160, -13.4, 1.0, 1.0),
    (200, -10.9, 1.0, 1.0),
    (250, -8.6, 1.0, 1.0),
    (315, -6.6, 1.0, 1.0),
    (400, -4.8, 1.0, 1.0),
    (500, -3.2, 1.0, 1.0),
    (630, -1.9, 1.0, 1.0),
    (800, -0.8, 1.0, 1.0),
    (1000, 0.0, 0.7, 0.7),
    (1250, 0.6, 1.0, 1.0),
    (1600, 1.0, 1.0, 1.0),
    (2000, 1.2, 1.0, 1.0),
    (2500, 1.3, 1.0, 1.0),
    (3150, 1.2, 1.0, 1.0),
    (4000, 1.0, 1.0, 1.0),
    (5000, 0.5, 1.5, 1.5),
    (6300, -0.1, 1.5, 2.0),
    (8000, -1.1, 1.5, 2.5),
    (10_000, -2.5, 2.0, 3.0),
    (12_500, -4.3, 2.0, 5.0),
    (16_000, -6.6, 2.5, 16.0),
    (20_000, -9.3, 3.0, INFINITE),
]


def third_octave(nominal_hz):
    """The exact frequency of a nominal one: the table's weighting is of that."""
    return 10 ** (round(10 * np.log10(nominal_hz)) / 10)


def formula_db(hz):
    """The weighting as annex E of the standard has it, from its own constants."""
    low2, high2, a, reference2 = 10**3.0, 10**7.8, 10**2.45, 1000.0**2
    c = low2 * high2
    b = (reference2 + c / reference2 - np.sqrt(0.5) * (low2 + high2)) / (1 - np.sqrt(0.5))
    f1, f4 = (np.sqrt((-b + sign * np.sqrt(b * b - 4 * c)) / 2) for sign in (-1, 1))
    f2, f3 = (a * (3 + sign * np.sqrt(5)) / 2 for sign in (-1, 1))
    np.testing.assert_allclose([*HIGH_PASS_HZ, *LOW_PASS_HZ], [f1, f1, f2, f3, f4, f4], rtol=1e-6)

    def gain(f):
        return f4**2 * f**4 / ((f**2 + f1**2) * np.sqrt((f**2 + f2**2) * (f**2 + f3**2)) * (f**2 + f4**2))

    return 20 * np.log10(gain(hz) / gain(1000.0))


def response_db(rate, hz):
    return 20 * np.log10(np.abs(sosfreqz(a_weighting(rate), hz, fs=rate)[1]))


def test_the_formula_gives_the_table():
    nominal, weighting, _, _ = np.transpose(TABLE)
    np.testing.assert_allclose(formula_db(np.array([third_octave(hz) for hz in nominal])), weighting, atol=0.051)


@pytest.mark.parametrize("rate", RATES)
def test_the_filter_is_of_class_1(rate):
    """A bilinear transform is not where half the rate is a frequency of the table: it has no gain there."""
    rows = [(third_octave(hz), *rest) for hz, *rest in TABLE if third_octave(hz) < rate / 2]
    hz, weighting, above, below = np.transpose(rows)
    error = response_db(rate, hz) - weighting
    assert np.all(error <= above)
    assert np.all(error >= -below)


@pytest.mark.parametrize(
    ("rate", "upper_hz", "most_db"),
    [
        (16_000, 5500, 0.3),
        (16_000, 7500, 0.5),
        (32_000, 10_000, 0.3),
        (32_000, 14_000, 0.8),
        (44_100, 13_000, 0.3),
        (44_100, 18_000, 0.8),
        (48_000, 14_000, 0.3),
        (48_000, 16_000, 0.4),
        (48_000, 20_000, 0.9),
        (96_000, 20_000, 0.1),
    ],
)
def test_how_near_it_is_to_the_formula(rate, upper_hz, most_db):
    hz = np.geomspace(10, upper_hz, 500)
    np.testing.assert_allclose(response_db(rate, hz), formula_db(hz), atol=most_db)


def test_every_rate_of_a_sound_card_has_a_filter():
    for rate in range(8000, 384_001, 1000):
        assert response_db(rate, np.array([1000.0])) == pytest.approx(0, abs=1e-9)
        assert np.isrealobj(a_weighting(rate))


def test_an_offset_is_no_sound_and_makes_no_click():
    assert np.abs(AWeighting(48_000).push(np.full(48_000, 0.5, np.float32))).max() < 1e-12


def test_a_state_that_fades_does_not_stay():
    weighting = AWeighting(48_000)
    weighting.push(np.array([1.0, -1.0], np.float32))
    for _ in range(40):
        last = weighting.push(np.zeros(6000, np.float32))
    assert not last.any()


def test_a_reset_begins_anew():
    weighting, samples = AWeighting(16_000), np.random.default_rng(0).normal(size=1000).astype(np.float32)
    first = weighting.push(samples)
    weighting.reset()
    np.testing.assert_array_equal(weighting.push(samples), first)
