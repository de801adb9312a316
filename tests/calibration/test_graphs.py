"""The written graphs: what is in eight bits, what is not, and that NVIDIA's builder takes them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType

from htsat_edge.calibration.graphs import centre, is_half, round_weights, to_half, to_int8, with_float_ends
from htsat_edge.calibration.sensitivity import logits_of
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.runtime.models.backends.ort import open_session

OPS = {*(Path(__file__).parent.parent / "data" / "nvidia" / "onnx-ops-8.6.txt").read_text().split()}


@pytest.fixture(scope="module")
def rounded(model, linears, observed):
    return round_weights(model, linears, observed)


@pytest.fixture(scope="module")
def int8(model, linears, observed, rounded):
    return to_int8(model, linears, rounded, observed.ranges("minmax", True), QuantType.QInt8)


@pytest.fixture(scope="module")
def cpu_int8(model, linears, observed, rounded):
    return to_int8(model, linears, rounded, observed.ranges("minmax", False), QuantType.QUInt8)


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_zero_points_are_zero_and_activations_have_one_scale(int8):
    values = constants(int8)
    pairs = [node for node in int8.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert values[node.input[2]].dtype == np.int8
        assert not values[node.input[2]].any()
        assert values[node.input[1]].dtype == np.float32
        assert (values[node.input[1]].ndim == 0) == (node.input[0] not in values)


def test_weights_are_the_integers_that_were_chosen(int8, rounded):
    values = constants(int8)
    stored = {node.output[0]: node for node in int8.graph.node if node.op_type == "DequantizeLinear"}
    products = [node for node in int8.graph.node if node.op_type == "MatMul" and node.input[1] in stored]
    assert len(products) == len(rounded)
    for node in products:
        weight = stored[node.input[1]]
        (name,) = [name for name in rounded if weight.input[0] == f"{name}_quantized"]
        np.testing.assert_array_equal(values[weight.input[0]], rounded[name].integers)
        np.testing.assert_array_equal(values[weight.input[1]], rounded[name].scale)
        assert [a.i for a in weight.attribute if a.name == "axis"] == [1]


def test_each_graph_has_the_operations_of_what_it_is_for(int8, cpu_int8):
    """TensorRT knows ONNX's alone; those of onnxruntime run from 1.23 on, also beside opset 23."""
    for model, domain in ((int8, ""), (cpu_int8, "com.microsoft")):
        pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
        assert {node.domain for node in pairs} == {domain}
        assert domain in {opset.domain for opset in model.opset_import}


def test_only_linear_layers_of_the_backbone_take_eight_bits(int8, linears):
    takers = {
        node.name
        for node in int8.graph.node
        if node.op_type != "DequantizeLinear" and any("DequantizeLinear" in name for name in node.input)
    }
    assert takers == {linear.name for linear in linears}


def test_a_shift_changes_nothing(model, linears, observed, windows, rounded):
    """Before anything is in 8 bits, for weights that are on their grid."""
    on_grid = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in on_grid.graph.initializer:
        if tensor.name in rounded:
            part = rounded[tensor.name]
            tensor.CopyFrom(numpy_helper.from_array(part.integers * part.scale, tensor.name))
    shifted = onnx.ModelProto.FromString(on_grid.SerializeToString())
    centre(shifted, linears, rounded, observed.ranges("minmax", True))
    assert sum(node.op_type == "Sub" for node in shifted.graph.node) == 9
    np.testing.assert_allclose(logits_of(shifted, windows), logits_of(on_grid, windows), atol=1e-3)


def test_what_has_several_users_is_not_shifted(model, linears, rounded, observed):
    """Of q, k and v only two have a bias to take the shift, so that their range stays symmetric."""
    ranges = {**observed.ranges("minmax", True), "layers.1.blocks.0.norm1": (-1.0, 9.0)}
    shifted = onnx.ModelProto.FromString(model.SerializeToString())
    found = centre(shifted, linears, rounded, ranges)
    assert found["layers.1.blocks.0.norm1"] == (-9, 9)
    assert not any(node.name == "layers.1.blocks.0.norm1.centred" for node in shifted.graph.node)


def test_what_gelu_gives_is_shifted_to_around_zero(model, linears, observed, int8):
    """With the same answers but for rounding: a symmetric range would take twice the step."""
    shifted = {node.input[0]: node for node in int8.graph.node if node.op_type == "Sub"}
    assert set(shifted) == {linear.input for linear in linears if ".mlp.fc2" in linear.name}
    values = constants(int8)
    for name, node in shifted.items():
        low, high = observed.ends[name]
        assert values[node.input[1]] == pytest.approx((low + high) / 2, rel=1e-5)
        assert values[f"{node.output[0]}_scale"] == pytest.approx((high - low) / 254, rel=0.01)


def test_layers_that_are_not_named_stay_in_float(model, linears, observed, rounded):
    some = to_int8(model, linears[:2], rounded, observed.ranges("minmax", True), QuantType.QInt8)
    kept = constants(some)
    assert linears[2].weight in kept
    np.testing.assert_array_equal(kept[linears[2].weight], constants(model)[linears[2].weight])


@pytest.mark.parametrize(("name", "least_db"), [("int8", 30), ("cpu_int8", 33), ("fp16", 50), ("int8_fp16", 30)])
def test_answers_are_those_of_fp32(name, least_db, model, int8, cpu_int8, windows):
    graph = {"int8": int8, "cpu_int8": cpu_int8, "fp16": to_half(model), "int8_fp16": to_half(int8)}[name]
    assert least_db < snr_db(logits_of(model, windows), logits_of(graph, windows)) < 90
    batch = open_session(graph.SerializeToString()).run(["framewise"], {"log_mel": windows})[0]
    alone = open_session(graph.SerializeToString()).run(["framewise"], {"log_mel": windows[4:5]})[0]
    np.testing.assert_allclose(batch[4:5], alone, atol=5e-3)


@pytest.mark.parametrize("name", ["int8", "cpu_int8", "fp16"])
def test_an_earlier_export_gives_the_same_scores(
    name, model, linears, observed, rounded, int8, cpu_int8, windows, drop_frame_embedding
):
    """Without the embedding of each step, to the bit."""
    earlier = onnx.ModelProto.FromString(model.SerializeToString())
    drop_frame_embedding(earlier.graph)
    kind = QuantType.QUInt8 if name == "cpu_int8" else QuantType.QInt8
    ranges = observed.ranges("minmax", kind == QuantType.QInt8)
    made = to_half(earlier) if name == "fp16" else to_int8(earlier, linears, rounded, ranges, kind)
    graph = {"int8": int8, "cpu_int8": cpu_int8}.get(name) or to_half(model)
    names = [output.name for output in made.graph.output]
    assert names == ["framewise", "clipwise", "embedding"]
    scores = [open_session(x.SerializeToString()).run(names, {"log_mel": windows[:2]}) for x in (made, graph)]
    for ours, theirs in zip(*scores, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_half_precision_begins_after_batch_norm_and_ends_before_the_scores(int8):
    graph = onnx.shape_inference.infer_shapes(to_half(int8), strict_mode=True).graph
    types = {x.name: x.type.tensor_type.elem_type for x in [*graph.value_info, *graph.input, *graph.output]}
    for name in (
        "log_mel",
        "bn0.scale",
        "bn0.shift",
        "logits",
        "framewise",
        "clipwise",
        "embedding",
        "frame_embedding",
    ):
        assert types[name] == TensorProto.FLOAT
    for name in ("patch_embed.proj.bias", "layers.0.blocks.0.attn.softmax", "norm"):
        assert types[name] == TensorProto.FLOAT16
    assert TensorProto.INT8 in types.values()


def test_the_graph_for_tensorrt_8_6_keeps_to_what_it_knows(int8):
    assert {node.op_type for node in int8.graph.node} <= OPS
    assert [(opset.domain, opset.version) for opset in int8.opset_import] == [("", 17)]


@pytest.mark.parametrize("name", ["int8", "fp16", "int8_fp16"])
def test_nvidias_builder_takes_it(name, model, int8, nvidia_layers):
    graph = {"int8": int8, "fp16": to_half(model), "int8_fp16": to_half(int8)}[name]
    assert nvidia_layers(graph) < 1300


def test_the_full_network_in_eight_bits_keeps_to_what_tensorrt_8_6_knows(full_graphs):
    assert {node.op_type for node in onnx.load(full_graphs / "int8.onnx").graph.node} <= OPS
    assert (full_graphs / "int8.onnx").stat().st_size < 0.4 * (full_graphs / "fp32.onnx").stat().st_size


def test_what_is_in_half_precision_is_seen(model, int8):
    assert [is_half(graph) for graph in (model, int8, to_half(model), to_half(int8))] == [False, False, True, True]


def test_half_inputs_and_outputs_become_float_by_a_cast():
    """An old graph lists its constants as inputs too: they stay."""
    names = {"x": [2], "w": [2], "y": [2], "z": [2]}
    x, w, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, dims) for name, dims in names.items())
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "add"), helper.make_node("Mul", ["y", "x"], ["z"], "mul")]
    weight = numpy_helper.from_array(np.array([1, 2], np.float16), "w")
    half = helper.make_model(
        helper.make_graph(nodes, "half", [x, w], [y, z], [weight]), opset_imports=[helper.make_opsetid("", 17)]
    )
    half.ir_version = 8
    before = half.SerializeToString()
    whole = with_float_ends(half)
    assert half.SerializeToString() == before
    onnx.checker.check_model(whole, full_check=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*whole.graph.input, *whole.graph.output]}
    assert kinds == {"x": TensorProto.FLOAT, "w": TensorProto.FLOAT16, "y": TensorProto.FLOAT, "z": TensorProto.FLOAT}
    given = {"x": np.array([3, 4], np.float32)}
    for name, wanted in (("y", [4, 6]), ("z", [12, 24])):
        (found,) = open_session(whole.SerializeToString()).run([name], given)
        assert (found.dtype, found.tolist()) == (np.float32, wanted)


def test_float_ends_stay_as_they_are(model):
    assert with_float_ends(model).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
