"""build_trt.py with NVIDIA's own parser and builder (TensorRT for RTX), which need no GPU."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.engines import FOLDER, engine_file, read_engine, read_manifests

SCRIPT = Path(__file__).parent.parent.parent / "export" / "build_trt.py"
trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 Linux only")


@pytest.fixture(scope="module")
def full(full_graphs, tmp_path_factory):
    """A bundle of the published AudioSet size."""
    from htsat_edge.export.to_onnx import STEPS, step_seconds
    from htsat_edge.htsat.config import NetworkConfig

    folder, config = tmp_path_factory.mktemp("full"), NetworkConfig()
    for name in ("fp32.onnx", "int8.onnx"):
        shutil.copy(full_graphs / name, folder)
    info = {
        "name": "full",
        "front_end": config.front_end.model_dump(),
        "frames": 1024,
        "steps": STEPS,
        "step_s": step_seconds(1024, config.front_end.frame_s),
        "labels": [f"class {i}" for i in range(config.classes)],
    }
    (folder / "model.json").write_text(json.dumps(info))
    yield load_bundle(folder)
    shutil.rmtree(folder)  # half a gigabyte


@pytest.mark.parametrize("name", ["bundled", pytest.param("full", marks=pytest.mark.slow)])
def test_it_builds_every_precision_and_finds_them_again(name, build_trt, request):
    bundle = request.getfixturevalue(name)
    for precision in ("fp32", "fp16", "int8"):
        status, out, err = build_trt(bundle, "--flavour", "rtx", "--precision", precision)
        assert (status, err) == (0, "")
        assert f"{precision}: built in " in out
    manifests = {manifest.recipe.precision: manifest for manifest in read_manifests(bundle)}
    for precision, graph in (("fp32", "fp32"), ("fp16", "fp32"), ("int8", "int8")):
        manifest = manifests[precision]
        assert manifest.recipe.graph == graph
        assert manifest.recipe.graph_sha256 == bundle.sha256(graph)
        assert manifest.recipe.tensorrt == trt.__version__
        assert (manifest.recipe.gpu, manifest.latency, manifest.validation) == (None, None, None)
        assert len(read_engine(bundle, manifest)) == manifest.engine_bytes > 10**6
    assert manifests["int8"].engine_bytes < 0.9 * manifests["fp32"].engine_bytes
    assert manifests["fp16"].engine_bytes < 0.9 * manifests["fp32"].engine_bytes
    times = {path: path.stat().st_mtime_ns for path in (bundle.path / FOLDER).iterdir() if path.name != ".lock"}
    for precision in ("fp32", "fp16", "int8"):
        assert f"{precision}: already built on" in build_trt(bundle, "--flavour", "rtx", "--precision", precision)[1]
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_without_a_gpu_auto_builds_fp16(bundled, build_trt):
    status, out, _ = build_trt(bundled, "--flavour", "rtx")
    assert status == 0
    assert "only fp16 is built: without a GPU, engines cannot be compared; --precision int8 builds the other" in out
    assert "for GeForce and RTX cards only" not in out  # as asked for
    assert "not compared with fp32: there is no GPU here" in out


def test_where_it_was_not_asked_for_it_says_what_the_engines_are_for(
    bundle, build_trt, monkeypatch, read_only, tmp_path
):
    """And in the cache, that a copy of the bundle does not have them."""
    monkeypatch.setattr("htsat_edge.export.build_trt.installed_flavour", lambda: "rtx")
    read_only(bundle.path)
    status, out, _ = build_trt(bundle, "--precision", "fp32")
    assert status == 0
    assert "for GeForce and RTX cards only; for a Jetson, run build_trt.py there" in out
    assert f"next: run this on the machine with such a card; the engines are in {tmp_path}/cache/" in out
    assert f"a cache of this machine, which no copy of {bundle.path} has" in out


def test_a_node_that_the_parser_refuses_is_named(bundle, build_trt):
    model = onnx.load(bundle.path / "fp32.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.attribute[0].i = 9
    onnx.save(model, bundle.path / "fp32.onnx")
    status, _, err = build_trt(bundle, "--flavour", "rtx", "--precision", "fp32")
    assert status == 2
    assert f"fp32.onnx: TensorRT for RTX {trt.__version__} refuses node" in err
    assert f"{node.name}, operation Softmax" in err
    assert len(err.splitlines()) == 1


def test_a_zero_point_that_it_refuses_is_told_how_to_mend(bundled, build_trt):
    model = onnx.load(bundled.path / "int8.onnx")
    name = next(node for node in model.graph.node if node.op_type == "QuantizeLinear").input[2]
    next(x for x in model.graph.initializer if x.name == name).CopyFrom(numpy_helper.from_array(np.int8(3), name))
    onnx.save(model, bundled.path / "int8.onnx")
    status, _, err = build_trt(bundled, "--flavour", "rtx", "--precision", "int8")
    assert status == 2
    assert "it takes 8 bits with the zero point 0 alone (ActivationSymmetric and WeightSymmetric in onnxruntime)" in err
    assert len(err.splitlines()) == 1


def cpu_s(pid):
    """Return the processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for_end(process):
    """Wait for the end of a process; return the processor time that it has used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def test_ctrl_c_stops_the_real_builder_at_once(bundled, start, wait_for):
    """Moments are shares of the processor time of a whole build, so that a busy machine does not change them."""

    def begin():
        process = start(bundled, "--flavour", "rtx", "--precision", "fp16")
        assert "fp16: building\n" in iter(process.stdout.readline, "")
        return process, cpu_s(process.pid)

    process, begun = begin()
    whole_s = wait_for_end(process) - begun
    assert process.returncode == 0
    for share in (0, 0.2, 0.4):
        shutil.rmtree(bundled.path / FOLDER)
        process, begun = begin()
        wait_for(lambda begun=begun, pid=process.pid, share=share: cpu_s(pid) >= begun + share * whole_s)
        process.send_signal(signal.SIGINT)
        assert wait_for_end(process) - begun < 0.9 * whole_s  # it did not build to the end
        assert process.returncode == 130
        assert process.stderr.read() == ""
        assert [path.name for path in (bundled.path / FOLDER).iterdir()] == [".lock"]


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_no_engine_is_left_that_would_be_used(kills, bundle):
    """SIGKILL at random times all over a build, and just when files are written."""
    command = [sys.executable, SCRIPT, bundle.path, "--flavour", "rtx", "--precision", "fp32"]
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    length, folder = time.monotonic() - begun, bundle.path / FOLDER
    rng, killed, left = random.Random(0), 0, set()
    for number in range(kills):
        shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        delay, begun = rng.uniform(0, length), time.monotonic()
        while process.poll() is None and (number % 2 or time.monotonic() < begun + delay):
            if number % 2 and any(folder.glob("*.engine*")) | any(folder.glob(".*.engine.part")):
                break  # while, or just after, the engine is written, however long the machine takes until then
            time.sleep(0.0005)
        process.kill()
        killed += process.wait() == -9
        left |= {path.name.lstrip(".").partition(".")[2] for path in folder.glob("*") if path.name != ".lock"}
        for manifest in read_manifests(bundle):  # it is complete, and so is its engine
            engine = engine_file(bundle, manifest.recipe).read_bytes()
            assert hashlib.sha256(engine).hexdigest() == manifest.engine_sha256
    assert killed >= kills / 2
    assert left & {"engine", "engine.part"}
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "fp32: built in" in done.stdout or "fp32: already built on" in done.stdout
    (manifest,) = read_manifests(bundle)
    read_engine(bundle, manifest)
    assert {path.suffix for path in folder.iterdir()} == {"", ".engine", ".json"}
