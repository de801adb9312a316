from datetime import datetime, timezone

import numpy as np
import pytest

from htsat_edge.runtime.daemon.clock import SourceClock, SystemClock


def observe(clock, hours, ppm, jitter_s, seed=0):
    """Chunks of 0.1 s of a source that is so much slower than it says, each late by a random time."""
    rng = np.random.default_rng(seed)
    count = round(hours * 36_000)
    late = rng.exponential(jitter_s, count)
    position = 0.1 * np.arange(1, count + 1)
    for at, delay in zip(position, late, strict=True):
        clock.observe(at, 1000 + at * (1 + ppm / 1e6) + delay)
    return position[-1]


@pytest.mark.parametrize("ppm", [0, 200, -150])
def test_a_day_of_drift_moves_no_event(ppm):
    clock = SourceClock()
    end = observe(clock, 24, ppm, 0.02)
    assert clock.at(end) == pytest.approx(1000 + end * (1 + ppm / 1e6), abs=0.02)
    assert clock.drift_ppm == pytest.approx(ppm, abs=60)


@pytest.mark.parametrize("ppm", [200, -150])
def test_a_source_that_is_slower_than_it_says_drifts_up(ppm):
    """Known as soon as two minutes can be compared."""
    clock = SourceClock()
    observe(clock, 1 / 60 + 0.001, ppm, 1e-9)
    assert clock.drift_ppm == 0
    clock = SourceClock()
    observe(clock, 3 / 60, ppm, 1e-9)
    assert clock.drift_ppm == pytest.approx(ppm, abs=1)


def test_nothing_is_known_before_the_first_sample():
    clock = SourceClock()
    assert np.isnan(clock.at(3.0))
    assert clock.drift_ppm == 0


def test_it_knows_before_the_first_minute_is_over():
    clock = SourceClock()
    observe(clock, 1 / 360, 0, 0.05)
    assert clock.at(3.0) == pytest.approx(1003, abs=0.01)


def test_a_delayed_chunk_moves_nothing():
    clock = SourceClock()
    observe(clock, 0.1, 0, 0.01)
    before = clock.at(400.0)
    clock.observe(400.0, 1000 + 400 + 7.0)
    assert clock.at(400.0) == pytest.approx(before, abs=0.02)


def test_the_time_of_day_is_the_systems():
    clock = SystemClock(wall_s=1_800_000_000.0, monotonic_s=50.0)
    assert clock.wall(60.0) == datetime.fromtimestamp(1_800_000_010, timezone.utc)
    assert clock.update(1_800_000_020.1, 70.0) == 0  # slewing
    assert clock.wall(70.0).timestamp() == pytest.approx(1_800_000_020.1)
    assert clock.update(1_800_003_630.1, 80.0) == pytest.approx(3600)
    assert clock.update(1_800_003_640.1, 90.0) == 0


@pytest.mark.parametrize(("moved", "reported"), [(0.49, 0), (-0.49, 0), (0.5, 0.5), (-0.5, -0.5), (-3600, -3600)])
def test_a_clock_is_set_by_half_a_second_or_more(moved, reported):
    clock = SystemClock(wall_s=1024.0, monotonic_s=0.0)
    assert clock.update(1024.0 + moved, 0.0) == pytest.approx(reported)
    assert clock.wall(0.0).timestamp() == pytest.approx(1024.0 + moved)


def observe_steps(steps):
    """Return a clock that has seen 40 minutes of a source, and the worst of its errors, in seconds.

    Samples are late by so much more from each moment on; they are recorded when they come.
    """
    clock, rng, worst = SourceClock(), np.random.default_rng(0), {}
    for number in range(1, 24_000):
        position = 0.1 * number
        step = sum(by for at, by in steps.items() if position > at)
        clock.observe(position, 1000 + position * (1 + 80e-6) + step + rng.exponential(0.01))
        error = clock.at(position) - (1000 + position * (1 + 80e-6) + step)
        since = max((at for at in steps if position > at), default=0.0)
        if position - since > 125:
            worst[since] = max(abs(error), worst.get(since, 0.0))
        assert abs(clock.drift_ppm) <= 500
    return clock, worst


@pytest.mark.parametrize(
    "steps",
    [{900: 30.0}, {900: -30.0}, {620: 0.2, 640: 0.2, 900: -1.0}, {900: 44.0, 1300: -44.0}, {901: 3.0, 931: 3.0}],
    ids=str,
)
def test_a_step_is_no_drift(steps):
    """Half a minute of audio that was lost without a word was a drift of 499 176 ppm, and times were off by 44 s."""
    clock, worst = observe_steps(steps)
    assert max(worst.values()) < 0.06
    assert clock.drift_ppm == pytest.approx(80, abs=120)


@pytest.mark.parametrize("ppm", [88_435, -81_250, 2_000_000, -20_000])
def test_a_rate_that_is_not_what_was_declared_shifts_no_time_for_long(ppm):
    """48 000 Hz that are really 44 100: times were wrong by up to 10.6 s, and there was no drift."""
    clock, rng, worst = SourceClock(), np.random.default_rng(0), 0.0
    for number in range(1, 12_000):
        position = 0.1 * number
        clock.observe(position, 1000 + position * (1 + ppm / 1e6) + rng.exponential(0.01))
        if position > 310:
            worst = max(worst, abs(clock.at(position) - (1000 + position * (1 + ppm / 1e6))))
    assert worst < 0.1
    assert clock.drift_ppm == pytest.approx(ppm, abs=600)


def test_a_step_back_is_seen_at_once():
    """No sample comes before it was recorded."""
    clock = SourceClock()
    observe(clock, 0.1, 0, 0.01)
    clock.observe(360.1, 1000 + 360.1 - 5.0)
    assert clock.at(360.1) == pytest.approx(1000 + 360.1 - 5.0)
    assert clock.drift_ppm == pytest.approx(0, abs=100)
