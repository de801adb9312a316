import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.windows import WindowGrid
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.settings import Settings


@pytest.fixture
def info():
    """Three classes, one with a threshold of its own, in windows of 10.24 s."""
    return ModelInfo(
        name="three",
        front_end={},
        frames=1024,
        steps=32,
        step_s=0.32,
        labels=["Dog", "Fowl", "Speech"],
        thresholds={"Fowl": 0.25},
    )


def test_the_defaults():
    """As the documentation has them."""
    assert Settings() == Settings(
        hop_s=None,
        look_ahead_s=None,
        threshold=None,
        release=0.6,
        min_length_s=0.3,
        merge_gap_s=0.7,
        labels=None,
    )


def test_the_defaults_fit_every_model(info):
    Settings().validate(info)
    assert Settings().grid(info) == WindowGrid(1024, 32, 32, hop_steps=4)
    assert Settings().look_ahead_steps(info) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(hop_s=0.1), "hop of 0.1 s: want between 0.32 and 10.24 s"),
        (Settings(hop_s=-1), "hop_s: -1 is not a number of seconds from 0 on"),
        (Settings(hop_s=float("nan")), "hop_s: nan is not a number of seconds from 0 on"),
        (Settings(hop_s=11), "hop of 11 s: want between 0.32 and 10.24 s"),
        (Settings(look_ahead_s=10.24), "look-ahead of 10.24 s is not shorter than a window, 10.24 s"),
        (Settings(look_ahead_s=-1), "look_ahead_s: -1 is not a number of seconds from 0 on"),
        (Settings(min_length_s=-0.1), "min_length_s: -0.1 is not a number of seconds from 0 on"),
        (Settings(merge_gap_s=float("inf")), "merge_gap_s: inf is not a number of seconds from 0 on"),
        (Settings(threshold=0), "threshold: 0 is not above 0 and at most 1"),
        (Settings(threshold=1.5), "threshold: 1.5 is not above 0 and at most 1"),
        (Settings(release=0), "release: 0 is not above 0 and at most 1"),
        (Settings(release=1.1), "release: 1.1 is not above 0 and at most 1"),
        (Settings(labels=("Dog", "Fwl")), "labels: 'Fwl' is no class of this model, meant Fowl?"),
    ],
)
def test_what_a_model_cannot_do_is_refused(settings, message, info):
    with pytest.raises(HtsatEdgeError) as raised:
        settings.validate(info)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "settings",
    [
        Settings(hop_s=0.32),
        Settings(hop_s=10.24),
        Settings(look_ahead_s=0, min_length_s=0, merge_gap_s=0),
        Settings(look_ahead_s=9.92),
        Settings(threshold=1, release=1),
    ],
)
def test_what_a_model_can_just_do(settings, info):
    settings.validate(info)


@pytest.mark.parametrize(("hop_s", "steps"), [(0.32, 1), (0.47, 1), (0.49, 2), (10.24, 32)])
def test_seconds_become_the_nearest_steps(hop_s, steps, info):
    assert Settings(hop_s=hop_s).grid(info).hop_steps == steps
    assert Settings(look_ahead_s=hop_s).look_ahead_steps(info) == steps


@pytest.mark.parametrize(("steps", "hop", "look_ahead"), [(5, 1, 1), (30, 3, 7), (100, 12, 25)])
def test_the_defaults_are_whole_steps(steps, hop, look_ahead, info):
    other = info.model_copy(update={"steps": steps})
    found = Settings().grid(other).hop_steps, Settings().look_ahead_steps(other)
    assert found == (hop, look_ahead)
    assert [type(steps) for steps in found] == [int, int]


def test_thresholds_are_the_models_own(info):
    rule = Settings().rule(info)
    np.testing.assert_array_equal(rule.threshold, np.array([0.5, 0.25, 0.5], np.float32))
    np.testing.assert_allclose(rule.release, [0.3, 0.15, 0.3])
    assert rule.threshold.dtype == rule.release.dtype == np.float32


def test_a_threshold_for_every_class(info):
    rule = Settings(threshold=0.8, release=0.5).rule(info)
    np.testing.assert_array_equal(rule.threshold, np.full(3, 0.8, np.float32))
    np.testing.assert_array_equal(rule.release, np.full(3, 0.4, np.float32))


def test_what_is_not_reported_never_reaches_its_threshold(info):
    rule = Settings(labels=("Speech", "Dog")).rule(info)
    assert rule.threshold.tolist() == [0.5, np.inf, 0.5]
    assert rule.release[1] == np.inf


@pytest.mark.parametrize(
    ("min_length_s", "merge_gap_s", "steps"), [(0.3, 0.7, (1, 2)), (0, 0, (1, 0)), (1, 1.3, (3, 4))]
)
def test_lengths_become_steps(min_length_s, merge_gap_s, steps, info):
    rule = Settings(min_length_s=min_length_s, merge_gap_s=merge_gap_s).rule(info)
    assert (rule.min_length, rule.merge_gap) == steps


def test_the_stated_latency(info):
    """Hop and look-ahead, a block of frames and half a frame's samples; what else waits comes on top."""
    around_s = 8 * 0.01 + 0.016
    assert Settings().latency_s(info) == pytest.approx(1.28 + 2.56 + around_s)
    assert Settings(hop_s=0.32, look_ahead_s=0).latency_s(info) == pytest.approx(0.32 + around_s)
    assert Settings(min_length_s=1).latency_s(info) == pytest.approx(1.28 + 2.56 + 2 * 0.32 + around_s)
    slow = info.model_copy(update={"median_steps": {"Dog": 5, "Fowl": 3}})
    assert Settings().latency_s(slow) == pytest.approx(1.28 + 2.56 + 2 * 0.32 + around_s)
