"""Figures of worked examples."""

from pathlib import Path

import numpy as np
import pytest

from htsat_edge.evaluation.figures import Figure, Truth, active_steps, figures
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.evaluation.playback import RecordingResult

LABELS = ["a", "b"]
STEP_S = 0.5


def events(*found):
    return tuple(Occurrence(*event) for event in found)


def result(found=(), clipwise=(0, 0), scores=None, seconds=10):
    scores = active_steps(found, round(seconds / STEP_S), LABELS, STEP_S) if scores is None else scores
    scores = np.asarray(scores, np.float32)
    return RecordingResult(Path("x.wav"), seconds, np.array(clipwise, float), scores.max(axis=0), scores, list(found))


def test_the_right_events_have_full_marks():
    truth = [events((1, 3, "a")), events((0, 2, "b"), (4, 8, "b")), events()]
    labelled = [Labelled(Path("x"), frozenset(e.label for e in own), own) for own in truth]
    found = figures(
        [result(own, [1 if k in r.labels else 0 for k in LABELS]) for own, r in zip(truth, labelled, strict=True)],
        Truth(labelled, LABELS),
        STEP_S,
    )
    assert list(found) == ["clip_ap", "step_ap", "event_f1", "segment_f1", "psds1", "psds2"]
    assert {name: figure.mean for name, figure in found.items()} == pytest.approx(dict.fromkeys(found, 1.0))
    assert found["event_f1"].drawn.shape == (0, 2)  # of three recordings nothing is drawn


def test_accuracy_where_each_recording_has_one_class():
    labelled = [Labelled(Path("x"), frozenset([label])) for label in "aabbb"]
    right = [result(clipwise=[0.9, 0.1])] * 2 + [result(clipwise=[0.1, 0.9])] * 2 + [result(clipwise=[0.5, 0.4])]
    found = figures(right, Truth(labelled, LABELS), STEP_S)
    assert list(found) == ["accuracy", "clip_ap"]
    assert found["accuracy"].mean == pytest.approx(4 / 5)
    assert found["accuracy"].drawn.shape == (200, 1)


def test_without_labels_there_are_no_figures():
    truth = Truth([Labelled(Path("x"))], LABELS)
    assert figures([result()], truth, STEP_S) == {}
    assert truth.kind == "none"
    assert truth.examples() == [0, 0]


def test_a_class_fills_a_step_when_it_fills_more_than_half_of_it():
    found = active_steps(events((0.2, 1.3, "a"), (1.26, 1.5, "b")), 4, LABELS, STEP_S)
    np.testing.assert_array_equal(found, [[1, 0], [1, 0], [1, 0], [0, 0]])


def test_a_change_is_known_better_than_the_figures():
    """Resamples are the same for both, so what they have in common cancels out."""
    common = np.random.default_rng(0).normal(0.5, 0.2, (200, 1))
    change = Figure(np.array([0.52]), common + 0.02).change_from(Figure(np.array([0.5]), common))
    assert (change.value, change.low, change.high) == pytest.approx((0.02, 0.02, 0.02))
    few = Figure(np.array([0.5]), np.empty((0, 1)))
    assert few.change_from(few) == Interval(value=0, low=None, high=None)
