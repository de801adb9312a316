"""What operating points reach, on made-up recordings of which the figures can be counted by hand."""

import pytest

from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import HeardRecording, Report
from htsat_edge.evaluation.latency_figures import LatencyFigures, Recall, figures_of, operating_points
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info
POINTS = [Settings(hop_s=0.32, look_ahead_s=0.0, early_margin=2.0)]


def report(start_s, heard_s, offset_s, label="Dog"):
    return Report(label, start_s, heard_s, Occurrence(start_s, offset_s, label))


SOUNDS = [
    Occurrence(2.0, 4.0, "Dog"),  # found after 1 s
    Occurrence(8.0, 9.0, "Rain"),  # not found
    Occurrence(21.0, 25.0, "Dog"),  # found after 3 s; not after the gap
    Occurrence(29.0, 30.0, "Rain"),  # found after 0.5 s
    Occurrence(36.0, 39.0, "Dog"),  # found, but too near to the end to know how late others would be
]
HEARD = HeardRecording(
    duration_s=40.0,
    gap_s=20.0,
    whole=[
        [
            report(2.0, 3.0, 4.0),
            report(12.0, 13.0, 14.0),  # false
            report(21.0, 24.0, 25.0),
            report(29.0, 29.5, 30.0, "Rain"),
            report(36.0, 38.0, 39.0),
        ]
    ],
    after_gap=[[report(29.0, 29.75, 30.0, "Rain")]],
)
SILENT = HeardRecording(20.0, None, [[]], [[]])


def test_every_figure_is_what_it_says():
    found = figures_of(INFO, POINTS, 0, [HEARD, SILENT], [SOUNDS, []])
    assert (found.hop_s, found.look_ahead_s, found.early_margin) == (0.32, 0.0, 2.0)
    assert (found.timed, found.latency_median_s, found.latency_p95_s) == (3, 1.0, pytest.approx(2.8))
    assert found.recall == Recall(sounds=5, found=4)
    assert found.recall_first == Recall(sounds=2, found=1)
    assert found.recall_later == Recall(sounds=3, found=3)
    assert found.recall_without_gap == Recall(sounds=2, found=2)
    assert found.recall_after_gap == Recall(sounds=2, found=1)
    # Dog: 3 of 3, and one more; Rain: 1 of 2.
    f1 = (6 / 7 + 2 / 3) / 2
    assert found.event_f1 == Interval(value=found.event_f1.value, low=None, high=None)
    assert found.event_f1.value == pytest.approx(f1)
    # In segments of 1 s, Dog: 9 of 9, and 2 more; Rain: 1 of 2.
    assert found.segment_f1.value == pytest.approx((18 / 20 + 2 / 3) / 2)
    assert found.false_alarms_per_hour == 60


def test_of_several_recordings_there_are_intervals():
    found = figures_of(INFO, POINTS, 0, [HEARD, *[SILENT] * 4], [SOUNDS, [], [], [], [Occurrence(1.0, 2.0, "Dog")]])
    assert found.event_f1.low < found.event_f1.value < found.event_f1.high


def test_nothing_found_has_no_latency():
    found = figures_of(INFO, POINTS, 0, [SILENT], [[Occurrence(1.0, 2.0, "Dog")]])
    assert (found.timed, found.latency_median_s, found.latency_p95_s) == (0, None, None)
    assert (found.recall.share, found.recall_after_gap.share) == (0, None)
    assert found.event_f1.value == 0


def test_points_are_every_combination_once():
    found = operating_points(INFO, [0.32, 0.64], [0.3, 0.32, 0.0], [None, 2.0])
    assert [(round(p.hop_s, 2), p.grid(INFO).hop_steps, p.look_ahead_steps(INFO), p.early_margin) for p in found] == [
        (hop_s, steps, look_ahead, margin)
        for hop_s, steps in ((0.32, 1), (0.64, 2))
        for look_ahead in (1, 0)
        for margin in (None, 2.0)
    ]


def test_one_of_them_is_the_default():
    points = operating_points(INFO)
    found = [
        figures_of(
            INFO,
            points,
            i,
            [HeardRecording(20.0, None, [[]] * len(points), [[]] * len(points))],
            [[Occurrence(1.0, 2.0, "Dog")]],
        )
        for i in range(len(points))
    ]
    (default,) = [point for point in found if point.is_default]
    assert default.hop_s == pytest.approx(Settings().grid(INFO).hop_steps * 0.32)
    assert default.look_ahead_s == pytest.approx(Settings().look_ahead_steps(INFO) * 0.32)
    assert default.early_margin == Settings().early_margin


@pytest.mark.parametrize(("hops", "look_aheads"), [([0.32, 20.0], None), (None, [0.32, 11.0]), ([0.0], None)])
def test_what_does_not_fit_the_model_is_refused(hops, look_aheads):
    with pytest.raises(HtsatEdgeError, match=r"^(hop of|look_ahead_s) "):
        operating_points(INFO, hops, look_aheads)


def test_the_file_says_first_who_has_written_it():
    figures = LatencyFigures(bundle="b", graph="fp32", material="m", recordings=1, hours=1, versions={}, points=[])
    assert figures.model_dump_json(indent=1).startswith('{\n "written_by": "htsat-edge"')
