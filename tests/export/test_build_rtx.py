"""build_trt.py with NVIDIA's own parser and builder (TensorRT for RTX), which need no GPU."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from htsat_edge.runtime.models.bundle import read_bundle
from htsat_edge.runtime.models.engines import FOLDER, engine_file, read_engine, read_passports

ROOT = Path(__file__).parent.parent.parent
trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 Linux only")
KILLS = 20


@pytest.fixture(scope="module")
def full(full_graphs, tmp_path_factory):
    """A bundle of the published AudioSet size."""
    from htsat_edge.export.to_onnx import STEPS, step_seconds
    from htsat_edge.htsat.config import NetworkConfig

    folder, config = tmp_path_factory.mktemp("full"), NetworkConfig()
    for name, model in zip(("fp32", "int8"), full_graphs, strict=True):
        onnx.save(model, folder / f"{name}.onnx")
    told = {
        "name": "full",
        "front_end": config.front_end.model_dump(),
        "frames": 1024,
        "steps": STEPS,
        "step_s": step_seconds(1024, config.front_end.frame_s),
        "labels": [f"class {i}" for i in range(config.classes)],
    }
    (folder / "model.json").write_text(json.dumps(told))
    yield read_bundle(folder)
    shutil.rmtree(folder)  # half a gigabyte


@pytest.mark.parametrize("name", ["bundled", "full"])
def test_it_builds_every_precision_and_uses_them_again(name, build, request):
    bundle = request.getfixturevalue(name)
    for precision in ("fp32", "fp16", "int8"):
        status, out, err = build(bundle, "--flavour", "rtx", "--precision", precision)
        assert (status, err) == (0, "")
        assert f"{precision}: built in " in out
    passports = {passport.recipe.precision: passport for passport in read_passports(bundle)}
    for precision, graph in (("fp32", "fp32"), ("fp16", "fp32"), ("int8", "int8")):
        passport = passports[precision]
        assert passport.recipe.graph == graph
        assert passport.recipe.graph_sha256 == bundle.sha256(graph)
        assert passport.recipe.tensorrt == trt.__version__
        assert (passport.recipe.gpu, passport.latency, passport.check) == (None, None, None)
        assert len(read_engine(bundle, passport)) == passport.engine_bytes > 10**6
    assert passports["int8"].engine_bytes < 0.9 * passports["fp32"].engine_bytes
    assert passports["fp16"].engine_bytes < 0.9 * passports["fp32"].engine_bytes
    times = {path: path.stat().st_mtime_ns for path in (bundle.path / FOLDER).iterdir() if path.name != ".lock"}
    for precision in ("fp32", "fp16", "int8"):
        assert f"{precision}: is there since" in build(bundle, "--flavour", "rtx", "--precision", precision)[1]
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_without_a_gpu_auto_builds_one_and_says_so(bundled, build):
    status, out, _ = build(bundled, "--flavour", "rtx")
    assert status == 0
    assert "without a GPU nothing can be compared: fp16 is built" in out
    assert "not compared with fp32: there is no GPU here" in out


def test_the_parser_says_which_node_it_does_not_take(bundle, build):
    model = onnx.load(bundle.path / "fp32.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.attribute[0].i = 9
    onnx.save(model, bundle.path / "fp32.onnx")
    status, _, err = build(bundle, "--flavour", "rtx", "--precision", "fp32")
    assert status == 2
    assert f"fp32.onnx: TensorRT for RTX {trt.__version__} does not take node" in err
    assert f"{node.name}, operation Softmax" in err
    assert len(err.splitlines()) == 1


def test_ctrl_c_stops_the_real_builder_at_once(bundled):
    command = [sys.executable, ROOT / "export" / "build_trt.py", bundled.path, "--flavour", "rtx"]
    for delay in (0.1, 0.5, 0.9):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may have it ignored
        )
        process.stdout.readline()  # it has begun
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert err == ""
        assert [path.name for path in (bundled.path / FOLDER).iterdir()] == [".lock"]


def test_killed_at_any_moment_no_engine_is_left_that_would_be_used(bundle):
    """SIGKILL at random times all over a build, some of them just when files are written."""
    command = [sys.executable, ROOT / "export" / "build_trt.py", bundle.path, "--flavour", "rtx", "--precision", "fp32"]
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    length, folder = time.monotonic() - begun, bundle.path / FOLDER
    rng, killed, left = random.Random(0), 0, set()
    for number in range(KILLS):
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
        for passport in read_passports(bundle):  # complete then, and so is what it is of
            engine = engine_file(bundle, passport.recipe).read_bytes()
            assert hashlib.sha256(engine).hexdigest() == passport.engine_sha256
    assert killed >= KILLS / 2
    assert left & {"engine", "engine.part"}
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "fp32: built in" in done.stdout or "fp32: is there since" in done.stdout
    (passport,) = read_passports(bundle)
    read_engine(bundle, passport)
    assert {path.suffix for path in folder.iterdir()} == {"", ".engine", ".json"}
