"""Find the parts of HTS-AT in a graph by what its nodes do, whatever their names are.

Between the patches and the head every token is normalised again and again: what lies behind the first normalisation and
before the last is the backbone. The last product before the first normalisation makes the patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import onnx
from onnx import TensorProto

from htsat_edge.calibration.plain import is_constant
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed

NORMS = ("LayerNormalization", "SkipLayerNormalization", "Sqrt")
"""A normalisation, or the root in one that is written in small operations."""
LINEAR_OPS = ("MatMul", "Gemm")
"""The operation of a linear layer in fp32.onnx, and in cpu-fp32.onnx."""
NO_PRODUCTS = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Concat", "Gather", "Expand", "QLinearAdd"),
    *("QLinearMul", "Attention", "MultiHeadAttention", "QuantizeLinear", "DequantizeLinear"),
}
"""Operations that take a constant of two axes and are no layer: sums, the masks of attentions, and the like."""
MOVES = ("Cast", "Identity")


class Linear(NamedTuple):
    """A product with a constant weight."""

    name: str
    """Name of its node."""
    input: str
    weight: str
    """(C_in, C_out)."""


@dataclass(frozen=True)
class Structure:
    """The parts of a graph, as the numbers of their nodes."""

    before: frozenset[int]
    """What leads to the patches."""
    layers: tuple[int, ...]
    """The products with a weight in the backbone."""
    after: frozenset[int]
    """What no product follows: the scores and embeddings."""


def structure_of(model: onnx.ModelProto) -> Structure:
    """Return the parts of a plain graph; raise an HtsatEdgeError where they are not those of HTS-AT."""
    nodes = model.graph.node
    dims = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    products, behind, normalised = set(), set(), set[str]()
    for i, node in enumerate(nodes):
        if is_constant(node, dims):  # a weight in 8 bits
            dims |= dict.fromkeys(node.output, dims[node.input[0]] if node.input else [])
            continue
        if _has_weight(node, dims):
            products.add(i)
        if not normalised.isdisjoint(node.input):
            behind.add(i)
        if i in behind or node.op_type in NORMS:
            normalised |= {*node.output}
    norms = {i for i, node in enumerate(nodes) if node.op_type in NORMS}
    patches = max(products - behind, default=None)
    if not norms or patches is None:
        raise HtsatEdgeError("has no patches and normalisations, as HTS-AT has; is it the graph of another network?")
    to_norms = _ancestors(nodes, norms)
    leads_on = _ancestors(nodes, products) | products
    return Structure(
        before=frozenset(_ancestors(nodes, {patches})),
        layers=tuple(sorted(products & behind & to_norms)),
        after=frozenset(range(len(nodes))) - leads_on,
    )


def find_linears(model: onnx.ModelProto, what: str = "fp32.onnx") -> list[Linear]:
    """Return the linear layers of the backbone of a plain graph that 8 bits can take, in order, as `split_linears`."""
    return split_linears(model, what)[0]


def split_linears(model: onnx.ModelProto, what: str = "fp32.onnx") -> tuple[list[Linear], list[str]]:
    """Return the linear layers that 8 bits can take, in order, and the names of the nodes that they cannot.

    Raise an HtsatEdgeError, which calls the graph `what`, where the former are fewer than half of all.
    """
    linears, missed = survey(model, what)
    if not linears or len(missed) > len(linears):
        raise HtsatEdgeError(
            f"{what}: {len(linears)} of {len(linears) + len(missed)} linear layers can be quantised"
            f"{f', not {listed(missed)}' if missed else ''}: want MatMul or Gemm with a constant float32 weight; "
            "python -m htsat_edge.export.to_onnx writes such a graph"
        )
    return linears, missed


def survey(model: onnx.ModelProto, what: str) -> tuple[list[Linear], list[str]]:
    """Return the linear layers that 8 bits can take, and the names of the nodes that they cannot."""
    try:
        layers = structure_of(model).layers
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{what}: {error}") from None
    weights = {x.name for x in model.graph.initializer if len(x.dims) == 2 and x.data_type == TensorProto.FLOAT}
    linears, missed = [], []
    for node in (model.graph.node[i] for i in layers):
        turned = any(attribute.name in ("transA", "transB") and attribute.i for attribute in node.attribute)
        if node.op_type in LINEAR_OPS and node.input[1] in weights and not turned:
            linears.append(Linear(node.name, node.input[0], node.input[1]))
        else:
            missed.append(node.name)
    return linears, missed


def name_of_logits(model: onnx.ModelProto) -> str | None:
    """Return the tensor whose sigmoid is framewise, None where there is no such tensor."""
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get("framewise")
    while node is not None and node.op_type in MOVES:
        node = makers.get(node.input[0])
    return node.input[0] if node is not None and node.op_type == "Sigmoid" else None


def _has_weight(node: onnx.NodeProto, dims: dict[str, list[int]]) -> bool:
    """Return whether a node multiplies with a matrix that is constant."""
    matrix = any(sum(length > 1 for length in dims.get(name, [])) > 1 for name in node.input)
    return matrix and node.op_type not in NO_PRODUCTS


def _ancestors(nodes: Sequence[onnx.NodeProto], of: set[int]) -> set[int]:
    """Return the nodes whose outputs lead to these, themselves only where they lead to others of them."""
    found, wanted = set(), set[str]()
    for i in reversed(range(len(nodes))):
        if not wanted.isdisjoint(nodes[i].output):
            found.add(i)
        if i in found or i in of:
            wanted |= {*nodes[i].input}
    return found
