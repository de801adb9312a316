"""The parts of a graph are found by what its nodes do; the same graphs after tools are in test_plain.py."""

import onnx
import pytest

from htsat_edge.calibration.structure import find_linears, name_of_logits, structure_of
from htsat_edge.runtime.common.errors import HtsatEdgeError


def copy_of(model):
    return onnx.ModelProto.FromString(model.SerializeToString())


def test_the_linear_layers_are_those_of_the_backbone(linears):
    names = [linear.name for linear in linears]
    assert len(names) == 6 * 9 + 3  # q, k, v, proj, fc1, fc2 of nine blocks; three mergings
    assert all(name.startswith("layers.") for name in names)


def test_a_graph_without_any_is_one_line(model):
    other = copy_of(model)
    del other.graph.node[:]
    with pytest.raises(HtsatEdgeError, match=r"x\.onnx: has no patches and normalisations, as HTS-AT has"):
        find_linears(other, "x.onnx")


def test_layers_in_operations_that_are_not_known_are_counted_and_named(model):
    """Most of them: refused; a few: left in floating point."""
    other = copy_of(model)
    layers = [other.graph.node[i] for i in structure_of(other).layers]
    assert len(layers) == 57
    for node in layers[:30]:
        node.op_type, node.domain = "FusedMatMul", "com.microsoft"
    message = (
        r"x.onnx: 27 of 57 linear layers can be quantised, not layers.0.blocks.0.attn.q.matmul, \S+, \S+ and 27 more: "
        "want MatMul or Gemm with a constant float32 weight; python -m htsat_edge.export.to_onnx writes such a graph$"
    )
    with pytest.raises(HtsatEdgeError, match=message):
        find_linears(other, "x.onnx")
    layers[0].op_type = layers[1].op_type = "MatMul"
    assert len(find_linears(other)) == 29


def test_the_parts_are_those_that_the_names_say(model):
    found = structure_of(model)
    names = [node.name for node in model.graph.node]
    assert {names[i] for i in found.before} == {
        "bn0.scale", "bn0.shift", "patch_embed.flat", "patch_embed.patches"
    }  # fmt: skip
    assert {names[i] for i in found.after} == {
        "logits", "logits.mean", "framewise", "clipwise", "embedding", "head.bands", "frame_embedding"
    }  # fmt: skip
    assert {names[i] for i in found.layers} == {linear.name for linear in find_linears(model)}


def test_a_normalisation_in_small_operations_is_one(model):
    """As before opset 17."""
    other = copy_of(model)
    nodes = []
    for node in other.graph.node:
        if node.op_type != "LayerNormalization":
            nodes.append(node)
            continue
        (x, scale, shift), name = node.input, node.name

        def op(kind, part, *inputs, name=name, **attributes):
            return onnx.helper.make_node(kind, inputs, [f"{name}.{part}"], f"{name}.{part}", **attributes)

        nodes += [
            op("ReduceMean", "mean", x, axes=[-1]),
            op("Sub", "sub", x, f"{name}.mean"),
            op("Mul", "square", f"{name}.sub", f"{name}.sub"),
            op("ReduceMean", "variance", f"{name}.square", axes=[-1]),
            op("Sqrt", "root", f"{name}.variance"),
            op("Div", "div", f"{name}.sub", f"{name}.root"),
            op("Mul", "mul", f"{name}.div", scale),
            onnx.helper.make_node("Add", [f"{name}.mul", shift], node.output, name),
        ]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del other.graph.node[:]
    other.graph.node.extend(nodes)
    assert find_linears(other) == find_linears(model)


def test_the_logits_are_what_the_sigmoid_takes(model):
    assert name_of_logits(model) == "logits"
    other = copy_of(model)
    (node,) = (node for node in other.graph.node if node.name == "framewise")
    node.output[0] = "half"
    other.graph.node.append(onnx.helper.make_node("Cast", ["half"], ["framewise"], to=1))
    assert name_of_logits(other) == "logits"
    node.op_type = "Tanh"
    assert name_of_logits(other) is None
