"""The command as a user meets it; how long anything takes is not tested."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from htsat_edge.export.build_trt import main as build_trt
from htsat_edge.export.cpu_graph import build_for_cpu
from htsat_edge.runtime.commands import cli
from htsat_edge.runtime.commands.bench import GEMMS, Worker
from htsat_edge.runtime.commands.bench.results import Bench, Contender
from htsat_edge.runtime.commands.bench.worker import open_contender
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.models.backends.ort import OrtBackend


@pytest.fixture(scope="module")
def bundle(tiny_bundle, tiny_network, tmp_path_factory):
    """The tiny network with its graph for a CPU."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("bench") / "tiny")
    onnx.save(build_for_cpu(tiny_network, 1024), folder / "cpu-fp32.onnx")
    return folder


@pytest.fixture
def run(capfd):
    """Runs `htsat-edge bench`; its exit status, stdout and stderr."""

    def bench(bundle, *arguments):
        try:
            status = cli.main(["bench", "--bundle", str(bundle), "--no-peers", *map(str, arguments)])
        except SystemExit as error:  # argparse
            status = error.code
        return status, *capfd.readouterr()

    return bench


def test_every_graph_for_this_machine_is_timed(bundle, run):
    status, out, err = run(bundle, "--runs", 3, "--threads", "1,2", "--sources", 3, "--json")
    assert (status, err) == (0, "")
    bench = Bench.model_validate_json(out)
    names = [(m.contender.name, m.contender.threads) for m in bench.measured]
    assert names == [("fp32", 1), ("fp32", 2), ("cpu-fp32", 1), ("cpu-fp32", 2)]
    assert bench.not_run == {"cpu-int8": "is not in the bundle; calibration/quantize.py writes it"}
    assert [gemm.threads for gemm in bench.gemm] == [1, 2]
    for gemm in bench.gemm:
        assert gemm.fp32_gflops > 1
        assert gemm.int8_gflops > 1
    for measured in bench.measured:
        assert measured.runs_on == "onnxruntime"
        assert measured.startup_s > 0
        assert 20 < measured.peak_mb < 2000
        assert measured.hop_s == 1.28
        assert 0 < measured.gemm_share < 2
        assert measured.sources >= 1
        assert measured.contender.batch == 3
        for timing in (measured.model, measured.audio, measured.hop, measured.batch):
            assert timing.runs == 3
            assert 0 < timing.p50_ms <= timing.p90_ms <= timing.p99_ms
            assert timing.spread_ms >= 0
        assert measured.real_time_factor == pytest.approx(measured.hop.p50_ms / 1280, abs=1e-6)
    assert bench.device.watts is None
    assert bench.device.cores >= 1
    assert bench.versions.keys() >= {"python", "system", "onnxruntime"}
    assert str(bundle) not in out  # where it lies is nobody's business


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
    assert [m.contender.name for m in Bench.model_validate_json(out).measured] == ["cpu-fp32"]


def test_a_graph_that_cannot_be_run_is_told_of_and_the_others_are_timed(bundle, run, tmp_path):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    (folder / "cpu-fp32.onnx").write_bytes(b"no graph")
    status, out, _ = run(folder, "--runs", 1, "--threads", 1, "--json")
    assert status == 0
    bench = Bench.model_validate_json(out)
    assert [m.contender.name for m in bench.measured] == ["fp32"]
    assert "cpu-fp32.onnx: onnxruntime cannot load it" in bench.not_run["cpu-fp32, 1 thread"]
    (folder / "fp32.onnx").write_bytes(b"no graph")
    status, out, err = run(folder, "--runs", 1, "--threads", 1)
    assert (status, out) == (2, "")
    assert "fp32.onnx: onnxruntime cannot load it" in err
    assert len(err.splitlines()) == 1


def test_an_engine_is_timed_beside_the_graphs(tiny_bundle, tmp_path, run, fake_tensorrt, monkeypatch, capfd):
    fake_tensorrt("10.3.0")
    monkeypatch.setattr("htsat_edge.export.build_trt.os.nice", lambda by: by)
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    assert build_trt([str(folder), "--precision", "fp32", "--batch", "1,1,2"]) == 0
    capfd.readouterr()
    status, out, _ = run(folder, "--runs", 1, "--threads", 1, "--sources", 5, "--json")
    assert status == 0
    bench = Bench.model_validate_json(out)
    assert [(m.contender.name, m.runs_on) for m in bench.measured] == [
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
    status, out, _ = run(folder, "--precision", "fp32", "--runs", 1)
    assert status == 2 or "fp32 engine" in out  # its engine alone is asked for, and refused as not of this graph


def test_a_contender_whose_process_dies_is_told_of_and_the_others_go_on(bundle, run, monkeypatch):
    whole = Worker.run

    def dying(self):
        if self.contender.name in ("cpu-fp32", "gemm-int8"):
            self._process.kill()
        whole(self)

    monkeypatch.setattr(Worker, "run", dying)
    status, out, _ = run(bundle, "--runs", 2, "--threads", 1, "--json")
    assert status == 0
    found = Bench.model_validate_json(out)
    assert [m.contender.name for m in found.measured] == ["fp32"]
    assert found.measured[0].model.runs == 2
    assert found.measured[0].gemm_share is not None
    assert found.gemm[0].int8_gflops is None
    assert found.not_run == {
        "cpu-int8": "is not in the bundle; calibration/quantize.py writes it",
        "cpu-fp32, 1 thread": "cpu-fp32: its process ended with status -9",
        "gemm-int8, 1 thread": "gemm-int8: its process ended with status -9",
    }


def test_a_picture(bundle, run, tmp_path):
    assert run(bundle, "--runs", 2, "--threads", 1, "--plot", tmp_path / "bench.png")[0] == 0
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--precision", "fp8"], "has no fp8.onnx; precisions here: cpu-fp32, fp32"),
        (["--backend", "tensorrt"], "has no engine; export/build_trt.py builds one"),
        (["--backend", "tensorrt", "--precision", "fp16"], "has no fp16 engine; export/build_trt.py builds one"),
        (["--threads", "0"], "'0' is not a whole number from 1 on"),
        (["--threads", "1,"], "'' is not a whole number from 1 on"),
        (["--runs", "0"], "'0' is not a whole number from 1 on"),
        (["--hop-s", "99"], "hop of 99 s: want between 0.32 and 10.24 s"),
        (["--plot", "none/bench.png"], "want the name of a .png file in a folder that exists"),
        (["--plot", "bench.svg"], "want the name of a .png file in a folder that exists"),
    ],
)
def test_bad_input_is_one_line(arguments, message, bundle, run):
    status, out, err = run(bundle, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_transformers_the_public_models_are_left_out_and_said_so(bundle, capfd, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.commands.bench.importlib.util.find_spec", lambda name: None)
    arguments = ["bench", "--bundle", str(bundle), "--runs", "1", "--threads", "1"]
    assert cli.main(arguments) == 0
    assert "not run: peers: transformers is not installed" in capfd.readouterr().out
    assert cli.main([*arguments, "--peers"]) == 2
    assert "--peers: transformers is not installed" in capfd.readouterr().err


def test_public_models_run_beside(bundle, capfd, monkeypatch):
    def find(network, threads, folder):
        shutil.copy(bundle / "fp32.onnx", folder / "Other.onnx")
        (folder / "Broken.onnx").write_bytes(b"no graph")
        peers = [
            Contender(name=name, kind="peer", path=str(folder / f"{name}.onnx"), threads=count, parameters=1_700_000)
            for name in ("Other", "Broken")
            for count in threads
        ]
        return peers, {"AST": "TypeError: of another version"}

    monkeypatch.setattr("htsat_edge.runtime.commands.bench.find_peers", find)
    assert cli.main(["bench", "--bundle", str(bundle), "--runs", "1", "--threads", "1"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    (row,) = [line.split() for line in out.splitlines() if line.startswith("Other ")]
    assert len(row) == 12  # no audio, no hop, no sources
    assert "Other, 1 thread: 1.7 M parameters, drawn at random" in out
    assert "not run: AST: TypeError: of another version" in out
    assert "not run: Broken, 1 thread: " in out


def test_a_bundle_that_cannot_be_run_at_all_is_what_is_told(bundle, tmp_path, capfd, monkeypatch):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    for name in ("fp32", "cpu-fp32"):
        (folder / f"{name}.onnx").write_bytes(b"no graph")
    monkeypatch.setattr("htsat_edge.runtime.commands.bench.importlib.util.find_spec", lambda name: None)
    assert cli.main(["bench", "--bundle", str(folder), "--threads", "1"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "fp32.onnx: onnxruntime cannot load it" in err
    assert len(err.splitlines()) == 1


def test_a_foreign_bundle_has_no_share_of_the_machines_products(bundle, tmp_path, run):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    info = json.loads((folder / "model.json").read_text())
    info["provenance"] = {"network": "theirs"}
    (folder / "model.json").write_text(json.dumps(info))
    status, out, _ = run(folder, "--runs", 1, "--threads", 1, "--json")
    assert status == 0
    found = Bench.model_validate_json(out)
    assert found.macs is None
    assert {m.gemm_share for m in found.measured} == {None}


def test_ctrl_c_ends_every_process(bundle):
    command = [sys.executable, "-m", "htsat_edge", "bench", "--bundle", str(bundle), "--no-peers", "--runs", "100000"]
    bench = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    children = Path(f"/proc/{bench.pid}/task/{bench.pid}/children")
    while not (workers := children.read_text().split()):
        time.sleep(0.05)
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=60)
    assert (bench.returncode, out, err) == (130, b"", b"")
    until = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_matrix_products_are_what_they_are_called():
    for name, op, kinds in (("fp32", "MatMul", (1, 1, 1)), ("int8", "MatMulInteger", (2, 3, 6))):
        model = onnx.load(GEMMS / f"gemm-{name}.onnx")
        onnx.checker.check_model(model, full_check=True)
        assert [node.op_type for node in model.graph.node] == [op]
        values = [*model.graph.input, *model.graph.output]
        assert tuple(value.type.tensor_type.elem_type for value in values) == kinds


def test_the_worker_does_what_the_bench_times(bundle, monkeypatch):
    calls = []

    def infer(self, log_mel):
        calls.append(len(log_mel))
        return whole(self, log_mel)

    whole = OrtBackend.infer
    monkeypatch.setattr(OrtBackend, "infer", infer)
    contender = Contender(name="fp32", kind="bundle", path=str(bundle), precision="fp32", batch=3, hop_s=2.56)
    about, tasks = open_contender(contender)()
    assert about["hop_s"] == 2.56
    for task, clips in {"model": [1], "audio": [1], "hop": [1], "batch": [3]}.items():
        for _ in range(3):
            calls.clear()
            tasks[task]()
            assert calls == clips, task


def test_json_is_all_that_stdout_has(bundle, run):
    _, out, _ = run(bundle, "--runs", 1, "--threads", 1, "--json")
    assert json.loads(out)["runs"] == 1
    assert np.isfinite(json.loads(out)["measured"][0]["model"]["p50_ms"])
