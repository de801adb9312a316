"""The command build_trt.py, with a fake TensorRT and GPU (tests/fakes); NVIDIA's own are in test_build_rtx.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from htsat_edge.export.build_trt import make_parser
from htsat_edge.runtime.models.bundle import BUNDLED
from htsat_edge.runtime.models.engines import FOLDER, Latency, NoEngine, Platform, find_engines, read_manifests

SCRIPT = Path(__file__).parent.parent.parent / "export" / "build_trt.py"


def platform(bundle):
    return Platform("tensorrt", "10.3.0", read_manifests(bundle)[0].recipe.gpu)


@pytest.fixture
def take(monkeypatch, bundled):
    """Set how many milliseconds an engine takes, by precision."""

    def set_times(**p50_ms):
        def measure(backend, windows, size, cuda_graph):
            validated = {manifest.recipe.precision for manifest in read_manifests(bundled)}
            p50 = next(time for precision, time in p50_ms.items() if precision not in validated)
            return Latency(p50_ms=p50, p99_ms=p50, runs=1, warm_up=0, batch=1, cuda_graph=False)

        monkeypatch.setattr("htsat_edge.export.validate.measure", measure)

    return set_times


def test_auto_keeps_the_faster_one_within_the_budget(bundled, build_trt, fake_tensorrt, take):
    fake_tensorrt("10.3.0")
    take(fp16=1.0, int8=2.0)
    status, out, _ = build_trt(bundled)
    assert status == 0
    assert "htsat-edge uses fp16, the fastest engine that passed validation" in out
    assert find_engines(bundled, platform(bundled))[0].recipe.precision == "fp16"
    assert find_engines(bundled, platform(bundled), "int8")[0].recipe.precision == "int8"
    assert "fp16: already built on" in build_trt(bundled)[1]


def test_auto_leaves_a_fast_one_that_is_outside_the_budget(bundled, build_trt, fake_tensorrt, take):
    fake_tensorrt("10.3.0")
    take(fp16=2.0, int8=1.0)
    status, out, _ = build_trt(bundled, "--budget", 53)  # int8 is within 50 dB, fp16 within more
    assert status == 0
    assert "dB, want 53" in out
    assert "htsat-edge uses fp16, the fastest engine" in out
    assert find_engines(bundled, platform(bundled))[0].recipe.precision == "fp16"
    with pytest.raises(NoEngine, match=r"its logit SNR to fp32 is 5.* dB, want 53"):
        find_engines(bundled, platform(bundled), "int8")


def test_of_two_the_other_is_built_when_one_fails(bundled, build_trt, fake_tensorrt):
    (bundled.path / "int8.onnx").write_bytes(b"no graph")
    fake_tensorrt("10.3.0")
    status, out, err = build_trt(bundled)
    assert status == 0
    assert "int8.onnx: is not an ONNX file" in err
    assert "fp16: built in" in out


def test_a_graph_that_the_bundle_lacks_is_named(bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    status, _, err = build_trt(bundle, "--precision", "int8")
    assert status == 2
    assert "has no int8.onnx, which int8 engines are built from; python -m htsat_edge.calibration.quantize" in err
    status, out, _ = build_trt(bundle)
    assert status == 0
    assert "only fp16 is built: " in out
    assert "has no 8-bit graph; python -m htsat_edge.calibration.quantize makes one" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "4,1,8"], "'4,1,8' is not MIN,OPT,MAX, from few to many, such as 1,1,8"),
        (["--batch", "0"], "'0' is not a whole number from 1 on"),
        (["--precision", "fp8"], "invalid choice: 'fp8'"),
        (["--workspace-mib", "99999999999999"], "MiB are more than any device has"),
        (["--budget", "nan"], "'nan' is not a number of dB"),
        (["--workspace-mib", "-1"], "is not a whole number from 1 on"),
        (["--flavour", "rtx", "--optimization-level", "6"], "invalid choice: 6"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, message, bundle, build_trt):
    status, _, err = build_trt(bundle, *arguments)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_the_defaults():
    args = make_parser().parse_args([])
    assert args.bundle == BUNDLED
    assert (args.precision, args.batch, args.budget, args.background) == ("auto", (1, 1, 8), 30, False)
    assert make_parser().parse_args(["--batch", "4"]).batch == (4, 4, 4)


def test_no_tensorrt_and_no_gpu(bundle, fake_tensorrt):
    without = dict(os.environ)
    fake_tensorrt("10.3.0")
    script = [sys.executable, SCRIPT, bundle.path, "--flavour", "tensorrt"]
    for environment, message in (
        (without, "TensorRT for Python is not installed; on a Jetson: sudo apt install python3-libnvinfer"),
        ({**os.environ, "FAKE_GPU": ""}, "no GPU can be used"),
    ):
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr
        assert "without it, htsat-edge runs on onnxruntime" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_it_runs_in_a_folder_with_packages_of_the_same_names(bundle, tmp_path, fake_tensorrt):
    fake_tensorrt("10.3.0", FAULTS="bindings")
    for name in ("runtime", "export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('the {name} of somebody else')")
    for program, message in (
        ([SCRIPT], "fp32: built in"),
        (["-m", "htsat_edge.export.build_trt"], "fp32: already built on"),
    ):
        command = [sys.executable, *program, bundle.path, "--precision", "fp32"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert message in done.stdout


def test_no_onnx(bundle):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    arguments = [str(bundle.path), "--flavour", "rtx"]
    code = "import sys; sys.modules['onnx'] = None; from htsat_edge.export.build_trt import main; "
    code += f"sys.exit(main({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "building needs onnx: pip install onnx" in done.stderr
    assert not list((bundle.path / FOLDER).glob("*.failed"))
