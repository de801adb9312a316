from dataclasses import replace

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.windows import WindowGrid
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.groups import Group
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
        mirror_s=None,
        early_margin=0.5,
        threshold=None,
        release=0.6,
        min_length_s=0.3,
        merge_gap_s=0.3,
        labels=None,
    )


def test_the_defaults_fit_every_model(info):
    Settings().validate(info)
    assert Settings().grid(info) == WindowGrid(1024, 32, 32, hop_steps=1, shift_steps=0.25, mirrored_steps=2)
    assert Settings().look_ahead_steps(info) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(hop_s=0.07), "hop of 0.07 s: want between 0.08 and 10.24 s"),
        (Settings(threshold="x"), "threshold: 'x' is not a number"),
        (Settings(hop_s="1"), "hop_s: '1' is not a number"),
        (Settings(thresholds={"Dog": "0.5"}), "thresholds: Dog: '0.5' is not a number"),
        (Settings(hop_s=-1), "hop_s: -1 is not a number of seconds from 0 to 3600"),
        (Settings(hop_s=float("nan")), "hop_s: nan is not a number of seconds from 0 to 3600"),
        (Settings(hop_s=11), "hop of 11 s: want between 0.08 and 10.24 s"),
        (
            Settings(look_ahead_s=9.6),
            "look_ahead_s and mirror_s: 10.24 s together are not shorter than a window, 10.24 s",
        ),
        (
            Settings(look_ahead_s=10.24, mirror_s=0),
            "look_ahead_s and mirror_s: 10.24 s together are not shorter than a window, 10.24 s",
        ),
        (Settings(early_margin=-1), "early_margin: -1 is not a number of logits from 0 on"),
        (Settings(early_margin=float("nan")), "early_margin: nan is not a number of logits from 0 on"),
        (Settings(mirror_s=-1), "mirror_s: -1 is not a number of seconds from 0 to 3600"),
        (Settings(look_ahead_s=-1), "look_ahead_s: -1 is not a number of seconds from 0 to 3600"),
        (Settings(min_length_s=1e300), "min_length_s: 1e+300 is not a number of seconds from 0 to 3600"),
        (Settings(min_length_s=-0.1), "min_length_s: -0.1 is not a number of seconds from 0 to 3600"),
        (Settings(merge_gap_s=float("inf")), "merge_gap_s: inf is not a number of seconds from 0 to 3600"),
        (Settings(threshold=0), "threshold: 0 is not above 0 and at most 1"),
        (Settings(threshold=1.5), "threshold: 1.5 is not above 0 and at most 1"),
        (Settings(release=0), "release: 0 is not above 0 and at most 1"),
        (Settings(release=1.1), "release: 1.1 is not above 0 and at most 1"),
        (Settings(labels=("Dog", "Fwl")), "labels: 'Fwl' is no class of this model, meant Fowl?"),
        (Settings(labels=("Pest",), groups={"Pets": ["Dog"]}), "labels: 'Pest' is no class of this model, meant Pets?"),
        (
            Settings(labels=("Dog",), groups={"Pets": ["Dog"]}),
            "labels: 'Dog' is a part of the group Pets: write 'Pets'",
        ),
        (Settings(groups={"Pets": ["Dgo"]}), "groups: Pets: 'Dgo' is no class of this model, meant Dog?"),
        (Settings(thresholds={"Dgo": 0.5}), "thresholds: 'Dgo' is no class of this model, meant Dog?"),
        (Settings(thresholds={"Dog": 1.5}), "thresholds: Dog: 1.5 is not above 0 and at most 1"),
        (Settings(confirm_s={"Fwl": 1}), "confirm_s: 'Fwl' is no class of this model, meant Fowl?"),
        (Settings(confirm_s={"Dog": 10.24}), "confirm_s: Dog: 10.24 s: want less than a window, 10.24 s"),
        (Settings(confirm_s={"Dog": -1}), "confirm_s: Dog: -1 s: want less than a window, 10.24 s"),
        (Settings(confirm_s={"Dog": float("nan")}), "confirm_s: Dog: nan s: want less than a window, 10.24 s"),
    ],
)
def test_what_a_model_cannot_do_is_refused(settings, message, info):
    with pytest.raises(HtsatEdgeError) as raised:
        settings.validate(info)
    assert str(raised.value) == message


def test_a_hop_is_a_frame_at_least(info):
    fine = info.model_copy(update={"steps": 1024, "step_s": 0.01})
    Settings(hop_s=0.01).validate(fine)
    with pytest.raises(HtsatEdgeError, match=r"^hop of 0.0025 s: want between 0.01 and 10.24 s$"):
        Settings(hop_s=0.0025).validate(fine)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(hop_s=0.08),
        Settings(hop_s=10.24),
        Settings(look_ahead_s=0, min_length_s=0, merge_gap_s=0),
        Settings(look_ahead_s=9.28),
        Settings(look_ahead_s=9.92, mirror_s=0),
        Settings(threshold=1, release=1),
    ],
)
def test_what_a_model_can_just_do(settings, info):
    settings.validate(info)


@pytest.mark.parametrize(("seconds", "steps"), [(0.32, 1), (0.47, 1), (0.49, 2), (10.24, 32)])
def test_seconds_become_the_nearest_steps(seconds, steps, info):
    settings = Settings(look_ahead_s=seconds, mirror_s=seconds)
    assert settings.look_ahead_steps(info) == settings.mirror_steps(info) == steps


@pytest.mark.parametrize(
    ("hop_s", "steps"), [(0.08, 0.25), (0.11, 0.25), (0.13, 0.5), (0.32, 1), (0.47, 1.5), (10.19, 31.75), (10.24, 32)]
)
def test_a_hop_becomes_the_nearest_quarters_of_a_step(hop_s, steps, info):
    assert Settings(hop_s=hop_s).grid(info).hop_steps == steps


@pytest.mark.parametrize(("hop_s", "shift"), [(0.24, 0), (0.32, 0.25), (0.48, 0.25), (5.12, 0.25), (5.2, 0)])
def test_every_second_window_is_early_where_windows_overlap(hop_s, shift, info):
    """Not with a hop below a step, which lies differently on the steps by itself."""
    assert Settings(hop_s=hop_s).grid(info).shift_steps == shift


@pytest.mark.parametrize(("hop_s", "mirrored"), [(0.32, 8), (5.12, 8), (7.68, 8), (7.76, 7), (9.92, 1), (10.24, 0)])
def test_every_step_is_heard_by_a_window(hop_s, mirrored, info):
    """Of 32 steps, the hop and a shift are heard anew; what is mirrored is the rest at most."""
    assert Settings(hop_s=hop_s, mirror_s=2.56).grid(info).mirrored_steps == mirrored


@pytest.mark.parametrize(("steps", "look_ahead", "mirrored"), [(5, 1, 0), (30, 7, 1), (100, 25, 6)])
def test_the_defaults_are_whole_steps(steps, look_ahead, mirrored, info):
    other = info.model_copy(update={"steps": steps})
    found = Settings().grid(other).hop_steps, Settings().look_ahead_steps(other), Settings().mirror_steps(other)
    assert found == (1, look_ahead, mirrored)
    assert [type(steps) for steps in found] == [int, int, int]


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
    ("settings", "thresholds"),
    [
        (Settings(), [0.5, 0.5]),
        (Settings(groups={"Animal": Group(labels=["Dog", "Fowl"], threshold=0.25)}), [0.5, 0.25]),
        (Settings(groups={"Animal": Group(labels=["Dog", "Fowl"], threshold=0.25)}, threshold=0.75), [0.75, 0.75]),
        (Settings(thresholds={"Animal": 0.125, "Speech": 0.875}, threshold=0.75), [0.875, 0.125]),
        (Settings(labels=("Animal",)), [np.inf, 0.5]),
    ],
)
def test_the_threshold_of_a_group(settings, thresholds, info):
    """What is said of it, else of all, else its own, else the highest of its labels', 0.5 and 0.25."""
    settings = replace(settings, groups=settings.groups or {"Animal": ["Dog", "Fowl"]})
    settings.validate(info)
    classes = settings.classes(info)
    assert (classes.labels, classes.columns) == (["Speech", "Animal"], [[2], [0, 1]])
    assert classes.thresholds.tolist() == thresholds
    assert settings.reported(info) == classes.reported == classes.labels[-np.isfinite(thresholds).sum() :]


def test_the_evidence_and_the_median_of_a_group(info):
    info = info.model_copy(update={"median_steps": {"Dog": 5, "Fowl": 3}})
    settings = Settings(groups={"Animal": ["Dog", "Fowl"]}, confirm_s={"Animal": 1.0})
    assert settings.classes(info).median_steps == [1, 5]
    assert settings.classes(info).confirm_steps == [0, 3]
    assert settings.rule(info).min_length.tolist() == [1, 3]
    assert replace(settings, min_length_s=2.0).rule(info).min_length.tolist() == [6, 6]


def test_the_most_specific_class_where_labels_are_a_tree(info):
    tree = info.model_copy(update={"parents": {"Dog": ["Fowl"]}})
    assert Settings().rule(info).below is None
    assert np.argwhere(Settings().rule(tree).below).tolist() == [[0, 1]]
    assert Settings(most_specific=False).rule(tree).below is None
    assert Settings(labels=("Fowl", "Speech")).rule(tree).below is None


@pytest.mark.parametrize(
    ("min_length_s", "merge_gap_s", "steps"), [(0.3, 0.7, (1, 2)), (0, 0, (1, 0)), (1, 1.3, (3, 4))]
)
def test_lengths_become_steps(min_length_s, merge_gap_s, steps, info):
    rule = Settings(min_length_s=min_length_s, merge_gap_s=merge_gap_s).rule(info)
    assert (rule.min_length.tolist(), rule.merge_gap) == ([steps[0]] * 3, steps[1])


def test_the_stated_latency(info):
    """The sound's first step, the hop and a shift, a block of frames and half a frame's samples."""
    around_s = 8 * 0.01 + 0.016
    assert Settings().latency_s(info) == pytest.approx(0.32 + 0.32 + 0.08 + around_s)
    assert Settings(hop_s=1.28).latency_s(info) == pytest.approx(0.32 + 1.28 + 0.08 + around_s)
    assert Settings(hop_s=0.08).latency_s(info) == pytest.approx(0.32 + 0.08 + around_s)
    assert Settings(min_length_s=1).latency_s(info) == pytest.approx(0.32 + 0.4 + 2 * 0.32 + around_s)
    assert Settings(confirm_s={"Dog": 1}).latency_s(info) == pytest.approx(0.32 + 0.4 + 2 * 0.32 + around_s)
    slow = info.model_copy(update={"median_steps": {"Dog": 5, "Fowl": 3}})
    assert Settings().latency_s(slow) == pytest.approx(0.32 + 0.4 + around_s)
    assert Settings(early_margin=None).latency_s(slow) == Settings().settled_s(slow)


def test_final_scores_are_later(info):
    """By the look-ahead and half a median in place of the first step."""
    around_s = 8 * 0.01 + 0.016
    assert Settings().settled_s(info) == pytest.approx(2.56 + 0.4 + around_s)
    assert Settings(look_ahead_s=0).settled_s(info) == pytest.approx(0.4 + around_s)
    assert Settings(min_length_s=1).settled_s(info) == pytest.approx(2.56 + 0.4 + 2 * 0.32 + around_s)
    slow = info.model_copy(update={"median_steps": {"Dog": 5, "Fowl": 3}})
    assert Settings().settled_s(slow) == pytest.approx(2.56 + 0.4 + 2 * 0.32 + around_s)


@pytest.mark.parametrize(("margin", "early"), [(1.0, [0.7311, 0.4754]), (0.0, [0.5, 0.25]), (None, None)])
def test_what_an_early_start_must_reach(margin, early, info):
    """1 in logits makes odds of e to 1 of 1 to 1, and of e to 3 of 1 to 3."""
    found = Settings(early_margin=margin).rule(info).early
    if early is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, [early[0], early[1], early[0]], atol=5e-5)


def test_what_starts_early_is_sure_to_be_the_most_specific(info):
    tree = info.model_copy(update={"parents": {"Dog": ["Fowl"]}})
    assert np.isinf(Settings().rule(tree).early).tolist() == [False, True, False]
    assert np.isinf(Settings(most_specific=False).rule(tree).early).tolist() == [False] * 3
    assert np.isinf(Settings(labels=("Fowl",)).rule(tree).early).tolist() == [True, False, True]
