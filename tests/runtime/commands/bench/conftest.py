"""A bundle to time."""

import shutil

import onnx
import pytest

from htsat_edge.export.cpu_graph import build_for_cpu


@pytest.fixture(scope="session")
def bundle(tiny_bundle, tiny_network, tmp_path_factory):
    """A bundle of the tiny network, with its graph for a CPU."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("bench") / "tiny")
    onnx.save(build_for_cpu(tiny_network, 1024), folder / "cpu-fp32.onnx")
    return folder
