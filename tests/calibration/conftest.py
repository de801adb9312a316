"""Recordings to calibrate on: real ones, cut and varied so that there are a dozen."""

import numpy as np
import onnx
import pytest
import soundfile

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
