"""Graphs as tools write them: the same layers are found, and they are as good in 8 bits and in half precision.

What each rewriting does was seen in graphs of onnxsim 0.8.1, onnxoptimizer 0.4.2, onnxslim 0.1.98, onnxruntime's
offline optimisation and the version converter.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType

from htsat_edge.calibration.graphs import round_weights, to_half, to_int8
from htsat_edge.calibration.plain import fold_constants, plain, round_in_float
from htsat_edge.calibration.quantizer import Quantizer
from htsat_edge.calibration.sensitivity import logits_of
from htsat_edge.calibration.structure import find_linears
from htsat_edge.evaluation.metrics import snr_db

LAYERS = 57
JOINED = 39
"""With q, k and v of nine blocks as one layer each."""


def set_nodes(model, nodes):
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def values_of(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def add(model, name, value):
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def joined(model):
    """One product for q, k and v, of weights behind a Concat, and a Split (onnxoptimizer; onnxsim folds the Concat)."""
    nodes, parts = [], []
    for node in model.graph.node:
        if any(node.name.endswith(f"attn.{part}.matmul") for part in "qkv"):
            parts.append(node)
            if len(parts) == 3:
                name = node.name.replace(".v.matmul", ".qkv")
                weights = [part.input[1] for part in parts]
                nodes += [
                    helper.make_node("Concat", weights, [f"{name}.weight"], axis=1),
                    helper.make_node("MatMul", [node.input[0], f"{name}.weight"], [name]),
                ]
                outputs = [part.output[0] for part in parts]
                nodes.insert(len(nodes), helper.make_node("Split", [name], outputs, axis=-1))
                parts = []
        else:
            nodes.append(node)
    set_nodes(model, in_order(model, nodes))


def in_order(model, nodes):
    """Sort nodes such that each comes after what it takes."""
    known = {"", "log_mel", *(tensor.name for tensor in model.graph.initializer)}
    nodes, done = list(nodes), []
    while nodes:
        node = next(node for node in nodes if known.issuperset(node.input))
        nodes.remove(node)
        done.append(node)
        known.update(node.output)
    return done


def gemms(model):
    """A Gemm, with its weight transposed, on rows in place of tokens, for a product and a sum (onnxsim)."""
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    values, nodes = values_of(model), []
    sums = {node.input[0]: node for node in model.graph.node if node.op_type == "Add"}
    gone = set()
    for node in model.graph.node:
        bias = sums.get(node.output[0])
        if node.name.endswith(("fc1.matmul", "fc2.matmul")) and bias is not None:
            weight, name = values[node.input[1]], node.name
            rows = add(model, f"{name}.rows", np.array([-1, len(weight)], np.int64))
            tokens = add(model, f"{name}.tokens", np.array([-1, shapes[name][1], weight.shape[1]], np.int64))
            turned = add(model, f"{name}.turned", weight.T / 2)
            nodes += [
                helper.make_node("Reshape", [node.input[0], rows], [f"{name}.flat"], f"{name}.flat"),
                helper.make_node(
                    "Gemm", [f"{name}.flat", turned, bias.input[1]], [f"{name}.g"], name, alpha=2.0, transB=1
                ),
                helper.make_node("Reshape", [f"{name}.g", tokens], bias.output, f"{name}.back"),
            ]
            gone.add(bias.name)
        elif node.name not in gone:
            nodes.append(node)
    set_nodes(model, nodes)


def behind(model):
    """Weights behind a Transpose and an Identity, or with an axis of one before."""
    values, nodes = values_of(model), []
    for i, node in enumerate(model.graph.node):
        if node.op_type == "MatMul" and node.input[1] in values and node.name.startswith("layers."):
            name, weight = f"{node.name}.behind", values[node.input[1]]
            if i % 2:
                node.input[1] = add(model, name, weight[None])
            else:
                nodes += [
                    helper.make_node("Transpose", [add(model, name, weight.T)], [f"{name}.t"], perm=[1, 0]),
                    helper.make_node("Identity", [f"{name}.t"], [f"{name}.i"]),
                ]
                node.input[1] = f"{name}.i"
        nodes.append(node)
    set_nodes(model, nodes)


def constants(model):
    """No initializers (the tracer of torch)."""
    made = [helper.make_node("Constant", [], [x.name], value=x) for x in model.graph.initializer]
    set_nodes(model, [*made, *model.graph.node])
    del model.graph.initializer[:]


def nameless(model):
    """Nodes without names, tensors with others."""
    kept = {"log_mel", *(output.name for output in model.graph.output)}
    names = {}
    for node in model.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [x if x in kept or not x else names.setdefault(x, f"_v_{len(names)}") for x in side]
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del model.graph.value_info[:]


FORMS = {"joined": joined, "gemms": gemms, "behind": behind, "constants": constants, "nameless": nameless}


def rewritten(model, *forms):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for form in forms:
        FORMS[form](copy)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def columns(model):
    values = values_of(model)
    return {column.tobytes() for linear in find_linears(model) for column in values[linear.weight].T.copy()}


def test_our_own_graphs_stay_as_they_are(model, cpu_graph):
    for graph in (model, cpu_graph):
        assert plain(graph).SerializeToString(deterministic=True) == graph.SerializeToString(deterministic=True)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_layers_are_found(form, model, windows):
    other = rewritten(model, form)
    found = plain(other)
    assert len(find_linears(found)) == (JOINED if form == "joined" else LAYERS)
    assert columns(found) == columns(model)
    wanted = logits_of(model, windows[:1])
    assert snr_db(wanted, logits_of(other, windows[:1])) > 100
    assert snr_db(wanted, logits_of(found, windows[:1])) > 100
    assert len({node.name for node in found.graph.node}) == len(found.graph.node)


@pytest.fixture(scope="module")
def both(model, windows, cpu_graph):
    """The graph and what tools make of it, observed, with the graph for a CPU that no tool has seen."""
    other = rewritten(model, "joined", "gemms", "behind", "constants", "nameless")
    return [Quantizer(graph, windows[:4], windows[4:], cpu_graph) for graph in (model, other)]


@pytest.mark.parametrize(("name", "rounding_db"), [("fp16", 1.5), ("int8", 0.5), ("int8_fp16", 0.7), ("cpu-int8", 0.5)])
def test_they_are_as_good_as_in_the_graph_that_no_tool_has_seen(name, rounding_db, both):
    graphs = [quantizer.makers("minmax", "minmax")[name](quantizer.linears) for quantizer in both]
    ours, theirs = (quantizer.snr_db(graph) for quantizer, graph in zip(both, graphs, strict=True))
    assert theirs == pytest.approx(ours, abs=rounding_db)
    sizes = [len(graph.SerializeToString()) for graph in graphs]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_nvidias_builder_takes_it_in_8_bits(both, nvidia_layers):
    quantizer = both[1]
    assert nvidia_layers(quantizer.makers("minmax", "minmax")["int8_fp16"](quantizer.linears)) < 1300


def test_a_bias_of_two_layers_is_shifted_for_one(model, windows):
    """Tools let equal constants be one: what goes into one layer's bias must not reach the other's."""
    shared = onnx.ModelProto.FromString(model.SerializeToString())
    second, third = (f"layers.2.blocks.{i}.mlp.fc2.bias" for i in (1, 2))
    for node in shared.graph.node:
        if node.name == third:
            node.input[1] = f"{second}.1"
    quantizer = Quantizer(shared, windows[:4], windows[4:])
    assert quantizer.snr_db(quantizer.int8("minmax", QuantType.QInt8, quantizer.linears)) > 30


def test_a_constant_of_both_precisions_is_in_both(model, windows):
    shared = onnx.ModelProto.FromString(model.SerializeToString())
    add(shared, "nothing", np.zeros(1, np.float32))
    nodes = []
    for node in shared.graph.node:
        if node.name in ("bn0.scale", "layers.0.blocks.0.norm1"):
            nodes.append(
                helper.make_node("Add", [node.input[0], "nothing"], [f"{node.name}.more"], f"{node.name}.more")
            )
            node.input[0] = f"{node.name}.more"
        nodes.append(node)
    set_nodes(shared, nodes)
    assert snr_db(logits_of(model, windows[:1]), logits_of(to_half(shared), windows[:1])) > 50


def test_inputs_of_a_type_that_cannot_be_inferred_are_in_8_bits_too(model, linears, observed):
    """As behind onnxruntime's own operations, where its quantiser leaves a layer out with no more than a warning."""
    fused = onnx.ModelProto.FromString(model.SerializeToString())
    fused.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for node in fused.graph.node:
        if node.name.endswith("gelu.half"):
            node.op_type, node.domain, node.input[:] = "FastGelu", "com.microsoft", node.input[:1]
    ranges = observed.ranges("minmax", True)
    made = to_int8(fused, linears, round_weights(model, linears, observed), ranges, QuantType.QInt8)
    pairs = [node for node in made.graph.node if node.op_type == "QuantizeLinear"]
    assert {node.input[0].removesuffix(".centred") for node in pairs} == {linear.input for linear in linears}


def test_constants_that_a_branch_or_the_end_takes_are_kept():
    """A branch of an If takes constants of the graph around it, given and folded, and a graph may put one out."""
    floats, shape = onnx.TensorProto.FLOAT, [2]
    ends = {name: helper.make_tensor_value_info(name, floats, shape) for name in ("x", "y", "given", "a", "b")}
    branches = {
        "then_branch": helper.make_graph([helper.make_node("Identity", ["given"], ["a"])], "then", [], [ends["a"]]),
        "else_branch": helper.make_graph([helper.make_node("Identity", ["folded"], ["b"])], "else", [], [ends["b"]]),
    }
    nodes = [
        helper.make_node("Neg", ["inner"], ["folded"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["any"], to=onnx.TensorProto.BOOL),
        helper.make_node("If", ["any"], ["y"], **branches),
    ]
    graph = helper.make_graph(nodes, "branching", [ends["x"]], [ends["y"], ends["given"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for name in ("given", "inner", "unused"):
        add(model, name, np.array([1, 2], np.float32))
    fold_constants(model)
    assert [node.op_type for node in model.graph.node] == ["ReduceSum", "Cast", "If"]
    assert set(values_of(model)) == {"given", "folded"}
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for x, wanted in (([1, 1], [1, 2]), ([0, 0], [-1, -2])):
        np.testing.assert_array_equal(session.run(["y"], {"x": np.array(x, np.float32)})[0], wanted)


def test_half_precision_is_rounded_to_8_bits_by_every_onnxruntime():
    """By itself onnxruntime before 1.30 gives 0 for 0.6."""
    values = np.array([-1.5, -0.6, 0.4, 0.6, 1.5, 2.5, 300], np.float16)
    node = helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["y"])
    ends = [helper.make_tensor_value_info(*end, [7]) for end in (("x", TensorProto.FLOAT16), ("y", TensorProto.INT8))]
    constants = [numpy_helper.from_array(np.float16(1), "step"), numpy_helper.from_array(np.int8(0), "zero")]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], initializer=constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = round_in_float(model)
    assert [node.op_type for node in made.graph.node] == ["Cast", "Cast", "QuantizeLinear"]
    assert len(model.graph.node) == 1
    (found,) = onnxruntime.InferenceSession(made.SerializeToString()).run(["y"], {"x": values})
    np.testing.assert_array_equal(found, [-2, -1, 0, 1, 2, 2, 127])
