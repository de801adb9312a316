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
from htsat_edge.calibration.observe import LINEAR_OPS, Linear, Observed, Range, is_lopsided

GRAPHS = ("fp16", "int8", "int8_fp16", "cpu-int8")
"""The graphs that are made from fp32.onnx, and the last, where there is one, from cpu-fp32.onnx."""
FLOAT_PARTS = ("bn0.", "stretch", "logits", "framewise", "clipwise", "embedding")
"""Prefixes of nodes that stay in float32 in a half-precision graph: the input's scale, and the outputs."""
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
    for tensor, names in by_input.items():  # q, k and v share their input, and so the work
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
        extra_options={
            "ActivationSymmetric": activations == QuantType.QInt8,
            "WeightSymmetric": True,
            "AddQDQPairToWeight": False,
            "OpTypesToExcludeOutputQuantization": LINEAR_OPS,
            "TensorQuantOverrides": {name: _overrides(rounded[name].scale) for name in wanted},
        },
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    return quantizer.model.model


def centre(
    model: onnx.ModelProto, linears: Sequence[Linear], rounded: Mapping[str, Rounded], ranges: Mapping[str, Range]
) -> dict[str, Range]:
    """Shift inputs with a lopsided range to around zero; return all ranges.

    The shift times the weights goes into the bias, so the outputs stay the same. In unsigned integers a zero point
    does this, but TensorRT wants the zero point to be zero. It fuses the subtraction with the operations before it.
    """
    nodes = {node.name: node for node in model.graph.node}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    biases = {node.input[0]: node.input[1] for node in model.graph.node if node.op_type == "Add"}
    users = Counter(linear.input for linear in linears)
    centred = dict(ranges)
    for linear in linears:
        low, high = ranges[linear.input]
        matmul = nodes[linear.name]
        bias = constants.get(biases.get(matmul.output[0], ""))
        # GELU's output has one user, which has a bias. Others would need a second shift, or have nowhere to put it.
        if not is_lopsided(low, high) or bias is None or users[linear.input] > 1:
            continue
        shift, name = np.float32((low + high) / 2), linear.input + CENTRED
        centred[name] = (low - float(shift), high - float(shift))
        model.graph.initializer.append(numpy_helper.from_array(shift, f"{name}.1"))
        subtract = helper.make_node("Sub", [linear.input, f"{name}.1"], [name], name=name)
        model.graph.node.insert(list(model.graph.node).index(matmul), subtract)
        matmul.input[0] = name
        part = rounded[linear.weight]
        moved = numpy_helper.to_array(bias) + shift * (part.integers * part.scale).sum(axis=0)
        bias.CopyFrom(numpy_helper.from_array(moved.astype(np.float32), bias.name))
    # Ranges that could not be shifted become symmetric.
    return {
        name: (low, high) if not is_lopsided(low, high) else (-max(-low, high), max(-low, high))
        for name, (low, high) in centred.items()
    }


def _overrides(scale: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the scale of each output channel; without it the quantiser takes the largest weight."""
    channels: list[dict[str, Any]] = [{"scale": value, "zero_point": np.int8(0)} for value in scale]
    channels[0] |= {"axis": 1, "quant_type": QuantType.QInt8}
    return channels


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph in half precision, with float32 inputs and outputs; 8-bit parts stay as they are."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        copy = onnx.version_converter.convert_version(copy, HALF_OPSET)
    wide = _float_names(copy)
    del copy.graph.value_info[:]  # it describes the float32 graph
    nodes: list[onnx.NodeProto] = []
    halves = {x for node in copy.graph.node if not _stays(node) for x in node.input}
    cast: dict[tuple[str, int], str] = {}
    for tensor in copy.graph.initializer:
        if tensor.name in halves and tensor.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):  # infinities are found when the graph is measured
                value = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for node in copy.graph.node:
        to = TensorProto.FLOAT if _stays(node) else TensorProto.FLOAT16
        for i, name in enumerate(node.input):
            if name in wide and wide[name] != to:
                if (name, to) not in cast:
                    cast[name, to] = f"{name}.{'float' if to == TensorProto.FLOAT else 'half'}"
                    nodes.append(helper.make_node("Cast", [name], [cast[name, to]], name=cast[name, to], to=to))
                node.input[i] = cast[name, to]
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _stays(node: onnx.NodeProto) -> bool:
    return node.name.startswith(FLOAT_PARTS)


def _float_names(model: onnx.ModelProto) -> dict[str, int]:
    """Return the type that each float32 tensor which is not a constant will have."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    floats = {x.name for x in values if x.type.tensor_type.elem_type == TensorProto.FLOAT}
    types: dict[str, int] = {x.name: TensorProto.FLOAT for x in graph.input}
    for node in graph.node:
        types |= {x: TensorProto.FLOAT if _stays(node) else TensorProto.FLOAT16 for x in node.output if x in floats}
    return types
