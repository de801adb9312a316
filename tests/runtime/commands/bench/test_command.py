"""The command as a user meets it; how long anything takes is not tested."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.export.build_trt import main as build_trt
from htsat_edge.runtime.commands import cli
from htsat_edge.runtime.commands.bench.command import run as run_bench
from htsat_edge.runtime.commands.bench.plan import Plan
from htsat_edge.runtime.commands.bench.results import Bench, Candidate
from htsat_edge.runtime.common.machine import cores


@pytest.fixture
def run(capfd):
    """Run `htsat-edge bench`; return its exit status, stdout and stderr."""

    def bench(bundle, *arguments):
        try:
            status = cli.main(["bench", "--bundle", str(bundle), "--no-baselines", *map(str, arguments)])
        except SystemExit as error:  # argparse
            status = error.code
        return status, *capfd.readouterr()

    return bench


def test_every_graph_for_this_machine_is_timed(bundle, run):
    status, out, err = run(bundle, "--runs", 3, "--threads", "1,2", "--sources", 3, "--json")
    assert (status, err) == (0, "")
    bench = Bench.model_validate_json(out)
    names = [(m.candidate.name, m.candidate.threads) for m in bench.measured]
    assert names == [("fp32", 1), ("fp32", 2), ("cpu-fp32", 1), ("cpu-fp32", 2)]
    assert bench.not_run == {"cpu-int8": "not in the bundle; python -m htsat_edge.calibration.quantize writes it"}
    assert [gemm.threads for gemm in bench.gemm] == [1, 2]
    for gemm in bench.gemm:
        assert gemm.fp32_gflops > 1
        assert gemm.int8_gflops > 1
    for measured in bench.measured:
        assert measured.runs_on == "onnxruntime"
        assert measured.startup_s > 0
        assert 20 < measured.peak_memory_mb < 2000
        assert measured.candidate.hop_s == 0.32
        assert 0 < measured.gemm_share < 2
        assert measured.sources >= 1
        assert measured.candidate.batch == 3
        for timing in (measured.model, measured.audio, measured.hop, measured.batch):
            assert timing.runs == 3
            assert 0 < timing.p50_ms <= timing.p90_ms <= timing.p99_ms
            assert timing.spread_ms >= 0
        assert measured.real_time_factor == pytest.approx(measured.hop.p50_ms / 320, abs=1e-6)
    assert bench.device.power_w is None
    assert bench.device.cores >= 1
    assert bench.versions.keys() >= {"python", "system", "onnxruntime"}
    assert str(bundle) not in out  # people publish the JSON


def test_a_table_has_every_figure_on_the_narrowest_terminal(bundle, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    status, out, err = run(bundle, "--runs", 2, "--threads", 1, "--sources", 2, "--hop-s", 0.64)
    assert (status, err) == (0, "")
    assert "…" not in out
    (row,) = [line.split() for line in out.splitlines() if line.startswith("cpu-fp32 ")]
    assert row[1] == "1"
    assert row[-1].endswith("%")
    assert "power not measured" in out
    assert "hop: from 0.64 s of a 48 kHz stream to events" in out
    assert "cpu-fp32, 1 thread: 2 sources at once" in out
    assert "2 runs of each in turn" in out
    assert ", 2 of them scored at once" in out
    assert "more threads than" not in out


def test_more_threads_than_cores_are_remarked_on(bundle, run):
    _, out, _ = run(bundle, "--runs", 1, "--threads", cores() + 1, "--precision", "fp32")
    assert "more threads than the" in out
    assert "1 run of each in turn" in out


def test_only_what_is_asked_for(bundle, run):
    _, out, _ = run(
        bundle, "--runs", 1, "--threads", 1, "--precision", "cpu-fp32", "--backend", "onnxruntime", "--json"
    )
    assert [m.candidate.name for m in Bench.model_validate_json(out).measured] == ["cpu-fp32"]


def test_a_graph_that_cannot_be_run_is_reported_and_the_others_are_timed(bundle, run, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (folder / "cpu-fp32.onnx").write_bytes(b"no graph")
    status, out, _ = run(folder, "--runs", 1, "--threads", 1, "--json")
    assert status == 0
    bench = Bench.model_validate_json(out)
    assert [m.candidate.name for m in bench.measured] == ["fp32"]
    assert "cpu-fp32.onnx: onnxruntime cannot load it" in bench.not_run["cpu-fp32, 1 thread"]
    (folder / "fp32.onnx").write_bytes(b"no graph")
    status, out, err = run(folder, "--runs", 1, "--threads", 1)
    assert (status, out) == (2, "")
    assert "fp32.onnx: onnxruntime cannot load it" in err
    assert len(err.splitlines()) == 1


def test_an_engine_is_timed_beside_the_graphs(
    tiny_bundle, tmp_path, run, fake_tensorrt, quick_validation, monkeypatch, capfd
):
    fake_tensorrt("10.3.0")
    monkeypatch.setattr("os.nice", lambda by: by)
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    assert build_trt([str(folder), "--precision", "fp32", "--batch", "1,1,2"]) == 0
    capfd.readouterr()
    status, out, _ = run(folder, "--runs", 1, "--threads", 1, "--sources", 5, "--json")
    assert status == 0
    bench = Bench.model_validate_json(out)
    assert [(m.candidate.name, m.runs_on) for m in bench.measured] == [
        ("fp32 engine", "TensorRT on Orin (8.7, 16 SMs)"),
        ("fp32", "onnxruntime"),
    ]
    assert bench.measured[0].gemm_share is None
    assert bench.not_run.keys() == {"cpu-fp32", "cpu-int8"}
    _, out, _ = run(folder, "--runs", 1, "--threads", 1)
    rows = {line.partition("  ")[0]: line.split() for line in out.splitlines()}
    assert rows["fp32 engine"][2] == "GPU"
    assert "1.00" in rows["fp32"]
    status, out, err = run(folder, "--backend", "tensorrt", "--precision", "fp32,int8")
    assert (status, out) == (2, "")
    assert "has no int8 engine" in err
    (folder / "fp32.onnx").rename(folder / "fp16.onnx")
    status, out, err = run(folder, "--precision", "fp32", "--runs", 1)
    assert (status, out) == (2, "")
    assert "fp32.onnx has changed since it was built" in err  # the engine is refused


def test_a_picture(bundle, run, tmp_path):
    assert run(bundle, "--runs", 2, "--threads", 1, "--plot", tmp_path / "bench.png")[0] == 0
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "fp8"], "has no fp8.onnx; precisions here: cpu-fp32, fp32"),
        (["--backend", "tensorrt"], "has no engine; python -m htsat_edge.export.build_trt "),
        (
            ["--backend", "tensorrt", "--precision", "fp16"],
            "has no fp16 engine; python -m htsat_edge.export.build_trt ",
        ),
        (["--threads", "0"], "'0' is not a whole number from 1 on"),
        (["--threads", "1,"], "'' is not a whole number from 1 on"),
        (["--runs", "0"], "'0' is not a whole number from 1 on"),
        (["--hop-s", "99"], "hop of 99 s: want between 0.08 and 10.24 s"),
        (["--plot", "none/bench.png"], "want the name of a .png file in a folder that exists"),
        (["--plot", "bench.svg"], "want the name of a .png file in a folder that exists"),
    ],
)
def test_bad_input_is_one_line(arguments, message, bundle, run):
    status, out, err = run(bundle, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_foreign_bundle_has_no_share_of_the_machines_products(bundle, tmp_path, run):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    info = json.loads((folder / "model.json").read_text())
    info["provenance"] = {"network": "theirs"}
    (folder / "model.json").write_text(json.dumps(info))
    status, out, _ = run(folder, "--runs", 1, "--threads", 1, "--json")
    assert status == 0
    found = Bench.model_validate_json(out)
    assert found.multiply_adds_per_window is None
    assert {m.gemm_share for m in found.measured} == {None}


def test_ctrl_c_ends_every_process(bundle, wait_for):
    command = [
        sys.executable,
        "-m",
        "htsat_edge",
        "bench",
        "--bundle",
        str(bundle),
        "--no-baselines",
        "--runs",
        "100000",
    ]
    bench = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
    wait_for(lambda: children.read_text())
    workers = children.read_text().split()
    ends = [os.pidfd_open(int(worker)) for worker in workers]
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=60)
    assert (bench.returncode, out, err) == (130, b"", b"")
    for end in ends:
        assert select.select([end], [], [], 60)[0] == [end]
        os.close(end)


def test_without_transformers_the_baselines_are_left_out(bundle, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    arguments = ["bench", "--bundle", str(bundle), "--runs", "1", "--threads", "1"]
    assert cli.main(arguments) == 0
    assert "not run: baselines: transformers is not installed" in capfd.readouterr().out
    assert cli.main([*arguments, "--baselines"]) == 2
    assert capfd.readouterr().err == "htsat-edge: --baselines: transformers is not installed\n"


def test_baselines_run_beside_the_bundle(bundle, capfd):
    def find(network, threads, folder):
        shutil.copy(bundle / "fp32.onnx", folder / "Other.onnx")
        (folder / "Broken.onnx").write_bytes(b"no graph")
        found = [
            Candidate(
                name=name, kind="baseline", path=str(folder / f"{name}.onnx"), threads=count, parameters=1_700_000
            )
            for name in ("Other", "Broken")
            for count in threads
        ]
        return Plan(found, {"AST": "TypeError: of another version"})

    args = cli.make_parser().parse_args(["bench", "--bundle", str(bundle), "--runs", "1", "--threads", "1"])
    assert run_bench(args, find) == 0
    out, err = capfd.readouterr()
    assert err == ""
    (row,) = [line.split() for line in out.splitlines() if line.startswith("Other ")]
    assert len(row) == 12  # no audio, no hop, no sources
    assert "Other, 1 thread: 1.7 M parameters, drawn at random" in out
    assert "not run: AST: TypeError: of another version" in out
    assert "not run: Broken, 1 thread: " in out


def test_where_no_form_of_the_bundle_runs_its_error_is_shown(bundle, tmp_path, run):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    for name in ("fp32", "cpu-fp32"):
        (folder / f"{name}.onnx").write_bytes(b"no graph")
    status, out, err = run(folder, "--threads", 1)
    assert (status, out) == (2, "")
    assert "/fp32.onnx: onnxruntime cannot load it" in err
    assert len(err.splitlines()) == 1


def test_json_is_all_that_stdout_has(bundle, run):
    _, out, _ = run(bundle, "--runs", 1, "--threads", 1, "--json")
    assert json.loads(out)["runs"] == 1
    assert np.isfinite(json.loads(out)["measured"][0]["model"]["p50_ms"])
