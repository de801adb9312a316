"""The table and the picture."""

import pytest
from matplotlib import image

from htsat_edge.evaluation.latency_figures import LatencyFigures, OperatingPoint, Recall
from htsat_edge.evaluation.latency_report import draw, has_mark, print_table
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.runtime.commands.plot import has_mark as is_picture


def point(hop_s, look_ahead_s, early_margin=None, is_default=False, **changes):
    known = {
        "timed": 9,
        "latency_median_s": 1.234,
        "latency_p95_s": 2.5,
        "recall": Recall(sounds=10, found=9),
        "recall_first": Recall(sounds=4, found=3),
        "recall_later": Recall(sounds=6, found=6),
        "recall_after_gap": Recall(sounds=0, found=0),
        "recall_without_gap": Recall(sounds=0, found=0),
        "event_f1": Interval(value=0.25, low=0.2, high=0.3),
        "segment_f1": Interval(value=0.5, low=None, high=None),
        "false_alarms_per_hour": 12.3,
    }
    return OperatingPoint(
        hop_s=hop_s, look_ahead_s=look_ahead_s, early_margin=early_margin, is_default=is_default, **known | changes
    )


@pytest.fixture
def figures():
    return LatencyFigures(
        bundle="a $model^",
        graph="fp32",
        material="labels.csv",
        recordings=3,
        hours=0.5,
        versions={},
        points=[point(0.32, 0, latency_median_s=None, latency_p95_s=None), point(0.64, 1.28, 1.0, True)],
    )


def test_the_table_has_a_row_for_each_point(figures, capsys):
    print_table(figures)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fp32 of a $model^: 10 sounds in 3 recordings of labels.csv"
    assert " ".join(lines[3].split()) == "0.32 0.00 none – – 0.25 0.50 12 0.90 0.75 1.00 – –"
    assert " ".join(lines[4].split()) == "*0.64 1.28 1 1.23 2.50 0.25 0.50 12 0.90 0.75 1.00 – –"
    assert max(map(len, lines[1:5])) <= 80
    assert lines[-1] == "*: the default"


def test_the_picture_carries_our_mark(figures, tmp_path):
    draw(tmp_path / "latency.png", figures)
    assert is_picture(tmp_path / "latency.png")
    assert image.imread(tmp_path / "latency.png").shape[1] == 13 * 120


def test_figures_are_known_by_their_mark(figures, tmp_path):
    (tmp_path / "ours.json").write_text(figures.model_dump_json(indent=1))
    (tmp_path / "other.json").write_text('{"name": "htsat-edge"}')
    assert has_mark(tmp_path / "ours.json")
    assert not has_mark(tmp_path / "other.json")
