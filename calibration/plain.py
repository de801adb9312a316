"""Bring a graph of any tool into the form in which its layers can be found: named, with weights (C_in, C_out).

Simplifiers and converters compute the same in other nodes: a weight stands in a Constant node, or behind a Transpose or
a Concat; a Gemm wants it transposed; nodes lose their names. A graph of export/graph.py stays as it is, to the byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

KEPT = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "RandomNormal", "RandomUniform")
"""Operations that stay, although everything that they take is constant: what is in 8 bits stays in 8 bits."""
Array = NDArray[Any]


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose nodes have names, and whose constants are initializers, weights as MatMul takes them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = onnx.inliner.inline_local_functions(copy)
    fold_constants(copy)
    _name_nodes(copy.graph)
    for node in copy.graph.node:
        if node.op_type == "Gemm":
            _straighten_gemm(copy.graph, node)
        elif node.op_type == "MatMul":
            _squeeze_weight(copy.graph, node)
    return copy


def round_in_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with half precision rounded to 8 bits in float32.

    That gives the same integers, except where a value lies next to a half.

    On a CPU, onnxruntime before 1.30 does not round half precision but cuts off; TensorRT rounds.
    """
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[1] in halves:
            for i, end in enumerate(("value", "scale")):
                wide = f"{node.output[0]}.{end}.float"
                nodes.append(helper.make_node("Cast", [node.input[i]], [wide], name=wide, to=TensorProto.FLOAT))
                node.input[i] = wide
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    if len(nodes) == len(model.graph.node):
        return model
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def fold_constants(model: onnx.ModelProto) -> None:
    """Make initializers of whatever does not depend on the input."""
    graph = model.graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    wanted = {output.name for output in graph.output}
    kept, found = [], []
    for node in graph.node:
        fixed = is_constant(node, values) and node.op_type not in KEPT and not wanted & {*node.output}
        tensors = _evaluate(model, node, [values[name] for name in node.input if name]) if fixed else None
        if tensors is None:
            kept.append(node)
        else:
            values |= {tensor.name: tensor for tensor in tensors}
            found += tensors
    if len(kept) == len(graph.node):
        return
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    tensors = [onnx.TensorProto.FromString(x.SerializeToString()) for x in [*graph.initializer, *found]]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    used = _taken(graph)
    graph.initializer.extend(tensor for tensor in tensors if tensor.name in used)


def _taken(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a graph takes or puts out, and those that graphs within its nodes do (If, Loop, Scan)."""
    taken = {output.name for output in graph.output}
    for node in graph.node:
        taken.update(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                taken |= _taken(inner)
    return taken


def is_constant(node: onnx.NodeProto, constants: Container[str]) -> bool:
    """Return whether a node gives the same for every window, since all that it takes is constant."""
    return all(name in constants for name in node.input if name)


def replace_constant(graph: onnx.GraphProto, node: onnx.NodeProto, place: int, value: Array) -> None:
    """Give a node another constant: under the name of the old one where no other node takes that."""
    old = node.input[place]
    shared = sum(list(other.input).count(old) for other in graph.node) > 1
    name = f"{node.name}.{place}.own" if shared else old
    tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
    if shared:
        graph.initializer.append(tensor)
        node.input[place] = name
    else:
        next(x for x in graph.initializer if x.name == old).CopyFrom(tensor)


def read_constant(graph: onnx.GraphProto, name: str) -> Array | None:
    """Return an initializer by its name, None where there is none."""
    found = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    return None if found is None else numpy_helper.to_array(found)


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Name the nodes that have no name of their own after what they compute."""
    taken = Counter(node.name for node in graph.node)
    for i, node in enumerate(graph.node):
        if not node.name or taken[node.name] > 1:
            taken[node.name] -= 1
            name = next((output for output in node.output if output), f"{node.op_type}.{i}")
            node.name = name if name not in taken else f"{name}.node{i}"
            taken[node.name] += 1


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, inputs: list[onnx.TensorProto]
) -> list[onnx.TensorProto] | None:
    """Return what a node gives for constants, None where it cannot be computed here."""
    outputs = [name for name in node.output if name]
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in inputs}
    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims) for tensor in inputs],
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    try:
        found = ReferenceEvaluator(helper.make_model(graph, opset_imports=model.opset_import)).run(outputs, given)
        return [numpy_helper.from_array(np.asarray(x), name) for x, name in zip(found, outputs, strict=True)]
    except Exception:  # the operation of another domain, or one that the reference lacks: the node stays
        return None


def _straighten_gemm(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Put the factors of a Gemm, and the transposing of its weight, into its constants."""
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    weight = read_constant(graph, node.input[1])
    bias = read_constant(graph, node.input[2]) if len(node.input) > 2 else None
    alpha, beta, turned = options.get("alpha", 1.0), options.get("beta", 1.0), bool(options.get("transB", 0))
    if weight is None or (alpha, beta, turned) == (1.0, 1.0, False):
        return
    if beta != 1.0 and bias is None and len(node.input) > 2:
        return
    replace_constant(graph, node, 1, (weight.T if turned else weight) * weight.dtype.type(alpha))
    if bias is not None and beta != 1.0:
        replace_constant(graph, node, 2, bias * bias.dtype.type(beta))
    rest = [attribute for attribute in node.attribute if attribute.name not in ("alpha", "beta", "transB")]
    del node.attribute[:]
    node.attribute.extend(rest)


def _squeeze_weight(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """Take away axes of length one before (C_in, C_out), which change nothing: tokens have an axis for the batch."""
    weight = read_constant(graph, node.input[1])
    if weight is not None and weight.ndim == 3 and len(weight) == 1:
        replace_constant(graph, node, 1, weight[0])
