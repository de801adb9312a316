"""What is lost and gained, on worked examples; and every line of the budget."""

from pathlib import Path

import numpy as np
import pytest
from htsat_edge.evaluation.comparison import (
    Budget,
    Figure,
    Measured,
    Truth,
    active_steps,
    broken_by,
    figures,
    recommend,
    unmatched,
)
from htsat_edge.evaluation.labels import Labelled, Occurrence, join
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.evaluation.playback import Heard
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = ["a", "b"]
STEP_S = 0.5


def events(*found):
    return tuple(Occurrence(*event) for event in found)


def heard(found=(), clipwise=(0, 0), scores=None, seconds=10):
    scores = active_steps(found, round(seconds / STEP_S), LABELS, STEP_S) if scores is None else scores
    scores = np.asarray(scores, np.float32)
    return Heard(Path("x.wav"), seconds, np.array(clipwise, float), scores.max(axis=0), scores, list(found))


def test_the_right_events_have_full_marks():
    truth = [events((1, 3, "a")), events((0, 2, "b"), (4, 8, "b")), events()]
    labelled = [Labelled(Path("x"), frozenset(e.label for e in own), own) for own in truth]
    found = figures(
        [heard(own, [1 if k in r.labels else 0 for k in LABELS]) for own, r in zip(truth, labelled, strict=True)],
        Truth(labelled, LABELS),
        STEP_S,
    )
    assert list(found) == ["clip_ap", "step_ap", "event_f1", "segment_f1", "psds1", "psds2"]
    assert {name: figure.mean for name, figure in found.items()} == pytest.approx(dict.fromkeys(found, 1.0))
    assert found["event_f1"].drawn.shape == (0, 2)  # of three recordings nothing is drawn


def test_one_class_each_is_told_apart():
    labelled = [Labelled(Path("x"), frozenset([label])) for label in "aabbb"]
    right = [heard(clipwise=[0.9, 0.1])] * 2 + [heard(clipwise=[0.1, 0.9])] * 2 + [heard(clipwise=[0.5, 0.4])]
    found = figures(right, Truth(labelled, LABELS), STEP_S)
    assert list(found) == ["accuracy", "clip_ap"]
    assert found["accuracy"].mean == pytest.approx(4 / 5)
    assert found["accuracy"].drawn.shape == (200, 1)


def test_without_labels_there_are_no_figures():
    truth = Truth([Labelled(Path("x"))], LABELS)
    assert figures([heard()], truth, STEP_S) == {}
    assert truth.kind == "none"
    assert truth.examples() == [0, 0]


def test_a_class_fills_a_step_when_it_fills_more_than_half_of_it():
    found = active_steps(events((0.2, 1.3, "a"), (1.26, 1.5, "b")), 4, LABELS, STEP_S)
    np.testing.assert_array_equal(found, [[1, 0], [1, 0], [1, 0], [0, 0]])


def test_lost_and_gained():
    before = [events((1, 3, "a"), (5, 6, "b")), events((0, 1, "a"))]
    after = [events((2.9, 4, "a"), (6, 7, "b")), events()]
    assert unmatched(before, after) == [(5, 6, "b"), (0, 1, "a")]
    assert unmatched(after, before) == [(6, 7, "b")]


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_unmatched_events_are_those_of_the_slow_obvious_twin(seed):
    rng = np.random.default_rng(seed)

    def draw():
        times = rng.integers(0, 12, (6, 2))
        return join(Occurrence(int(a), int(a + b + 1), str(rng.choice(list("ab")))) for a, b in times // 2)

    own, theirs = draw(), draw()
    wanted = [
        e
        for e in own
        if not any(o.label == e.label and o.onset_s < e.offset_s and e.onset_s < o.offset_s for o in theirs)
    ]
    assert unmatched([own], [theirs]) == wanted


def test_a_change_is_known_better_than_the_figures():
    """Resamples are the same for both, so what they have in common cancels out."""
    common = np.random.default_rng(0).normal(0.5, 0.2, (200, 1))
    change = Figure(np.array([0.52]), common + 0.02).change_from(Figure(np.array([0.5]), common))
    assert (change.value, change.low, change.high) == pytest.approx((0.02, 0.02, 0.02))
    few = Figure(np.array([0.5]), np.empty((0, 1)))
    assert few.change_from(few) == Interval(value=0, low=None, high=None)


def measured(snr_db=40.0, changes=(), event_f1=(0.5, 0.5), clip_ms=10.0, broken=(), events=20, lost=0):
    return Measured(
        sha256="",
        size=1,
        clip_ms=clip_ms,
        logit_snr_db=snr_db,
        worst_clip=None,
        events=events,
        events_lost=lost,
        events_gained=0,
        false_events_per_hour=None,
        figures={},
        changes={name: Interval(value=value, low=None, high=None) for name, value in changes},
        class_figures={k: {"event_f1": value} for k, value in zip(LABELS, event_f1, strict=True)},
        broken=list(broken),
    )


@pytest.mark.parametrize(
    ("other", "lines"),
    [
        (measured(), []),
        (measured(snr_db=None), []),
        (measured(changes=[("event_f1", -0.0099), ("segment_f1", -0.5), ("clip_ap", 0.2)]), []),
        (measured(changes=[("event_f1", -0.02)]), ["event F1 falls by 2.0 points, allowed are 1"]),
        (measured(snr_db=29.9), ["logits are within 29.9 dB of fp32, want 30"]),
        (measured(event_f1=(0.4, 0.4)), ["event F1 of a falls by 10.0 points, allowed are 5"]),  # b sounds once
        (measured(event_f1=(0.5, 0)), ["event F1 of b falls by 50.0 points, allowed are 5"]),
        (measured(event_f1=(None, 0.5)), []),
    ],
)
def test_what_breaks_the_budget_is_named(other, lines):
    often = events(*((t, t + 0.5, "a") for t in range(20)), (0, 1, "b"))
    truth = Truth([Labelled(Path("x"), frozenset(LABELS), often)], LABELS)
    assert broken_by(other, measured(), truth, Budget()) == lines


@pytest.mark.parametrize(("lost", "lines"), [(2, []), (3, ["3 of 20 events of fp32 are lost, allowed are 10 %"])])
def test_where_nothing_is_known_no_more_than_a_tenth_may_be_lost(lost, lines):
    truth = Truth([Labelled(Path("x"))], LABELS)
    assert broken_by(measured(lost=lost), measured(), truth, Budget()) == lines


def test_the_fastest_within_the_budget_is_recommended_if_it_is_worth_it():
    fp32, slow, fast = measured(clip_ms=10), measured(clip_ms=9.5), measured(clip_ms=6)
    assert recommend({"fp32": fp32}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "a": slow}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "a": slow, "b": fast}, "fp32") == "b"
    assert recommend({"fp32": fp32, "b": measured(clip_ms=6, broken=["x"])}, "fp32") == "fp32"
    assert recommend({"fp32": measured(clip_ms=10, events=19), "b": fast}, "fp32") == "fp32"
    # The two forms of full precision give the same: the faster one needs no gain, and no events.
    assert recommend({"fp32": measured(clip_ms=10, events=19), "cpu-fp32": slow}, "fp32") == "cpu-fp32"
    assert recommend({"fp32": fp32, "cpu-fp32": measured(clip_ms=11)}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "cpu-fp32": measured(clip_ms=6, broken=["x"])}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "cpu-fp32": measured(clip_ms=6.5), "b": fast}, "fp32") == "cpu-fp32"
