"""The arithmetic of a bench."""

import dataclasses

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.commands.bench.plan import read_network_size
from htsat_edge.runtime.commands.bench.results import (
    Candidate,
    Gemm,
    NetworkSize,
    Observation,
    capacity,
    gemm_rates,
    gflops,
    multiply_adds,
    share,
    summarise,
    timing,
)
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle


def counted(model):
    """Count the multiply-adds of a graph, node by node."""
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
    "size",
    [{}, {"embed_dim": 16, "depths": (2, 2, 3, 2), "heads": (2, 4, 4, 8), "classes": 10}],
    ids=["audioset", "tiny"],
)
def test_multiply_adds_are_those_of_the_graph(size):
    pytest.importorskip("torch")
    from htsat_edge.export.graph import build
    from htsat_edge.htsat.config import NetworkConfig
    from htsat_edge.htsat.network import HTSAT

    config = NetworkConfig(**size)
    model = build(HTSAT(config).eval(), 1024)
    for value in model.graph.input:  # one window at a time
        value.type.tensor_type.shape.dim[0].dim_value = 1
    assert multiply_adds(NetworkSize.model_validate(config.model_dump())) == counted(model)


def test_the_bundled_model_has_its_size_in_model_json():
    assert 0.4e9 < multiply_adds(read_network_size(load_bundle(BUNDLED))) < 1e9


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


def test_how_many_sources_a_machine_can_follow():
    assert capacity(of(60), of(64), 1.28, None, 1) == 20
    assert capacity(of(60), of(64), 1.28, of(400), 8) == int(1280 / (50 + 4))
    assert capacity(of(60), of(59), 1.28, None, 1) == 21  # what lies around the model is never less than nothing


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", 0.5), ("cpu-fp32", 0.5), ("cpu-int8", 0.125)])
def test_the_share_of_the_machines_own_products(precision, wanted):
    gemm = Gemm(threads=2, fp32_gflops=100, int8_gflops=400)
    assert share(10**9, of(40), precision, gemm) == pytest.approx(wanted)
    assert share(10**9, of(40), "fp32", Gemm(threads=2, fp32_gflops=None, int8_gflops=None)) is None


def test_the_rate_of_a_matrix_product_counts_two_operations_a_multiply_add():
    assert gflops([0.01, 0.01]) == 214.7  # 2 * 1024 ** 3 in 10 ms


OBSERVED = Observation(
    candidate=Candidate(name="cpu-fp32", kind="bundle", precision="cpu-fp32", threads=2, hop_s=1.28, batch=4),
    startup_s=0.12345,
    peak_memory_mb=123.456,
    runs_on="onnxruntime",
    seconds={"model": [0.02, 0.02], "audio": [0.03, 0.03], "hop": [0.032, 0.032], "batch": [0.04, 0.04]},
)
GEMM_RATES = [
    Gemm(threads=1, fp32_gflops=100, int8_gflops=400),
    Gemm(threads=2, fp32_gflops=200, int8_gflops=800),
]


def test_the_figures_of_a_candidate():
    found = summarise(OBSERVED, 10**9, GEMM_RATES)
    assert (found.startup_s, found.peak_memory_mb) == (0.123, 123.5)
    assert [t.p50_ms for t in (found.model, found.audio, found.hop, found.batch)] == [20, 30, 32, 40]
    assert found.real_time_factor == 0.025
    assert found.sources == int(1280 / (40 / 4 + 32 - 20))
    assert found.gemm_share == 0.5  # 100 GFLOP/s of 200


@pytest.mark.parametrize(
    ("candidate", "runs_on", "macs"),
    [
        (OBSERVED.candidate, "onnxruntime", None),
        (OBSERVED.candidate, "TensorRT on Orin", 10**9),
        (OBSERVED.candidate.model_copy(update={"kind": "baseline"}), "onnxruntime", 10**9),
        (OBSERVED.candidate.model_copy(update={"threads": 3}), "onnxruntime", 10**9),
    ],
    ids=["size unknown", "on a GPU", "another network", "product not measured"],
)
def test_some_candidates_have_no_share_of_the_machines_products(candidate, runs_on, macs):
    observed = dataclasses.replace(OBSERVED, candidate=candidate, runs_on=runs_on)
    assert summarise(observed, macs, GEMM_RATES).gemm_share is None


def test_a_baseline_has_a_latency_and_no_stream():
    observed = Observation(
        Candidate(name="AST", kind="baseline", parameters=7), 1.0, 100.0, "onnxruntime", {"model": [1]}
    )
    found = summarise(observed, 10**9, GEMM_RATES)
    assert found.model.p50_ms == 1000
    assert (found.audio, found.hop, found.batch, found.real_time_factor, found.sources) == (None,) * 5


def test_the_machines_rates_are_those_of_the_products_that_ran():
    def product(name, threads, seconds):
        candidate = Candidate(name=name, kind="gemm", threads=threads)
        return Observation(candidate, 1.0, 100.0, "onnxruntime", {"model": [seconds]})

    observed = [OBSERVED, product("gemm-fp32", 1, 0.01), product("gemm-fp32", 2, 0.005), product("gemm-int8", 2, 0.001)]
    assert gemm_rates(observed, [1, 2]) == [
        Gemm(threads=1, fp32_gflops=214.7, int8_gflops=None),
        Gemm(threads=2, fp32_gflops=429.5, int8_gflops=2147.5),
    ]


def test_the_json_has_no_paths():
    candidate = Candidate(name="fp32", kind="bundle", path="/home/me/bundle")
    assert "/home/me" not in candidate.model_dump_json()
    assert candidate.title == "fp32, 1 thread"
