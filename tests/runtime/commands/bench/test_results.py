"""The arithmetic of a bench."""

import numpy as np
import onnx
import pytest
from htsat_edge.export.graph import build
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.network import HTSAT
from htsat_edge.runtime.commands.bench import read_size
from htsat_edge.runtime.commands.bench.results import Gemm, Network, capacity, multiply_adds, share, timing
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle
from hypothesis import given
from hypothesis import strategies as st


def counted(model):
    """The multiply-adds of a graph, node by node."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in values}
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "MatMul":
            total += int(np.prod(shapes[node.output[0]])) * shapes[node.input[0]][-1]
        elif node.op_type == "Conv":
            total += int(np.prod(shapes[node.output[0]])) * int(np.prod(shapes[node.input[1]][1:]))
    return total


@pytest.mark.parametrize(
    "config",
    [NetworkConfig(), NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)],
    ids=["audioset", "tiny"],
)
def test_multiply_adds_are_those_of_the_graph(config):
    model = build(HTSAT(config).eval(), 1024)
    for value in model.graph.input:  # a clip at a time
        value.type.tensor_type.shape.dim[0].dim_value = 1
    assert multiply_adds(Network.model_validate(config.model_dump())) == counted(model)


def test_the_bundled_model_tells_its_size():
    assert 0.4e9 < multiply_adds(read_size(read_bundle(BUNDLED))) < 1e9


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=50))
def test_figures_of_runs_are_in_order(seconds):
    found = timing(seconds)
    assert found.runs == len(seconds)
    assert 1000 * min(seconds) - 1e-3 <= found.p50_ms <= found.p90_ms <= found.p99_ms <= 1000 * max(seconds) + 1e-3
    assert 0 <= found.spread_ms <= 500 * (max(seconds) - min(seconds)) + 1e-3


def test_the_spread_is_half_of_what_lies_between_p10_and_p90():
    found = timing(np.arange(101) / 1000)
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.spread_ms) == (50, 90, 99, 40)


def of(ms):
    return timing([ms / 1000])


def test_how_many_sources_a_machine_hears():
    assert capacity(of(60), of(64), 1.28, None, 1) == 20
    assert capacity(of(60), of(64), 1.28, of(400), 8) == int(1280 / (50 + 4))
    assert capacity(of(60), of(59), 1.28, None, 1) == 21  # what lies around the model is never less than nothing


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", 0.5), ("cpu-fp32", 0.5), ("cpu-int8", 0.125)])
def test_the_share_of_the_machines_own_products(precision, wanted):
    gemm = Gemm(threads=2, fp32_gflops=100, int8_gflops=400)
    assert share(10**9, of(40), precision, gemm) == pytest.approx(wanted)
    assert share(10**9, of(40), "fp32", Gemm(threads=2, fp32_gflops=None, int8_gflops=None)) is None
