"""The table in the terminal; the page is looked at in tests/calibration/test_accuracy.py."""

import pytest
from rich.console import Console

from htsat_edge.evaluation.budget import Accuracy
from htsat_edge.evaluation.report import print_table, recommendation, rows, split
from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.models.bundle import ACCURACY_FILE, BUNDLED


@pytest.fixture
def found():
    """Six graphs, which are as good as the bundled model's two."""
    measured = read_json(BUNDLED / ACCURACY_FILE, Accuracy)
    reference, other = measured.graphs.values()
    names = ("cpu-fp32", "fp16", "int8", "int8_fp16", "cpu-int8")
    return measured.model_copy(update={"graphs": {"fp32": reference, **dict.fromkeys(names, other)}})


@pytest.mark.parametrize("width", [80, 100, 240])
def test_no_cell_is_broken_on_a_narrow_terminal(width, found, monkeypatch, capsys):
    monkeypatch.setattr("htsat_edge.evaluation.report.wide_console", lambda: Console(width=width))
    print_table(found)
    lines = capsys.readouterr().out.splitlines()
    for name, *cells in rows(found, with_intervals=width == 240):
        (shown, *more) = [line for line in lines if line.startswith(f"{name}  ")]
        assert "".join([shown, *(line.removeprefix(name) for line in more)]).split() == " ".join([name, *cells]).split()
    assert any("Intervals are left out here" in line for line in lines) == (width < 240)


def test_where_one_graph_was_measured_none_is_said_to_be_slower(found):
    alone = found.model_copy(update={"graphs": {"fp32": found.graphs["fp32"]}, "recommended": {"onnxruntime": "fp32"}})
    assert recommendation(alone) == (
        "Only fp32 was measured: on a CPU, htsat-edge uses this bundle in full precision until more graphs are."
    )


def test_a_column_wider_than_the_terminal_stands_alone():
    assert split([["", "a", "b", "c"], ["x", "1", "2" * 30, "3"]], 20) == [
        [["", "a"], ["x", "1"]],
        [["", "b"], ["x", "2" * 30]],
        [["", "c"], ["x", "3"]],
    ]
