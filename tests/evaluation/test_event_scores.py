"""The tool behind two doors, on worked examples."""

import numpy as np
import pytest

from htsat_edge.evaluation.event_scores import PSDS1, PSDS2, EventScores, Timed, pieces
from htsat_edge.evaluation.labels import Occurrence

LABELS = ["a", "b", "never"]
CLIP_S = 10.24


def scene(*events):
    return [Occurrence(*event) for event in events]


def scores_of(events):
    """Framewise that is 1 in just the steps that an event covers."""
    framewise = np.full((32, 3), 0.01, np.float32)
    for event in events:
        framewise[round(event.onset_s / 0.32) : round(event.offset_s / 0.32), LABELS.index(event.label)] = 0.9
    return framewise


def judge(framewise, scenes, labels=LABELS):
    return EventScores([Timed.of_steps(scores, 0.32, CLIP_S) for scores in framewise], scenes, labels)


SCENES = [scene((0.64, 3.2, "a")), scene((1.28, 2.56, "b"), (6.4, 8.0, "b")), scene((0, 1.6, "a"), (3.2, 9.6, "b"))]


def test_a_perfect_model():
    judged = judge(np.stack([scores_of(s) for s in SCENES]), SCENES)
    for f1, _ in (judged.event_f1([0.5] * 3), judged.segment_f1([0.5] * 3)):
        np.testing.assert_allclose(f1, [1, 1, np.nan])
    assert judged.psds(PSDS1) == pytest.approx(1)
    assert judged.psds(PSDS2) == pytest.approx(1)


def test_events_of_a_worked_example():
    """Of b's three events one is found, one comes 0.64 s late, one is missed: F1 = 2 / (2 + 1 + 2)."""
    framewise = np.stack([scores_of(s) for s in SCENES])
    framewise[1, 4:6, 1] = 0.01
    framewise[2, :, 1] = 0.01
    f1, _ = judge(framewise, SCENES).event_f1([0.5] * 3)
    np.testing.assert_allclose(f1, [1, 2 / 5, np.nan])


def test_segments_of_a_worked_example():
    """a sounds in 3 + 1 + 2 seconds; half of the first scene's is missed and one is wrong."""
    framewise = np.full((1, 32, 3), 0.01, np.float32)
    framewise[0, 13:20, 0] = 0.9  # 4.16 s to 6.4 s: segments 4, 5, 6
    judged = judge(framewise, [scene((3.2, 5.76, "a"))])  # segments 3, 4, 5
    f1, _ = judged.segment_f1([0.5] * 3)
    np.testing.assert_allclose(f1, [2 / 3, np.nan, np.nan])


def test_resamples_vary_and_a_class_may_be_missing_from_one():
    framewise = np.stack([scores_of(s) for s in SCENES])
    framewise[1] = 0.01
    _, drawn = judge(framewise, SCENES).event_f1([0.5] * 3, resamples=30)
    assert drawn.shape == (30, 3)
    assert np.isnan(drawn[:, 2]).all()
    assert len(np.unique(drawn[:, 1])) > 2


def test_a_resample_in_which_nothing_sounds_has_no_figure():
    scenes = [SCENES[0], *[[]] * 4]
    _, drawn = judge(np.stack([scores_of(s) for s in scenes]), scenes).event_f1([0.5] * 3, resamples=30)
    assert 0 < np.isnan(drawn[:, 0]).sum() < 30
    assert (drawn[:, 0][~np.isnan(drawn[:, 0])] == 1).all()


@pytest.mark.parametrize("label", ["onset", "macro_average"])
def test_a_class_may_be_called_like_a_column_of_the_tool(label):
    scenes = [[event._replace(label=label) for event in SCENES[0]]]
    judged = judge(np.stack([scores_of(s) for s in SCENES[:1]]), scenes, [label, "b", "never"])
    np.testing.assert_allclose(judged.event_f1([0.5] * 3)[0], [1, np.nan, np.nan])


def test_a_score_on_the_threshold_counts():
    framewise = np.stack([scores_of(s) for s in SCENES])
    framewise[framewise > 0.5] = 0.5
    np.testing.assert_allclose(judge(framewise, SCENES).event_f1([0.5] * 3)[0], [1, 1, np.nan])


def test_a_model_of_one_class():
    """The tool fails on cross-triggers where there is nothing to cross."""
    scenes = [scene((0.64, 3.2, "a"))]
    judged = judge(np.stack([scores_of(s) for s in scenes]), scenes)
    assert judged.psds(PSDS2) == pytest.approx(1)


def test_found_events_are_judged_as_they_are():
    """Not on the grid of the model: the first is right, the second begins too late; the third is beyond the end."""
    found = scene((0.7, 3.1, "a"), (6.75, 8.0, "b"), (10, 10.3, "never"))
    truth = scene((0.64, 3.2, "a"), (6.4, 8.0, "b"))
    judged = EventScores([Timed.of_events(found, CLIP_S, LABELS)], [truth], LABELS)
    np.testing.assert_allclose(judged.event_f1([0.5] * 3)[0], [1, 0, np.nan])


def test_pieces_of_a_long_recording():
    timed = Timed.of_steps(np.arange(5, dtype=np.float32)[:, None], 0.32, 1.5)
    first, second, third = pieces(timed, scene((0.1, 0.9, "a"), (1.3, 1.7, "b")), 2)
    np.testing.assert_array_equal(np.concatenate([first[0].scores, second[0].scores, third[0].scores]), timed.scores)
    assert [np.round(piece.edges_s, 2).tolist() for piece, _ in (first, second, third)] == [
        [0, 0.32, 0.64],
        [0, 0.32, 0.64],
        [0, 0.22],
    ]
    assert first[1] == [(0.1, 0.64, "a")]
    assert second[1][0].onset_s == 0
    assert second[1][0].offset_s == pytest.approx(0.26)
    assert third[1][0].onset_s == pytest.approx(0.02)
    assert third[1][0].offset_s == pytest.approx(0.22)


def test_no_event_is_found():
    judged = EventScores([Timed.of_events([], CLIP_S, LABELS)], [SCENES[0]], LABELS)
    np.testing.assert_allclose(judged.event_f1([0.5] * 3)[0], [0, np.nan, np.nan])
