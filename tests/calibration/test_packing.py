"""Packed graphs: fewer bytes, the same values, and the same graphs made from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from htsat_edge.calibration.graphs import to_half
from htsat_edge.calibration.packing import is_packed, pack
from htsat_edge.calibration.plain import plain
from htsat_edge.export.cpu_graph import build_for_cpu
from htsat_edge.export.graph import build
from htsat_edge.htsat.network import HTSAT
from htsat_edge.runtime.models.backends.ort import open_session

OPS = set((Path(__file__).parent.parent / "data" / "nvidia" / "onnx-ops-8.6.txt").read_text().split())


@pytest.fixture(scope="module")
def rounded(tiny_network):
    """The tiny network, whose weights half precision holds exactly."""
    assert all(torch.equal(x, x.half().float()) for x in tiny_network.parameters())
    return tiny_network


@pytest.fixture(scope="module", params=[build, build_for_cpu], ids=["fp32", "cpu-fp32"])
def graph(request, rounded):
    return request.param(rounded, 1024)


def constants(model):
    return {
        tensor.name: (tensor.data_type, numpy_helper.to_array(tensor).tobytes()) for tensor in model.graph.initializer
    }


def run(model, inputs):
    return open_session(model.SerializeToString()).run(None, inputs)


def test_it_takes_half_the_bytes_and_gives_the_same_to_the_bit(graph, windows):
    packed = pack(graph)
    assert packed.ByteSize() < 0.55 * graph.ByteSize()
    assert (is_packed(packed), is_packed(graph)) == (True, False)
    for batch in (1, 3):
        for found, wanted in zip(*(run(x, {"log_mel": windows[:batch]}) for x in (packed, graph)), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_folding_brings_back_the_graph_as_it_was(graph):
    again = plain(pack(graph))
    assert list(again.graph.node) == list(graph.graph.node)
    assert constants(again) == constants(graph)


def test_the_half_precision_graph_of_it_is_the_same(rounded):
    graph = build(rounded, 1024)
    half, again = to_half(graph), to_half(pack(graph))
    assert list(again.graph.node) == list(half.graph.node)
    assert constants(again) == constants(half)


def test_weights_that_half_precision_cannot_hold_stay_as_they_are(tiny_network):
    network = HTSAT(tiny_network.config).eval()
    network.load_state_dict({name: x * 1.001 for name, x in tiny_network.state_dict().items()})
    graph = build(network, 1024)
    packed = pack(graph)
    floats = {name: value for name, value in constants(graph).items() if value[0] == TensorProto.FLOAT}
    kept = {name for name in floats if constants(packed).get(name) == floats[name]}
    assert {name for name in floats if ".matmul." in name} <= kept
    assert constants(plain(packed)) == constants(graph)
    assert "layers.0.blocks.1.attn.scores.bias.1" not in kept  # its windows are of few kinds


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(8, 256), (1, 8, 256)])
def test_rows_that_repeat_are_stored_once(kind, shape):
    """Zero and minus zero are not the same row."""
    rows = np.full((8, 256), 1.5, kind)
    rows[[1, 5]], rows[3] = 0.0, -0.0
    value = rows.reshape(shape)
    x, y = (helper.make_tensor_value_info(name, 1 if kind is np.float32 else 10, shape) for name in "xy")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "c"], ["y"], name="sum")], "g", [x], [y], [numpy_helper.from_array(value, "c")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    packed = pack(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in packed.graph.initializer}
    assert stored["c.kind"].tolist() == [0, 1, 0, 2, 0, 1, 0, 0]
    assert (stored["c.stored"].size, stored["c.stored"].dtype) == (3 * 256, np.float16)
    assert constants(plain(packed)) == constants(model)


def test_old_parsers_know_what_is_in_it(rounded, nvidia_layers):
    packed = pack(build(rounded, 1024))
    assert {node.op_type for node in packed.graph.node} <= OPS
    assert nvidia_layers(packed) > 0
