"""What several test files share: the goldens, the small network behind them, and a bundle of it."""

import ctypes
import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

# Networks this small take twice the processor time on two threads, which wait for each other in a loop. Read at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

DATA = Path(__file__).parent / "data"
FAKES = Path(__file__).parent / "fakes"
FIXTURES = Path(__file__).parent / "fixtures"
sys.path.append(str(FIXTURES))
pytest_plugins = ["certificate", "chromium", "mosquitto", "kserve_server", "memory_store", "postgresql", "tritonserver"]
"""Fixtures that are files of their own, in tests/fixtures."""
TINY = {"embed_dim": 16, "depths": (2, 2, 3, 2), "heads": (2, 4, 4, 8), "classes": 10}
"""The network behind the goldens (tests/data/goldens/README.md)."""
NEEDS_TORCH = (
    "htsat",
    "calibration/test_packing.py",
    *(
        f"export/test_{name}.py"
        for name in ("gpu_day", "gpu_parts", "graph", "roofline", "stored", "to_onnx", "to_onnx_groups")
    ),
)
collect_ignore = [] if importlib.util.find_spec("torch") else list(NEEDS_TORCH)


def pytest_report_header():
    """Say what a device cannot run; single tests of other files say so as they are skipped."""
    return f"torch is not installed; left out: {', '.join(collect_ignore)}" if collect_ignore else None


@pytest.fixture(autouse=True)
def no_progress_lines(monkeypatch):
    """Print no line about work that takes half a minute on a machine that is slow today."""
    monkeypatch.setattr("htsat_edge.runtime.common.half_minutes.HalfMinutes.passed", lambda _: False)


@pytest.fixture(scope="module", autouse=True)
def return_memory():
    """Return freed memory to the system after each file: glibc would keep half a gigabyte of it."""
    yield
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture(scope="session")
def farmyard():
    """27 s of real recordings one after the other; farmyard.csv says what sounds when."""
    return DATA / "recordings" / "farmyard.flac"


@pytest.fixture(scope="session")
def goldens():
    """What the reference computes: `<case>/framewise`, `clipwise`, `embedding`, and `<clip>/log_mel`."""
    return dict(np.load(DATA / "goldens" / "outputs.npz"))


@pytest.fixture(scope="session")
def waveforms():
    """The goldens' inputs, float32 in [-1, 1]."""
    return {name: x.astype(np.float32) / 32768 for name, x in np.load(DATA / "goldens" / "waveforms.npz").items()}


@pytest.fixture(scope="session")
def tiny_weights():
    """The weights behind the goldens, in the form of a bare checkpoint."""
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    return {key: value.float() for key, value in load_file(DATA / "goldens" / "weights.safetensors").items()}


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_weights, tmp_path_factory):
    """The same as a Lightning file."""
    import torch  # tiny_weights has looked whether it is there

    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    torch.save({"state_dict": {f"sed_model.{key}": value for key, value in tiny_weights.items()}}, path)
    return path


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory):
    """The tiny network's description and label list, as files."""
    folder = tmp_path_factory.mktemp("tiny")
    rows = [f"{key}: {list(value) if isinstance(value, tuple) else value}\n" for key, value in TINY.items()]
    (folder / "tiny.yaml").write_text("".join(rows))
    (folder / "tiny.csv").write_text("label\n" + "".join(f"class {i}\n" for i in range(10)))
    return folder


@pytest.fixture(scope="session")
def tiny_network(tiny_checkpoint):
    """The small network with the goldens' weights."""
    from htsat_edge.htsat.checkpoint import load_network
    from htsat_edge.htsat.config import NetworkConfig

    return load_network(tiny_checkpoint, NetworkConfig(**TINY))


@pytest.fixture(scope="session")
def drop_frame_embedding():
    """Take the output away from a graph that an earlier export lacks."""

    def drop(graph):
        for part in (graph.node, graph.output):
            (found,) = (x for x in part if x.name == "frame_embedding")
            part.remove(found)

    return drop


NVIDIA_BUILD = """
import sys
import tensorrt_rtx_bindings as trt
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(0)
parser = trt.OnnxParser(network, logger)
assert parser.parse_from_file(sys.argv[1]), [parser.get_error(i).desc() for i in range(parser.num_errors)]
config = builder.create_builder_config()
profile = builder.create_optimization_profile()
profile.set_shape("log_mel", (1, 1024, 64), (1, 1024, 64), (8, 1024, 64))
config.add_optimization_profile(profile)
assert builder.build_serialized_network(network, config) is not None
print(network.num_layers)
"""


@pytest.fixture
def nvidia_layers(tmp_path):
    """Build graphs with NVIDIA's own parser and builder (TensorRT for RTX), which need no GPU; return their layers.

    Each build is a process of its own: the builder keeps hundreds of megabytes.
    """
    if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT for RTX has wheels for x86-64 Linux only")

    def build(model):
        import onnx

        onnx.save(model, tmp_path / "nvidia.onnx")
        command = [sys.executable, "-c", NVIDIA_BUILD, tmp_path / "nvidia.onnx"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    return build


@pytest.fixture(scope="session")
def full_graphs(tmp_path_factory):
    """Write fp32.onnx and int8.onnx of the published AudioSet size with random weights; return their folder."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("full_graphs")
    write_full_graphs(folder)
    yield folder
    shutil.rmtree(folder)


def write_full_graphs(folder):
    """Write the graphs with made-up ranges: their structure is what matters.

    A function of its own, so that nothing of half a gigabyte stays in memory.
    """
    import onnx
    import torch
    from onnxruntime.quantization import QuantType

    from htsat_edge.calibration.gptq import round_nearest, scales
    from htsat_edge.calibration.graphs import Rounded, to_int8
    from htsat_edge.calibration.structure import find_linears
    from htsat_edge.export.graph import build
    from htsat_edge.htsat.config import NetworkConfig
    from htsat_edge.htsat.network import HTSAT

    torch.manual_seed(0)
    model = build(HTSAT(NetworkConfig()).eval(), 1024)
    onnx.save(model, folder / "fp32.onnx")
    linears = find_linears(model)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    rounded = {
        name: Rounded(round_nearest(weights[name], scale := scales(weights[name])), scale)
        for name in {linear.weight for linear in linears}
    }
    ranges = {linear.input: (-0.2 if "gelu" in linear.input else -4.0, 4.0) for linear in linears}
    onnx.save(to_int8(model, linears, rounded, ranges, QuantType.QInt8), folder / "int8.onnx")


@pytest.fixture(scope="session")
def wait_for():
    """Wait until a condition holds; a busy machine may need long, so the limit is there for what never comes."""

    def wait(condition, seconds=300):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.01)

    return wait


@pytest.fixture
def fake_tensorrt(monkeypatch):
    """Puts TensorRT of a version, and a GPU, where there are none (tests/fakes), for child processes, too."""
    from htsat_edge.runtime.models.backends.gpu import open_device
    from htsat_edge.runtime.models.backends.trt import logger_of

    def forget():
        logger_of.cache_clear()
        open_device.cache_clear()
        for name in list(sys.modules):
            if name.partition(".")[0] in ("tensorrt", "pycuda", "cuda", "fake_gpu"):
                del sys.modules[name]

    def use(version, **environment):
        forget()
        monkeypatch.setattr("htsat_edge.runtime.models.backends.gpu.is_there", lambda: True)
        monkeypatch.syspath_prepend(FAKES)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(FAKES), os.environ.get("PYTHONPATH")])))
        monkeypatch.setenv("FAKE_TENSORRT", version)
        for name, value in environment.items():
            monkeypatch.setenv(f"FAKE_{name}", str(value))
        return importlib.import_module("fake_gpu")

    yield use
    forget()


@pytest.fixture
def read_only(monkeypatch, tmp_path):
    """Has a folder be one that cannot be written to, also for root, and the cache in this test's folder."""

    def make(folder):
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: not path.is_relative_to(folder) and access(path, mode))
        monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    return make


@pytest.fixture
def unwritable(monkeypatch):
    """Has no file be begun anywhere, as in the folders of somebody else, also for root."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("htsat_edge.runtime.common.files.begin_part", refuse)


@pytest.fixture(scope="session")
def twelve_seconds(tmp_path_factory):
    """The beginning of the recording that engines are validated on: 10 windows in place of 22."""
    import soundfile

    from htsat_edge.export.validate import RECORDING

    samples, rate = soundfile.read(RECORDING, dtype="float32")
    path = tmp_path_factory.mktemp("validation") / "twelve.flac"
    soundfile.write(path, samples[: 12 * rate], rate)
    return path


@pytest.fixture
def quick_validation(twelve_seconds, monkeypatch):
    """Validate the engines that are built in this process on few windows, and time them in few runs."""
    monkeypatch.setattr("htsat_edge.export.validate.RECORDING", twelve_seconds)
    monkeypatch.setattr("htsat_edge.export.validate.RUNS", 3)
    monkeypatch.setattr("htsat_edge.export.validate.WARM_UP", 1)


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """The small networks as they were exported once, for devices without torch (tests/data/networks/README.md)."""
    folder = tmp_path_factory.mktemp("stored")
    with tarfile.open(DATA / "networks" / "networks.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(stored, tmp_path_factory):
    """A bundle of the small network, without its graph for a CPU."""
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    return shutil.copytree(stored / "tiny", out, ignore=shutil.ignore_patterns("cpu-fp32.onnx"))
