"""Recordings to calibrate on: real ones, cut and varied so that there are a dozen."""

import shutil

import numpy as np
import onnx
import pytest
import soundfile

from htsat_edge.calibration.observe import observe
from htsat_edge.calibration.structure import find_linears
from htsat_edge.export.graph import build
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT


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
def small_network(tiny_weights):
    """The tiny network with the first block of each stage alone: 27 linear layers in place of 57."""
    network = HTSAT(NetworkConfig(embed_dim=16, depths=(1, 1, 1, 1), heads=(2, 4, 4, 8), classes=10))
    network.load_state_dict({key: tiny_weights.get(key, value) for key, value in network.state_dict().items()})
    return network.eval()


@pytest.fixture(scope="session")
def small_bundle(tiny_bundle, small_network, tmp_path_factory):
    """A bundle of it: a command that makes dozens of graphs takes a third of the time."""
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("small") / "bundle")
    onnx.save(build(small_network, 1024), bundle / "fp32.onnx")
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
