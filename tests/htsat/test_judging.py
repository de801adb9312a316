import numpy as np
import pytest

from htsat_edge.htsat.figures import Outputs
from htsat_edge.htsat.judging import count_rises, f_score, intervals, raise_over_quiet, resample_groups, tune


def test_f_score_of_a_worked_example():
    """Two hits, one false alarm, two missed: precision 2/3, recall 1/2."""
    found = np.array([[True], [True], [True], [False], [False]])
    active = np.array([[True], [True], [False], [True], [True]])
    assert f_score(found, active) == pytest.approx(1.5 * (2 / 3) * 0.5 / (0.5 * (2 / 3) + 0.5))


def test_thresholds_separate_what_can_be_separated():
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((50, 8, 2)) < 0.3, 4, axis=1)
    framewise = np.where(active, [0.8, 0.4], [0.5, 0.12]).astype(np.float32)
    thresholds, medians = tune(framewise, active, trust=[1, 1])
    assert 0.5 < thresholds[0] <= 0.8
    assert 0.12 < thresholds[1] <= 0.4
    assert medians == [1, 1]


def test_a_flickering_class_gets_a_median():
    active = np.zeros((20, 32, 1), bool)
    active[:, 8:24] = True
    framewise = np.where(active, 0.9, 0.05).astype(np.float32)
    framewise[:, 2::7] = 0.95  # single steps, inside and outside
    _, medians = tune(framewise, active, trust=[1])
    assert medians[0] > 1


def test_without_trust_every_class_has_the_same_threshold():
    rng = np.random.default_rng(0)
    active = rng.random((50, 32, 3)) < 0.3
    thresholds, medians = tune(
        (active * 0.5 + rng.random(active.shape) * 0.4).astype(np.float32), active, trust=[0, 0, 0]
    )
    assert len(set(thresholds)) == 1
    assert len(set(medians)) == 1


def test_thresholds_rise_over_room_tone_but_not_out_of_reach():
    quiet = np.zeros((2, 32, 3), np.float32)
    quiet[1, 5] = [0.1, 0.623, 0.97]
    raised = raise_over_quiet([0.3, 0.5, 0.4], quiet, allowed=0)
    assert raised == pytest.approx([0.3, 0.63, 0.9])
    assert count_rises(quiet, raised) == [0, 0, 1]


def test_a_few_rises_may_be_allowed():
    quiet = np.zeros((3, 32, 1), np.float32)
    quiet[:, 7, 0] = [0.4, 0.5, 0.6]
    for allowed, threshold in enumerate([0.61, 0.51, 0.41, 0.3]):
        assert raise_over_quiet([0.3], quiet, allowed) == [threshold]


def test_rises_are_counted_in_each_window():
    framewise = np.zeros((2, 32, 1), np.float32)
    framewise[0, [0, 1, 2, 9]] = 0.8
    framewise[1, 31] = 0.8
    assert count_rises(framewise, [0.5]) == [3]


def test_groups_are_drawn_whole():
    clipwise = np.arange(6, dtype=np.float32).reshape(6, 1)
    outputs = Outputs(clipwise, np.zeros(6, np.intp), np.zeros((1, 32, 1)), np.zeros((1, 32, 1), bool))
    for drawn in resample_groups(outputs, ["x", "x", "x", "y", "z", "z"]):
        counts = [int((drawn.clipwise == value).sum()) for value in range(6)]
        assert counts[0] == counts[1] == counts[2]
        assert counts[4] == counts[5]
        assert counts[0] + counts[3] + counts[4] == 3


def test_intervals_hold_nine_of_ten_resamples_and_skip_what_is_not_known():
    drawn = np.column_stack([np.linspace(0, 1, 101), np.full(101, np.nan)])
    mean, (known, unknown) = intervals(np.array([0.4, np.nan]), drawn)
    assert (known.value, known.low, known.high) == pytest.approx((0.4, 0.05, 0.95))
    assert unknown.value is None
    assert str(unknown) == "–"
    assert mean.value == pytest.approx(0.4)
