"""Every line of the budget, and the recommendation."""

from pathlib import Path

import pytest

from htsat_edge.evaluation.budget import Budget, broken_by, recommend
from htsat_edge.evaluation.comparison import Measured
from htsat_edge.evaluation.figures import Truth
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.metrics import Interval

LABELS = ["a", "b"]


def events(*found):
    return tuple(Occurrence(*event) for event in found)


def measured(snr_db=40.0, changes=(), event_f1=(0.5, 0.5), window_ms=10.0, broken=(), events=20, lost=0):
    return Measured(
        sha256="",
        size=1,
        clip_ms=window_ms,
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
        (measured(snr_db=29.9), ["the raw outputs have a signal to noise of 29.9 dB, want 30"]),
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
    fp32, slow, fast = measured(window_ms=10), measured(window_ms=9.5), measured(window_ms=6)
    assert recommend({"fp32": fp32}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "a": slow}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "a": slow, "b": fast}, "fp32") == "b"
    assert recommend({"fp32": fp32, "b": measured(window_ms=6, broken=["x"])}, "fp32") == "fp32"
    assert recommend({"fp32": measured(window_ms=10, events=19), "b": fast}, "fp32") == "fp32"
    # The two forms of full precision give the same: the faster one needs no gain, and no events.
    assert recommend({"fp32": measured(window_ms=10, events=19), "cpu-fp32": slow}, "fp32") == "cpu-fp32"
    assert recommend({"fp32": fp32, "cpu-fp32": measured(window_ms=11)}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "cpu-fp32": measured(window_ms=6, broken=["x"])}, "fp32") == "fp32"
    assert recommend({"fp32": fp32, "cpu-fp32": measured(window_ms=6.5), "b": fast}, "fp32") == "cpu-fp32"
