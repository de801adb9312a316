"""The table of the roofline on a CPU; on a GPU it is run by hand."""

import re

import pytest
import torch

from htsat_edge.export.roofline import WAYS, main, make_parser, roofline


def tiny_on_cpu(tiny_files, *more):
    return make_parser().parse_args(["--network", str(tiny_files / "tiny.yaml"), "--device", "cpu", *more])


def test_a_cpu_runs_what_needs_no_gpu(tiny_files, capsys):
    args = tiny_on_cpu(tiny_files, "--runs", "2", "--batch", "2")
    assert roofline(args, compiler=lambda network: network) == 0  # the real compiler takes a minute
    out = capsys.readouterr().out
    head, _, *rows = out.splitlines()
    assert head.startswith("tiny (0.")
    assert "batch 2, on the CPU, " in head
    for way, row in zip(WAYS, rows[:4], strict=True):
        assert row.split("  ")[0] == "fp32"
        assert way in row
    assert "not run: needs CUDA" in rows[1]
    assert "not run: needs CUDA" in rows[3]
    median, bound, share = (float(x) for x in re.findall(r"[\d.]+", rows[0].replace("fp32", "")))
    assert share == pytest.approx(100 * bound / median, abs=0.1, rel=0.02)  # of times that are rounded
    assert rows[4].split("  ")[0] == "fp16"
    assert "not run: a CPU has no fast half precision" in rows[4]


def test_what_fails_is_marked_and_the_others_are_run(tiny_files, capsys):
    def compiler(network):
        raise RuntimeError("no compiler here\nwith a long story")

    assert roofline(tiny_on_cpu(tiny_files, "--runs", "1"), compiler) == 0
    rows = capsys.readouterr().out.splitlines()
    assert "not run: RuntimeError: no compiler here" in rows[4]
    assert "long story" not in "".join(rows)
    assert " ms " in rows[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_so(tiny_files, capsys):
    assert main(["--network", str(tiny_files / "tiny.yaml")]) == 2
    assert "torch sees no CUDA GPU here: nothing was run" in capsys.readouterr().err
