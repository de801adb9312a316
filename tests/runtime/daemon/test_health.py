"""Each problem is found in what it looks like, and in nothing else; and its end is."""

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.config import HealthConfig
from htsat_edge.runtime.daemon.health import PROBLEMS, HealthMonitor

RATE = 48_000
SECONDS = {name: problem.raise_s + 3 for name, problem in PROBLEMS.items()}


def noise(seconds, level_dbfs=-40, seed=0):
    rng = np.random.default_rng(seed)
    return (10 ** (level_dbfs / 20) * rng.normal(size=round(seconds * RATE))).astype(np.float32)


def hum(seconds, mains):
    t = np.arange(round(seconds * RATE)) / RATE
    waves = sum(np.sin(2 * np.pi * mains * k * t + k) / k for k in (1, 2, 3, 5))
    return (0.05 * waves).astype(np.float32) + noise(seconds, -75)


def low_pass(samples):
    spectrum = np.fft.rfft(samples)
    spectrum[np.fft.rfftfreq(len(samples), 1 / RATE) > 3400] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


SIGNALS = {
    "digital zero": lambda s: np.zeros(round(s * RATE), np.float32),
    "constant": lambda s: np.full(round(s * RATE), 0.01, np.float32),
    "dc offset": lambda s: noise(s) + np.float32(0.3),
    "clipping": lambda s: np.clip(noise(s, 0), -1, 1),
    "too quiet": lambda s: noise(s, -95),
    "mains hum": lambda s: hum(s, 50),
    "dead band": lambda s: low_pass(noise(s)),
}


def listen(monitor, samples, block=4800):
    return [
        (change.problem.name, change.begins)
        for start in range(0, len(samples), block)
        for change in monitor.push(samples[start : start + block])
    ]


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_a_problem_is_reported_once_and_its_end_too(name):
    monitor = HealthMonitor(RATE, HealthConfig())
    assert listen(monitor, noise(10)) == []
    assert listen(monitor, SIGNALS[name](SECONDS[name])) == [(name, True)]
    assert monitor.active == {name}
    assert listen(monitor, noise(4, seed=1)) == []
    assert listen(monitor, noise(4, seed=2)) == [(name, False)]
    assert monitor.active == set()


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_a_moment_of_it_is_no_problem(name):
    monitor = HealthMonitor(RATE, HealthConfig())
    samples = np.concatenate([noise(3), SIGNALS[name](PROBLEMS[name].raise_s - 2), noise(3, seed=1)])
    assert listen(monitor, samples) == []


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("digital zero", 5),
        ("constant", 5),
        ("dc offset", 10),
        ("clipping", 3),
        ("too quiet", 60),
        ("mains hum", 10),
        ("dead band", 30),
    ],
)
def test_a_problem_is_one_after_so_many_seconds_in_a_row(name, seconds):
    samples = SIGNALS[name](seconds)
    monitor = HealthMonitor(RATE, HealthConfig())
    assert listen(monitor, samples[: (seconds - 1) * RATE]) == []
    assert listen(monitor, samples[(seconds - 1) * RATE :]) == [(name, True)]


def test_hum_of_60_hz():
    assert listen(HealthMonitor(RATE, HealthConfig()), hum(15, 60)) == [("mains hum", True)]


def test_real_recordings_are_well(farmyard):
    samples, rate = soundfile.read(farmyard, dtype="float32")
    assert listen(HealthMonitor(rate, HealthConfig()), np.tile(samples, 5)) == []


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 96_000])
def test_any_rate(rate):
    monitor = HealthMonitor(rate, HealthConfig())
    samples = np.random.default_rng(0).normal(0, 0.01, 40 * rate).astype(np.float32)
    assert listen(monitor, samples, 1001) == []
    assert monitor.level_dbfs == pytest.approx(-40, abs=0.5)
    assert listen(monitor, np.zeros(8 * rate, np.float32), 777) == [("digital zero", True)]


def test_the_level_is_of_the_last_second():
    monitor = HealthMonitor(RATE, HealthConfig())
    assert monitor.level_dbfs == -np.inf
    listen(monitor, noise(1.9, -20))
    assert monitor.level_dbfs == pytest.approx(-20, abs=0.1)
    listen(monitor, noise(1.2, -60))  # of which a tenth fills the second that was begun
    assert monitor.level_dbfs == pytest.approx(-60, abs=0.1)


def test_a_gap_ends_a_count_but_not_a_problem():
    monitor = HealthMonitor(RATE, HealthConfig())
    assert listen(monitor, np.zeros(4 * RATE, np.float32)) == []
    monitor.reset()
    assert listen(monitor, np.zeros(4 * RATE, np.float32)) == []
    assert listen(monitor, np.zeros(3 * RATE, np.float32)) == [("digital zero", True)]
    monitor.reset()
    assert monitor.active == {"digital zero"}
    assert listen(monitor, noise(8)) == [("digital zero", False)]


@pytest.mark.parametrize(("full_scale", "changes"), [(0.99, [("clipping", True)]), (0.989, [])])
def test_what_is_clipped_lies_just_below_full_scale_in_some_devices(full_scale, changes):
    samples = noise(5)
    samples[::50], samples[25::50] = full_scale, -full_scale
    assert listen(HealthMonitor(RATE, HealthConfig()), samples) == changes


@pytest.mark.parametrize(("percent", "changes"), [(3.9, [("clipping", True)]), (4.1, [])])
def test_the_limit_of_clipping_is_a_share_of_the_samples(percent, changes):
    samples = noise(5)
    samples[::50], samples[25::50] = 1.0, -1.0  # four percent
    assert listen(HealthMonitor(RATE, HealthConfig(clipped_percent=percent)), samples) == changes


def test_limits_are_the_users():
    quiet = HealthMonitor(RATE, HealthConfig(quiet_dbfs=-100))
    assert listen(quiet, noise(70, -95)) == []
    clipped = HealthMonitor(RATE, HealthConfig(clipped_percent=50))
    assert listen(clipped, SIGNALS["clipping"](10)) == []


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("clipping", lambda rng: rng.uniform(-1, 1, RATE)),  # a percent of white noise at full scale is above 0.99
        ("dc offset", lambda rng: rng.normal(0.1 + rng.normal(0, 0.01), 0.01, RATE)),
        ("too quiet", lambda rng: rng.normal(0, 1e-4 * rng.uniform(0.9, 1.1), RATE)),
    ],
)
def test_a_sound_at_the_limit_is_a_problem_once_an_hour_and_not_without_end(name, signal):
    """Clipping was reported 45 times an hour."""
    rng, monitor = np.random.default_rng(0), HealthMonitor(RATE, HealthConfig())
    changes = [change for _ in range(400) for change in listen(monitor, signal(rng).astype(np.float32), RATE)]
    assert changes in ([], [(name, True)])


@pytest.mark.parametrize(("percent", "over"), [(0.6, False), (0.4, True)])
def test_a_problem_is_over_at_half_of_its_limit(percent, over):
    monitor, samples = HealthMonitor(RATE, HealthConfig()), noise(10)
    assert listen(monitor, SIGNALS["clipping"](5)) == [("clipping", True)]
    samples[:: round(100 / percent)] = 1.0
    assert listen(monitor, samples) == ([("clipping", False)] if over else [])
