"""Turn a float graph into an 8-bit one and into a 16-bit one.

Only the linear layers of the backbone become 8-bit. The attention's products, softmax, normalisation and the residual
stream stay in floating point. What comes before the patches is float32 in every graph: |STFT|^2 overflows half
precision, and a log-mel in eight bits makes the scores useless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from htsat_edge.calibration.gptq import round_together, scales
from htsat_edge.calibration.observe import Observed, Range, is_lopsided
from htsat_edge.calibration.plain import plain, read_constant, replace_constant
from htsat_edge.calibration.structure import LINEAR_OPS, Linear, structure_of
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.common.text import listed

GRAPHS = ("fp16", "int8", "int8_fp16", "cpu-int8")
"""The graphs that are made from fp32.onnx, and the last, where there is one, from cpu-fp32.onnx."""
CENTRED = ".centred"
"""Suffix of the name of a tensor that was shifted to around zero."""
HALF_OPSET = 19
"""The first in which scales may be half precision; TensorRT reads it from 10 on."""


@dataclass(frozen=True)
class Rounded:
    """A weight in 8 bits."""

    integers: NDArray[np.int8]
    """(C_in, C_out)."""
    scale: NDArray[np.float32]
    """(C_out,)."""


def round_weights(model: onnx.ModelProto, linears: Sequence[Linear], observed: Observed) -> dict[str, Rounded]:
    """Return the weights of the linear layers in 8 bits, by name."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    by_input: dict[str, list[str]] = {}
    for linear in linears:
        by_input.setdefault(linear.input, []).append(linear.weight)
    rounded: dict[str, Rounded] = {}
    # q, k and v share their input, and so the work.
    for tensor, names in with_progress([*by_input.items()], "rounding weights"):
        joined = np.concatenate([weights[name] for name in names], axis=1)
        scale = scales(joined)
        integers = round_together(joined, scale, observed.grams[tensor])
        ends = np.cumsum([weights[name].shape[1] for name in names])[:-1]
        parts = zip(np.split(integers, ends, axis=1), np.split(scale, ends), strict=True)
        rounded |= {name: Rounded(*part) for name, part in zip(names, parts, strict=True)}
    return rounded


def to_int8(
    model: onnx.ModelProto,
    linears: Sequence[Linear],
    rounded: Mapping[str, Rounded],
    ranges: Mapping[str, Range],
    activations: QuantType,
) -> onnx.ModelProto:
    """Return the graph with a pair of QuantizeLinear and DequantizeLinear before each of these linear layers.

    QInt8 activations are symmetric about zero, as TensorRT wants, and lopsided ones are shifted there first. QUInt8
    ones need no symmetry, and onnxruntime is fast with them on a CPU.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if activations == QuantType.QInt8:
        ranges = centre(copy, linears, rounded, ranges)
    _tell_types(copy, linears)
    wanted = {linear.weight for linear in linears}
    for tensor in copy.graph.initializer:
        if tensor.name in wanted:  # on the grid already, so that the quantiser's own rounding changes nothing
            part = rounded[tensor.name]
            tensor.CopyFrom(numpy_helper.from_array(part.integers * part.scale, tensor.name))
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=activations,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
        ),
        nodes_to_quantize=[linear.name for linear in linears],
        nodes_to_exclude=[],
        op_types_to_quantize=LINEAR_OPS,
        extra_options=_quantizer_options(activations, {name: rounded[name].scale for name in wanted}),
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    made: onnx.ModelProto = quantizer.model.model
    _refuse_missed(made, linears)
    return made


def _quantizer_options(activations: QuantType, scales: Mapping[str, NDArray[np.float32]]) -> dict[str, object]:
    """Return what the quantiser of onnxruntime calls extra options, with the scales of weights."""
    for_cpu = activations == QuantType.QUInt8
    return {
        "ActivationSymmetric": not for_cpu,
        "WeightSymmetric": True,
        "AddQDQPairToWeight": False,
        "QuantizeBias": for_cpu,  # a Gemm's, in 32 bits, which TensorRT has no type for
        "OpTypesToExcludeOutputQuantization": LINEAR_OPS,
        # ONNX's own QuantizeLinear in opset 23, which cpu-fp32.onnx has, runs from onnxruntime 1.24 on, and Python 3.10
        # has none newer than 1.23. onnxruntime's own gives the same, and becomes the same 8-bit kernels.
        "UseQDQContribOps": for_cpu,
        "TensorQuantOverrides": {name: _overrides(scale) for name, scale in scales.items()},
    }


def _refuse_missed(made: onnx.ModelProto, linears: Sequence[Linear]) -> None:
    """Raise an HtsatEdgeError where the quantiser has left out layers that it was to quantise."""
    whole = {output for node in made.graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    names = {linear.name for linear in linears}
    missed = [x.name for x in made.graph.node if x.name in names and not {*x.input[:2]} <= whole]
    if missed:
        raise HtsatEdgeError(f"onnxruntime cannot quantise {len(missed)} of {len(linears)} layers: {listed(missed)}")


def _tell_types(model: onnx.ModelProto, linears: Sequence[Linear]) -> None:
    """Say that inputs of the layers are float32 where that cannot be inferred: the quantiser leaves such layers out."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {value.name for value in [*graph.value_info, *graph.input]}
    nodes = {node.name: node for node in model.graph.node}
    for name in dict.fromkeys(nodes[linear.name].input[0] for linear in linears):
        if name not in known:
            model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def centre(
    model: onnx.ModelProto, linears: Sequence[Linear], rounded: Mapping[str, Rounded], ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """Shift inputs with a lopsided range to around zero; return all ranges.

    The shift times the weights goes into the bias, so the outputs stay the same. In unsigned integers a zero point
    does this, but TensorRT wants the zero point to be zero. It fuses the subtraction with the operations before it.
    """
    nodes = {node.name: node for node in model.graph.node}
    sums = {name: node for node in model.graph.node if node.op_type == "Add" for name in node.input}
    users = Counter(linear.input for linear in linears)
    centred = dict(ranges)
    for linear in linears:
        low, high = ranges[linear.input]
        matmul = nodes[linear.name]
        owner, place = _bias_of(model.graph, matmul, sums)
        # GELU's output has one user, which has a bias. Others would need a second shift, or have nowhere to put it.
        if not is_lopsided(low, high) or owner is None or users[linear.input] > 1:
            continue
        shift, name = np.float32((low + high) / 2), linear.input + CENTRED
        centred[name] = (low - float(shift), high - float(shift))
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(shift), f"{name}.1"))
        subtract = helper.make_node("Sub", [linear.input, f"{name}.1"], [name], name=name)
        model.graph.node.insert(list(model.graph.node).index(matmul), subtract)
        matmul.input[0] = name
        part, bias = rounded[linear.weight], read_constant(model.graph, owner.input[place])
        assert bias is not None
        moved = bias + shift * (part.integers * part.scale).sum(axis=0)
        replace_constant(model.graph, owner, place, moved.astype(np.float32))
    # Ranges that could not be shifted become symmetric.
    return {
        name: (low, high) if not is_lopsided(low, high) else (-max(-low, high), max(-low, high))
        for name, (low, high) in centred.items()
    }


def _bias_of(
    graph: onnx.GraphProto, linear: onnx.NodeProto, sums: Mapping[str, onnx.NodeProto]
) -> tuple[onnx.NodeProto | None, int]:
    """Return the node that adds the constant bias of a linear layer, and which of its inputs that is."""
    owner, place = (linear, 2) if linear.op_type == "Gemm" else (sums.get(linear.output[0]), 0)
    if owner is not None and owner is not linear:
        place = 1 - list(owner.input).index(linear.output[0])
    if owner is None or place >= len(owner.input) or read_constant(graph, owner.input[place]) is None:
        return None, 0
    return owner, place


def _overrides(scale: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the scale of each output channel; without it the quantiser takes the largest weight."""
    channels: list[dict[str, Any]] = [{"scale": value, "zero_point": np.int8(0)} for value in scale]
    channels[0] |= {"axis": 1, "quant_type": QuantType.QInt8}
    return channels


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in half precision, with float32 inputs and outputs; 8-bit parts stay as they are.

    What leads to the patches, the input's scale, stays in float32, and so do the scores and embeddings.
    """
    copy = plain(model)
    if any(node.op_type == "QuantizeLinear" for node in copy.graph.node):
        copy = onnx.version_converter.convert_version(copy, HALF_OPSET)
    structure = structure_of(copy)
    stays = [i in structure.before or i in structure.after for i in range(len(copy.graph.node))]
    wide = _float_names(copy, stays)
    del copy.graph.value_info[:]  # it describes the float32 graph
    halves = _halve_constants(copy.graph, stays)
    nodes: list[onnx.NodeProto] = []
    cast: dict[tuple[str, int], str] = {}
    for node, stay in zip(copy.graph.node, stays, strict=True):
        to = TensorProto.FLOAT if stay else TensorProto.FLOAT16
        for i, name in enumerate(node.input):
            if name in halves and not stay:
                node.input[i] = halves[name]
            elif name in wide and wide[name] != to:
                if (name, to) not in cast:
                    cast[name, to] = f"{name}.{'float' if to == TensorProto.FLOAT else 'half'}"
                    nodes.append(helper.make_node("Cast", [name], [cast[name, to]], name=cast[name, to], to=to))
                node.input[i] = cast[name, to]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = to
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def is_half(model: onnx.ModelProto) -> bool:
    """Return whether a graph computes in half precision already, at least in part."""
    half = TensorProto.FLOAT16
    casts = {a.i for node in model.graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
    return half in casts or any(tensor.data_type == half for tensor in model.graph.initializer)


def with_float_ends(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with float32 in place of half-precision inputs and outputs, by a cast at each."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {tensor.name for tensor in graph.initializer}  # which old graphs list as inputs too
    first: list[onnx.NodeProto] = []
    last: list[onnx.NodeProto] = []
    for values, casts in ((graph.input, first), (graph.output, last)):
        for value in values:
            if value.type.tensor_type.elem_type != TensorProto.FLOAT16 or value.name in constants:
                continue
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            inner = f"{value.name}.half"
            for node in graph.node:
                for names in (node.input, node.output):
                    names[:] = [inner if name == value.name else name for name in names]
            source, target, to = (value.name, inner, TensorProto.FLOAT16)
            if values is graph.output:
                source, target, to = inner, value.name, TensorProto.FLOAT
            casts.append(helper.make_node("Cast", [source], [target], name=f"{value.name}.cast", to=to))
    nodes = [*first, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node), *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return copy


def _halve_constants(graph: onnx.GraphProto, stays: Sequence[bool]) -> dict[str, str]:
    """Turn what is for half precision into it, and copy what is for both; return the new names by the old ones."""
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for node, stay in zip(graph.node, stays, strict=True):
        used[stay] |= {*node.input}
    names = {}
    for tensor in [x for x in graph.initializer if x.name in used[False] and x.data_type == TensorProto.FLOAT]:
        with np.errstate(over="ignore"):  # infinities are found when the graph is measured
            value = numpy_helper.to_array(tensor).astype(np.float16)
        names[tensor.name] = f"{tensor.name}.half" if tensor.name in used[True] else tensor.name
        half = numpy_helper.from_array(value, names[tensor.name])
        if tensor.name in used[True]:
            graph.initializer.append(half)
        else:
            tensor.CopyFrom(half)
    return names


def _float_names(model: onnx.ModelProto, stays: Sequence[bool]) -> dict[str, int]:
    """Return the type that each float32 tensor which is not a constant will have."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    floats = {x.name for x in values if x.type.tensor_type.elem_type == TensorProto.FLOAT}
    types: dict[str, int] = {x.name: TensorProto.FLOAT for x in graph.input}
    for node, stay in zip(graph.node, stays, strict=True):
        to = TensorProto.FLOAT if stay else TensorProto.FLOAT16
        types |= {x: to for x in node.output if x in floats}
    return types
