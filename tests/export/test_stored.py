"""The stored graphs of the small networks, which stand in for torch on a device, are those that are exported today."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from htsat_edge.export.cpu_graph import build_for_cpu
from htsat_edge.export.graph import build
from htsat_edge.export.to_onnx import main
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT

GRAPHS = [f"{network}/{graph}.onnx" for network in ("tiny", "small") for graph in ("fp32", "cpu-fp32")]


@pytest.fixture(scope="module")
def today(tiny_checkpoint, tiny_files, tiny_weights, tmp_path_factory):
    """The bundle of the tiny network, and the graphs of its first blocks alone."""
    folder = tmp_path_factory.mktemp("today")
    described = ["--network", tiny_files / "tiny.yaml", "--labels", tiny_files / "tiny.csv"]
    assert main([str(x) for x in (tiny_checkpoint, *described, "--out", folder / "tiny")]) == 0
    small = HTSAT(NetworkConfig(embed_dim=16, depths=(1, 1, 1, 1), heads=(2, 4, 4, 8), classes=10)).eval()
    small.load_state_dict({key: tiny_weights.get(key, value) for key, value in small.state_dict().items()})
    (folder / "small").mkdir()
    onnx.save(build(small, 1024), folder / "small" / "fp32.onnx")
    onnx.save(build_for_cpu(small, 1024), folder / "small" / "cpu-fp32.onnx")
    return folder


def read(path):
    """Everything but the constants' values, and these."""
    model = onnx.load(path)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    del model.graph.initializer[:]
    return model, values


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_stored_graph_is_the_one_of_today(graph, stored, today):
    names = " ".join(["tiny/model.json", *GRAPHS])
    renew = f"tar -C {today} -cf - {names} | xz -9e > tests/data/networks/networks.tar.xz"
    (found, found_values), (wanted, wanted_values) = (read(folder / graph) for folder in (stored, today))
    assert found == wanted, f"renew it: {renew}"
    assert found_values.keys() == wanted_values.keys(), f"renew it: {renew}"
    for name, value in wanted_values.items():  # another processor rounds a sum otherwise
        np.testing.assert_allclose(found_values[name], value, rtol=1e-5, atol=1e-6, err_msg=f"renew it: {renew}")


def test_the_stored_bundle_says_what_one_of_today_says(stored, today):
    found, wanted = (json.loads((folder / "tiny" / "model.json").read_text()) for folder in (stored, today))
    for info in (found, wanted):
        del info["provenance"]["versions"]  # of what is installed
        del info["provenance"]["largest_difference_from_torch_by_batch"]  # of the processor
    assert found == wanted
