"""A rehearsal of gpu_day.py on the CPU; on a GPU it is run by hand."""

import json
import subprocess

import pytest
import torch

from htsat_edge.export import gpu_day
from htsat_edge.export.gpu_day import main, tables

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
POINT = {"precision": "fp32", "way": "torch", "median_ms": 2.5, "bound_ms": 0.125, "reason": ""}


def test_a_machine_without_a_gpu_says_what_was_not_run(tmp_path, capsys):
    out = tmp_path / "found.json"
    assert main(["--device", "cpu", "--out", str(out), "--limit", "1"]) == 0
    found = json.loads(out.read_text())
    assert found.keys() == gpu_day.PARTS.keys()
    assert all(part["seconds"] >= 0 and "not run" in part for part in found.values())
    assert found["roofline"]["not run"] == "took more than 1 s"
    assert "no GPU" in capsys.readouterr().out


def test_a_part_reports_its_reason(monkeypatch, tmp_path):
    def fail(*_, stdout, stderr, **__):
        stdout.write(b'{"one": 1}\n{"cut ')
        stderr.write(b"a warning\ngpu_day.py: no GPU can be used\n")
        return subprocess.CompletedProcess([], 2)

    monkeypatch.setattr(gpu_day.subprocess, "run", fail)
    assert main(["--out", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())["backend"]
    assert found.pop("seconds") >= 0
    assert found == {"one": 1, "not run": "gpu_day.py: no GPU can be used"}


def test_the_machine_is_described(capsys):
    assert main(["--part", "machine"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpu"] is None
    assert found["torch"] == torch.__version__


def test_tables_have_every_way_and_what_was_not_run():
    backend = {
        "stream": {
            "p50_ms": 1.25,
            "largest difference by batch": {"1": 1e-7, "4": 3e-7},
            "windows": 10,
            "memory taken meanwhile": 0,
        }
    }
    found = {
        "machine": {"gpu": "H1", "torch": "2"},
        "backend": backend,
        "engines": {"not run": "no TensorRT"},
        "roofline": {
            "bundled, batch 1, fp32, torch": POINT,
            "bundled, batch 1, fp32, torch.compile": POINT | {"median_ms": None},
        },
    }
    lines = list(tables(found))
    assert lines[:2] == ["H1, torch 2", "engines: not run, or not to its end: no TensorRT"]
    assert "1.25 ms a window, largest difference 3.0e-07, 10 windows took 0 bytes" in lines[2]
    assert lines[-1] == "| bundled, batch 1 | fp32 | 2.500 ms | not run | not run | 0.125 ms |"
