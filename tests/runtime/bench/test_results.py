"""The arithmetic of a bench."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.cpu_graph import build_for_cpu
from export.graph import build
from htsat.config import NetworkConfig
from htsat.network import HTSAT
from runtime.bench.results import SIDE, Bench, Contender, Device, Gemm, Measured, multiply_adds, timing
from runtime.bundle import BUNDLED, read_bundle


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
    assert multiply_adds(config.embed_dim, config.depths, config.classes) == counted(model)
    assert "Attention" in {node.op_type for node in build_for_cpu(HTSAT(config).eval(), 1024).graph.node}


def test_the_bundled_model_tells_its_size():
    network = read_bundle(BUNDLED).info.provenance["network"]
    assert 0.4e9 < multiply_adds(network["embed_dim"], network["depths"], network["classes"]) < 1e9


@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=50))
def test_figures_of_runs_are_in_order(seconds):
    found = timing(seconds)
    assert found.runs == len(seconds)
    assert 1000 * min(seconds) - 1e-3 <= found.p50_ms <= found.p90_ms <= found.p99_ms <= 1000 * max(seconds) + 1e-3
    assert 0 <= found.spread_ms <= 500 * (max(seconds) - min(seconds)) + 1e-3


def test_the_spread_is_half_of_what_lies_between_p10_and_p90():
    found = timing(np.arange(101) / 1000)
    assert (found.p50_ms, found.p90_ms, found.p99_ms, found.spread_ms) == (50, 90, 99, 40)


def measured(model_ms, hop_ms=None, batch_ms=None, sources=1, **contender):
    def of(ms):
        return None if ms is None else timing([ms / 1000])

    return Measured(
        contender=Contender(name="x", kind="bundle", path=".", sources=sources, **contender),
        runs_on="onnxruntime",
        startup_s=1,
        peak_mb=100,
        model=of(model_ms),
        audio=None,
        hop=of(hop_ms),
        batch=of(batch_ms),
        hop_s=1.28,
    )


def test_how_many_sources_a_device_hears():
    one = measured(60, 64)
    assert one.real_time_factor == pytest.approx(0.05)
    assert one.sources == 20
    assert measured(60, 64, 400, sources=8).sources == int(1280 / (50 + 4))
    assert measured(60).sources is None


@pytest.mark.parametrize(("precision", "share"), [("fp32", 0.5), ("cpu-int8", 0.125)])
def test_the_share_of_the_machines_own_products(precision, share):
    bench = Bench(
        bundle="x",
        device=Device(
            processor="x", cores=1, memory_gb=None, machine="x", clock_mhz={}, governor=None, load=None, watts=None
        ),
        versions={},
        runs=1,
        macs=SIDE**3,
        gemm=[Gemm(threads=2, fp32_gflops=100, int8_gflops=400)],
        measured=[],
        not_run={},
    )
    own_ms = 2e-6 * SIDE**3 / 100
    assert bench.share(measured(2 * own_ms, precision=precision, threads=2)) == pytest.approx(share)
    assert bench.share(measured(2 * own_ms, precision=precision, threads=1)) is None
