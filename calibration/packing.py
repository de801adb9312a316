"""Store the constants of a graph in fewer bytes, with every value as it was.

A matrix that half precision holds exactly is stored in it, with a Cast behind it. Where whole rows of a matrix repeat,
as masks of attention windows do, each kind is stored once, with a Gather behind it. Both depend on no input: they are
computed by onnxruntime when it loads the graph, and by `fold_constants` before a graph is edited or goes to TensorRT.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 1024
"""Values of the smallest matrix that is packed: a node takes a hundred bytes, too. Vectors stay: biases, and the scales
of 8 bits, which TensorRT wants as constants."""
Array = NDArray[Any]


def pack(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose large constants take fewer bytes, wherever that changes no value."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, nodes = copy.graph, list[onnx.NodeProto]()
    for tensor in list(graph.initializer):
        floats = tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
        if floats and len(tensor.dims) > 1 and np.prod(tensor.dims) >= SMALLEST:
            nodes += _pack(graph, tensor)
    nodes += (onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def is_packed(model: onnx.ModelProto) -> bool:
    """Return whether weights of a graph are stored in half precision, and computed with in single."""
    halves = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    return any(node.op_type == "Cast" and node.input[0] in halves for node in model.graph.node)


def _pack(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> list[onnx.NodeProto]:
    """Store a constant in fewer bytes where that is possible; return the nodes that restore it under its name."""
    name, value = tensor.name, numpy_helper.to_array(tensor)
    axis = next((i for i, length in enumerate(value.shape) if length > 1), 0)
    first, kind = _kinds(value, axis)
    repeats = 2 * len(first) <= len(kind)
    value = value.take(first, axis) if repeats else value
    half = _as_half(value) if tensor.data_type == TensorProto.FLOAT else None
    if half is None and not repeats:
        return []
    stored, nodes = f"{name}.stored", list[onnx.NodeProto]()
    tensor.CopyFrom(numpy_helper.from_array(value if half is None else half, stored))
    if half is not None:
        wide = f"{name}.float" if repeats else name
        nodes.append(helper.make_node("Cast", [stored], [wide], name=wide, to=TensorProto.FLOAT))
        stored = wide
    if repeats:
        graph.initializer.append(numpy_helper.from_array(kind, f"{name}.kind"))
        nodes.append(helper.make_node("Gather", [stored, f"{name}.kind"], [name], name=name, axis=axis))
    return nodes


def _kinds(value: Array, axis: int) -> tuple[list[int], NDArray[np.int32]]:
    """Return where along an axis each different row is first, and which of them each row is."""
    found: dict[bytes, int] = {}
    kind = [found.setdefault(row.tobytes(), len(found)) for row in np.moveaxis(value, axis, 0)]
    return [kind.index(i) for i in range(len(found))], np.array(kind, np.int32)


def _as_half(value: Array) -> Array | None:
    """Return an array in half precision, None where that would change a value."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if half.astype(value.dtype).tobytes() == value.tobytes() else None
