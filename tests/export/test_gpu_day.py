"""The budget, the JSON and the tables of gpu_day.py; on a GPU it is run by hand."""

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from htsat_edge.export import gpu_day
from htsat_edge.export.gpu_day import PARTS, Part, main

DOCS = Path(__file__).parents[2] / "docs"
HEAD = """
import json, os, subprocess, sys, time
from pathlib import Path
name, out = sys.argv[1], Path(sys.argv[2])
def add(**found):
    out.write_text(json.dumps(json.loads(out.read_text()) | {name: found}))
"""
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "found.json"


@pytest.fixture
def rehearse(monkeypatch, out, capsys):
    """Run gpu_day.py with parts that are lines of Python, and so many seconds left of its minute."""

    def run(seconds, status=0, **parts):
        def command(program, *args):
            name = args[args.index("--part") + 1]
            return [sys.executable, "-c", HEAD + parts[name], name, str(out)]

        monkeypatch.setattr(gpu_day, "command_of", command)
        monkeypatch.setattr(gpu_day, "PARTS", dict.fromkeys(parts, Part(None, 1)))
        monkeypatch.setattr(gpu_day, "BEGAN", time.monotonic() - 60 + seconds)
        assert main(["--device", "cpu", "--minutes", "1", "--out", str(out)]) == status
        return json.loads(out.read_text()), capsys.readouterr()

    return run


def test_the_extra_that_it_names_is_enough_but_for_training(out):
    """Of which the page of results takes matplotlib."""
    block = "".join(f"sys.modules[{name!r}] = None\n" for name in ("matplotlib", "pandas", "sed_scores_eval"))
    call = "main(['--part', 'training', '--device', 'cpu', '--out', sys.argv[1]])"
    code = f"import sys\n{block}from htsat_edge.export.gpu_day import main\nsys.exit({call})"
    done = subprocess.run([sys.executable, "-c", code, out], capture_output=True, text=True, check=False)
    said = 'gpu_day.py: training needs matplotlib: pip install "htsat-edge[train]"\n'
    assert (done.returncode, done.stderr) == (2, said)


@pytest.mark.parametrize("library", ["torch", "onnx", "safetensors", "yaml"])
def test_a_library_that_is_missing_or_broken_is_one_line(library, tmp_path):
    start = "import runpy, sys\n{}\nrunpy.run_module('htsat_edge.export.gpu_day', run_name='__main__')"
    (tmp_path / f"{library}.py").write_text("raise OSError('libother.so.1: cannot open')\n")
    for state in (f"sys.modules[{library!r}] = None", f"sys.path.insert(0, {str(tmp_path)!r})"):
        command = [sys.executable, "-c", start.format(state)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert re.fullmatch(r"gpu_day\.py: needs .*\n", done.stderr), done.stderr


def test_a_part_of_the_real_thing(monkeypatch, out, capsys):
    monkeypatch.setattr(gpu_day, "PARTS", {"machine": PARTS["machine"]})
    monkeypatch.setattr(gpu_day, "BEGAN", time.monotonic())
    assert main(["--device", "cpu", "--minutes", "9", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["machine"]
    assert found["gpu"] is None
    assert found["torch"] == found["versions"]["torch"] == torch.__version__
    assert found["seconds"] > 0
    assert "not run" not in found
    assert capsys.readouterr().out == f"no GPU, torch {torch.__version__}\n"


def test_what_a_part_found_outlives_it_and_what_it_started_does_not(rehearse, tmp_path, wait_for):
    pid = tmp_path / "pid"
    found, printed = rehearse(
        10,
        roofline="add(known=1); sleeper = subprocess.Popen(['sleep', '600']); "
        f"Path({str(pid)!r}).write_text(str(sleeper.pid)); time.sleep(600)",
        compile="add(known=2)",
    )
    assert found["roofline"].pop("seconds") >= 5
    assert found["roofline"] == {"known": 1, "not run": "took more than 5 s"}
    assert found["compile"]["known"] == 2
    assert "roofline: not run, or not to its end: took more than 5 s" in printed.out
    wait_for(lambda: not is_running(pid.read_text()))


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_time_that_a_part_leaves_is_for_the_next(rehearse):
    _, printed = rehearse(60, machine="", backend="", compile="")
    limits = [int(seconds) for seconds in re.findall(r"at most (\d+) s", printed.err)]
    assert limits[0] in (19, 20)  # a third of what is left
    assert 25 < limits[1] < 31  # half
    assert 50 < limits[2] < 61  # all


def test_the_reason_is_in_the_results(rehearse, out):
    found, printed = rehearse(
        60,
        status=1,
        machine="print('a warning', file=sys.stderr); sys.exit('gpu_day.py: no GPU can be used')",
        backend="os.kill(os.getpid(), 11)",
        tests="sys.exit(3)",
    )
    reasons = [found[name]["not run"] for name in ("machine", "backend", "tests")]
    assert reasons == ["no GPU can be used", "ended by SIGSEGV", "exit status 3"]
    assert printed.out.startswith("machine: not run, or not to its end: no GPU can be used\n")
    log = out.with_name("found.json.log")
    assert printed.err.endswith(f"gpu_day.py: no part came to its end; see {out} and {log}\n")
    log = log.read_text()
    assert log == "a warning\ngpu_day.py: no GPU can be used\n"


def test_the_results_of_an_earlier_run_are_kept(rehearse, out):
    for number in (1, 2, 3):
        found, printed = rehearse(60, machine=f"add(run={number})")
        assert found["machine"]["run"] == number
    assert f"{out}: the earlier results are now {out}.2\n" in printed.err
    kept = [json.loads(out.with_name(f"found.json.{number}").read_text()) for number in (1, 2)]
    assert [found["machine"]["run"] for found in kept] == [1, 2]
    assert not out.with_name("found.json.3").exists()


def test_of_two_at_once_the_second_is_refused(out, capsys, monkeypatch):
    monkeypatch.setattr(gpu_day, "run_part", lambda *_: "begun all the same")
    out.write_text('{"machine": {"of": "the first"}}')
    with out.with_name("found.json.log").open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert main(["--device", "cpu", "--out", str(out)]) == 2
    said = f"gpu_day.py: {out}: another gpu_day.py writes it; wait for its end, or give another --out\n"
    assert capsys.readouterr().err == said
    assert json.loads(out.read_text()) == {"machine": {"of": "the first"}}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_log_that_is_no_file_is_refused_before_any_work(make, out, capsys, monkeypatch):
    monkeypatch.setattr(gpu_day, "run_part", lambda *_: "begun all the same")
    make(f"{out}.log")
    assert main(["--device", "cpu", "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"gpu_day.py: {out}.log: is not a file; give another --out\n"
    assert not out.exists()


@pytest.mark.parametrize("option", ["--table", "--part=machine", "--device=cpu"])
def test_a_named_pipe_is_no_place_for_results(option, out):
    os.mkfifo(out)
    command = [sys.executable, "-m", "htsat_edge.export.gpu_day", option, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (done.returncode, done.stderr) == (2, f"gpu_day.py: {out}: is not a file; give another --out\n")


@pytest.mark.parametrize(
    "found",
    [
        {"roofline": {"bundled, batch 1, fp32, torch": {"median_ms": 1.0}}},
        {"roofline": {"bundled, batch 1, fp32, torch": 1}},
        {"training": {"bundled": {}}},
        {"backend": {"stream": {"largest difference by batch": {}}}},
    ],
)
def test_tables_of_other_results_are_refused(found, out, capsys):
    out.write_text(json.dumps(found))
    assert main(["--table", "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"gpu_day.py: {out}: is not what gpu_day.py writes: ")
    assert said.out == ""


@pytest.mark.parametrize("content", ["no JSON", "[1]", '{"machine": 1}', '{"something": {}}'])
def test_no_other_file_is_overwritten(out, capsys, content, monkeypatch):
    monkeypatch.setattr(gpu_day, "run_part", lambda *_: "begun all the same")
    out.write_text(content)
    assert main(["--device", "cpu", "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"gpu_day.py: {out}: is not what gpu_day.py writes; give another --out\n"
    assert out.read_text() == content


def test_without_a_gpu_nothing_is_begun(out, capsys):
    assert main(["--out", str(out)]) == 2
    assert "torch sees no CUDA GPU here: nothing was run; --device cpu" in capsys.readouterr().err
    assert not out.exists()


def test_a_table_of_nothing(out, capsys):
    assert main(["--table", "--out", str(out)]) == 2
    assert f"{out}: there is no such file; run gpu_day.py without --table first" in capsys.readouterr().err


def test_the_document_has_the_tables_of_its_results(capsys):
    assert main(["--table", "--out", str(DOCS / "gpu-day-h100.json")]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 12
    assert "\n".join(table) in (DOCS / "performance.md").read_text()


def test_tables_have_what_was_run_and_what_was_not(out, capsys):
    point = {"precision": "fp32", "way": "torch", "median_ms": 2.5, "bound_ms": 0.125, "reason": ""}
    stream = {"p50_ms": 1.25, "largest difference by batch": {"1": 1e-7, "4": 3e-7}, "windows": 10}
    found = {
        "machine": {"gpu": "H1", "torch": "2"},
        "backend": {"stream": stream | {"memory taken meanwhile": 0}},
        "tests": {"status": 0, "summary": "3 passed"},
        "onnxruntime": {
            "offered": ["A"],
            "bundled, batch 1, CPUExecutionProvider": {"p50_ms": 200.4, "largest difference": 0.0},
            "bundled, batch 1, CUDAExecutionProvider": {"p50_ms": 2, "largest difference": 1e-6},
            "bundled, batch 1, TensorrtExecutionProvider": {"not run": "no library"},
            "audioset, batch 1, CPUExecutionProvider": {"not run": "no memory"},
            "audioset, batch 1, CUDAExecutionProvider": {"p50_ms": 3},
        },
        "engines": {"not run": "no TensorRT"},
        "roofline": {
            "large, batch 16, fp32, torch": point,
            "large, batch 2, fp16, torch": point | {"median_ms": 5},
            "large, batch 2, fp16, CUDA graph": point | {"median_ms": None},
            "large, batch 2, fp32, torch": point,
            "large, batch 4, fp32, torch": point | {"median_ms": None, "bound_ms": None},
        },
        "training": {
            "scenes a second that one process draws": 300.0,
            "large, float32": {"clips_per_s": 1234.5, "clips": 128, "memory_gb": 12.34},
            "large, bfloat16": {"not run": "too large"},
        },
        "compile": {
            "large, batch 2, fp32, torch.compile": point | {"median_ms": 0.5},
            "not run": "took more than 9 s",
        },
    }
    out.write_text(json.dumps(found))
    assert main(["--table", "--out", str(out)]) == 0
    assert capsys.readouterr().out == TABLES


TABLES = """\
H1, torch 2
engines: not run, or not to its end: no TensorRT
compile: not run, or not to its end: took more than 9 s
The runtime's backend, stream: 1.25 ms a window, largest difference 3.0e-07, 10 windows took 0 bytes
tests/gpu: 3 passed

| network, batch | precision | torch | torch.compile | bound | share of the fastest |
|---|---|---|---|---|---|
| large, 2 | fp32 | 2.50 ms | 0.500 ms | 0.125 ms | 25 % |
| large, 2 | fp16 | 5.00 ms | not run | 0.125 ms | 2.5 % |
| large, 16 | fp32 | 2.50 ms | not run | 0.125 ms | 5.0 % |

| fp32.onnx | onnxruntime's provider | log-mel to scores | difference to the CPU |
|---|---|---|---|
| bundled, batch 1 | CPU | 200 ms |  |
| bundled, batch 1 | CUDA | 2.00 ms | 1.0e-06 |
| bundled, batch 1 | Tensorrt | not run: no library |  |
| audioset, batch 1 | CPU | not run: no memory |  |
| audioset, batch 1 | CUDA | 3.00 ms |  |

| training | clips of a step | clips a second | memory |
|---|---|---|---|
| large, float32 | 128 | 1234 | 12.3 GB |
| large, bfloat16 |  | not run: too large |  |
"""
