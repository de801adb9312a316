"""Faults that are planted into a good graph must be named."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.onnx_model import ONNXModel

from htsat_edge.calibration.explain import compare_ranges, find_entry, find_faults
from htsat_edge.calibration.graphs import round_weights, to_half, to_int8
from htsat_edge.calibration.observe import observe

LIMIT_DB = 9
"""As in configs/accuracy.yaml."""


@pytest.fixture(scope="module")
def int8(model, linears, observed):
    rounded = round_weights(model, linears, observed)
    return to_int8(model, linears, rounded, observed.ranges("minmax", True), QuantType.QInt8)


def times(model, name, factor):
    """A copy with a constant multiplied."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    (tensor,) = [tensor for tensor in copy.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
    return copy


def with_eight_bits(model, name, scale):
    """A copy with a tensor quantised that should not be."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for node in copy.graph.node:
        for i, x in enumerate(node.input):
            if x == name:
                node.input[i] = "planted"
    copy.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(scale), "step"), numpy_helper.from_array(np.int8(0), "zero")]
    )
    copy.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", [name, "step", "zero"], ["bits"], "q"),
            helper.make_node("DequantizeLinear", ["bits", "step", "zero"], ["planted"], "dq"),
        ]
    )
    sorter = ONNXModel(copy)
    sorter.topological_sort()
    return sorter.model


@pytest.mark.parametrize("form", ["int8", "cpu", "half"])
def test_a_good_graph_has_nothing_to_hide(form, model, linears, observed, int8, windows):
    if form == "cpu":
        rounded = round_weights(model, linears, observed)
        int8 = to_int8(model, linears, rounded, observed.ranges("mse", False), QuantType.QUInt8)
    elif form == "half":
        int8 = to_half(int8)
    found = compare_ranges(model, int8, windows)
    assert {r.tensor for r in found} == {linear.input for linear in linears}
    assert found[0].excess_db < LIMIT_DB / 2
    assert find_faults(model, int8) == []
    entry = find_entry(model, int8, windows[0])
    assert entry.before_db - entry.after_db < 15


def test_a_scale_that_is_four_times_too_great(model, int8, windows):
    tensor = "layers.1.blocks.0.norm2"
    worst, second, *_ = compare_ranges(model, times(int8, f"{tensor}_scale", 4), windows)
    assert worst.tensor == tensor
    assert worst.excess_db > LIMIT_DB > second.excess_db
    assert worst.covered == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("tensor", ["layers.1.blocks.0.norm2", "layers.1.blocks.0.mlp.gelu.half"])
def test_a_range_that_is_eight_times_too_wide(tensor, model, linears, observed, windows):
    """Whether it is shifted to around zero or not."""
    ranges = observed.ranges("minmax", True)
    ranges[tensor] = tuple(8 * end for end in ranges[tensor])
    graph = to_int8(model, linears, round_weights(model, linears, observed), ranges, QuantType.QInt8)
    worst, second, *_ = compare_ranges(model, graph, windows)
    assert worst.tensor == tensor
    assert worst.excess_db > LIMIT_DB > second.excess_db
    assert worst.covered == pytest.approx(8, rel=0.4)


def test_weights_with_a_wrong_scale(model, int8, windows):
    layer = "layers.2.blocks.1.mlp.fc1"
    entry = find_entry(model, times(int8, f"{layer}.matmul.1_scale", 4), windows[0])
    assert entry.layer == f"{layer}.matmul"
    assert entry.before_db > 20 > 0 > entry.after_db


@pytest.mark.parametrize(
    ("tensor", "scale"), [("log_mel", 1), ("bn0.shift", 0.05), ("layers.0.blocks.0.attn.residual", 1)]
)
def test_eight_bits_where_there_should_be_none(tensor, scale, model, int8):
    assert find_faults(model, with_eight_bits(int8, tensor, scale)) == [
        f"{tensor} is in 8 bits, but only inputs of linear layers may be"
    ]


@pytest.mark.parametrize(
    ("suffix", "value", "message"),
    [
        ("scale", np.full(32, 0.1, np.float32), "a scale for each channel in place of one"),
        ("zero_point", np.int8(3), "the zero point 3 in place of 0"),
    ],
)
def test_scales_and_zero_points_that_tensorrt_gets_wrong(suffix, value, message, model, int8, windows):
    tensor, copy = "layers.1.blocks.0.norm2", onnx.ModelProto.FromString(int8.SerializeToString())
    for constant in copy.graph.initializer:
        if constant.name == f"{tensor}_{suffix}":
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    (line,) = find_faults(model, copy)
    assert tensor in line
    assert message in line
    compare_ranges(model, copy, windows[:1])


def test_graphs_that_have_nothing_in_common(model, windows):
    other = onnx.ModelProto.FromString(model.SerializeToString())
    computed = {name for node in model.graph.node for name in node.output} - {x.name for x in model.graph.output}
    for node in other.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}." if name in computed else name for name in names]
    assert find_entry(model, other, windows[0]) is None


def test_calibration_on_silence(model, linears, observed, windows):
    silence = observe(model, linears, np.full((2, 1024, 64), -100, np.float32))
    rounded = round_weights(model, linears, observed)
    graph = to_int8(model, linears, rounded, silence.ranges("minmax", True), QuantType.QInt8)
    bad = [r for r in compare_ranges(model, graph, windows) if r.excess_db > LIMIT_DB]
    assert len(bad) > 5
    assert bad[0].covered < 0.8
