"""Recordings to calibrate on: real ones, cut and varied so that there are a dozen."""

import shutil

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from htsat_edge.calibration.observe import observe
from htsat_edge.calibration.structure import find_linears


@pytest.fixture(scope="module")
def recordings(farmyard, tmp_path_factory):
    """Write twelve recordings of 12 s; return their folder, which a module may put manifests into."""
    folder = tmp_path_factory.mktemp("recordings")
    samples, rate = soundfile.read(farmyard, dtype="float32")
    rng = np.random.default_rng(0)
    for i in range(12):
        part = np.roll(samples, -int(rng.integers(len(samples))))[: 12 * rate] * 10 ** rng.uniform(-1, 0)
        soundfile.write(folder / f"{i}.flac", part, rate)
    return folder


@pytest.fixture(scope="session")
def model(tiny_bundle):
    """Return the tiny network as a graph."""
    return onnx.load(tiny_bundle / "fp32.onnx")


@pytest.fixture(scope="module")
def clips(recordings):
    """A manifest of six recordings."""
    rows = [f"{i}.flac,class {i % 3},{i / 2},{i / 2 + 2}" for i in range(5)]
    path = recordings / "labels.csv"
    path.write_text("\n".join(["file,class,onset,offset", *rows, "5.flac,background,,", ""]))
    return path


@pytest.fixture(scope="module")
def few(recordings):
    """A manifest of two, for what shows on any recording."""
    path = recordings / "few.csv"
    path.write_text("file,class,onset,offset\n2.flac,class 2,1,3\n5.flac,background,,\n")
    return path


@pytest.fixture(scope="session")
def cpu_graph(stored):
    """The tiny network's graph for a CPU."""
    return onnx.load(stored / "tiny" / "cpu-fp32.onnx")


@pytest.fixture(scope="session")
def small_cpu_graph(stored):
    """The one of the tiny network with the first block of each stage alone."""
    return onnx.load(stored / "small" / "cpu-fp32.onnx")


@pytest.fixture(scope="session")
def small_bundle(tiny_bundle, stored, tmp_path_factory):
    """A bundle of its first blocks alone: a command that makes dozens of graphs takes a third of the time."""
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("small") / "bundle")
    shutil.copy(stored / "small" / "fp32.onnx", bundle)
    return bundle


@pytest.fixture(scope="session")
def windows():
    """Return six windows."""
    return np.random.default_rng(0).normal(-40, 20, (6, 1024, 64)).astype(np.float32)


@pytest.fixture(scope="session")
def linears(model):
    return find_linears(model)


@pytest.fixture(scope="session")
def observed(model, linears, windows):
    return observe(model, linears, windows)


@pytest.fixture
def half_rounding(tmp_path):
    """A file that rounds half precision to 8 bits, and does nothing else."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [7]) for name in ("log_mel", "framewise")]
    nodes = [
        helper.make_node("QuantizeLinear", ["log_mel", "step", "zero"], ["scaled"]),
        helper.make_node("DequantizeLinear", ["scaled", "step", "zero"], ["framewise"]),
    ]
    constants = [numpy_helper.from_array(np.float16(1), "step"), numpy_helper.from_array(np.int8(0), "zero")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=constants)
    path = tmp_path / "int8_fp16.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return path
