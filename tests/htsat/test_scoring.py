from dataclasses import replace

import numpy as np
import pytest

from htsat.scenes import Occurrence, Scene
from htsat.scoring import PSDS1, PSDS2, SceneScores

LABELS = ["a", "b", "never"]


def scene(*events):
    return Scene(np.zeros((1024, 64)), np.zeros((32, 3)), tuple(Occurrence(*event) for event in events), 10.24)


def scores_of(scene):
    """Framewise that is 1 in just the steps that an event covers."""
    framewise = np.full((32, 3), 0.01, np.float32)
    for event in scene.events:
        framewise[round(event.onset_s / 0.32) : round(event.offset_s / 0.32), LABELS.index(event.label)] = 0.9
    return framewise


SCENES = [scene((0.64, 3.2, "a")), scene((1.28, 2.56, "b"), (6.4, 8.0, "b")), scene((0, 1.6, "a"), (3.2, 9.6, "b"))]


def test_a_perfect_model():
    judged = SceneScores(np.stack([scores_of(s) for s in SCENES]), SCENES, LABELS)
    for f1, _ in (judged.event_f1([0.5] * 3), judged.segment_f1([0.5] * 3)):
        np.testing.assert_allclose(f1, [1, 1, np.nan])
    assert judged.psds(PSDS1) == pytest.approx(1)
    assert judged.psds(PSDS2) == pytest.approx(1)


def test_events_of_a_worked_example():
    """Of b's three events one is found, one comes 0.64 s late, one is missed: F1 = 2 / (2 + 1 + 2)."""
    framewise = np.stack([scores_of(s) for s in SCENES])
    framewise[1, 4:6, 1] = 0.01
    framewise[2, :, 1] = 0.01
    f1, _ = SceneScores(framewise, SCENES, LABELS).event_f1([0.5] * 3)
    np.testing.assert_allclose(f1, [1, 2 / 5, np.nan])


def test_segments_of_a_worked_example():
    """a sounds in 3 + 1 + 2 seconds; half of the first scene's is missed and one is wrong."""
    framewise = np.full((1, 32, 3), 0.01, np.float32)
    framewise[0, 13:20, 0] = 0.9  # 4.16 s to 6.4 s: segments 4, 5, 6
    judged = SceneScores(framewise, [scene((3.2, 5.76, "a"))], LABELS)  # segments 3, 4, 5
    f1, _ = judged.segment_f1([0.5] * 3)
    np.testing.assert_allclose(f1, [2 / 3, np.nan, np.nan])


def test_resamples_vary_and_a_class_may_be_missing_from_one():
    framewise = np.stack([scores_of(s) for s in SCENES])
    framewise[1] = 0.01
    _, drawn = SceneScores(framewise, SCENES, LABELS).event_f1([0.5] * 3, resamples=30)
    assert drawn.shape == (30, 3)
    assert np.isnan(drawn[:, 2]).all()
    assert len(np.unique(drawn[:, 1])) > 2


@pytest.mark.parametrize("label", ["onset", "macro_average"])
def test_a_class_may_be_called_like_a_column_of_the_tool(label):
    scenes = [Scene(s.log_mel, s.target, tuple(replace(e, label=label) for e in s.events), 10.24) for s in SCENES[:1]]
    judged = SceneScores(np.stack([scores_of(s) for s in SCENES[:1]]), scenes, [label, "b", "never"])
    np.testing.assert_allclose(judged.event_f1([0.5] * 3)[0], [1, np.nan, np.nan])


def test_a_score_on_the_threshold_counts():
    framewise = np.stack([scores_of(s) for s in SCENES])
    framewise[framewise > 0.5] = 0.5
    np.testing.assert_allclose(SceneScores(framewise, SCENES, LABELS).event_f1([0.5] * 3)[0], [1, 1, np.nan])


def test_a_model_of_one_class():
    """The tool fails on cross-triggers where there is nothing to cross."""
    scenes = [scene((0.64, 3.2, "a"))]
    judged = SceneScores(np.stack([scores_of(s) for s in scenes]), scenes, LABELS)
    assert judged.psds(PSDS2) == pytest.approx(1)
