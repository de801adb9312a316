"""Make the 8-bit and 16-bit graphs of one float graph, and measure how far they are from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx.numpy_helper import to_array as array
from onnxruntime.quantization import QuantType

from htsat_edge.calibration.graphs import Rounded, round_weights, to_half, to_int8
from htsat_edge.calibration.observe import Linear, Observed, Range, find_linears, observe
from htsat_edge.calibration.sensitivity import logits_of
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.models.bundle import CPU_FP32

Maker = Callable[[Sequence[Linear]], onnx.ModelProto]
"""Makes a graph with these layers in 8 bits."""


class Quantizer:
    """A float graph, what was observed in it, and the graphs made from it."""

    def __init__(
        self, model: onnx.ModelProto, windows: FloatArray, held: FloatArray, on_cpu: onnx.ModelProto | None = None
    ) -> None:
        """Run windows (N, T, F) through the model.

        Parameters
        ----------
        model
            fp32.onnx.
        windows
            To calibrate on.
        held
            To measure on.
        on_cpu
            cpu-fp32.onnx: the same layers in other operations, of which cpu-int8 is made.
        """
        self.model = model
        self.linears = find_linears(model)
        self._on_cpu = on_cpu
        self._twins = {} if on_cpu is None else twins(self.linears, model, on_cpu)
        self._held = held
        self._logits = logits_of(model, held)
        self._observed: Observed = observe(model, self.linears, with_progress(list(windows), "calibrating"))
        self._rounded: Mapping[str, Rounded] = round_weights(model, self.linears, self._observed)
        self._ranges: dict[tuple[str, QuantType], Mapping[str, Range]] = {}

    def int8(self, method: str, kind: QuantType, linears: Sequence[Linear]) -> onnx.ModelProto:
        """Return the graph with these layers in 8 bits."""
        if (method, kind) not in self._ranges:
            self._ranges[method, kind] = self._observed.ranges(method, symmetric=kind == QuantType.QInt8)
        rounded, ranges = self._rounded, self._ranges[method, kind]
        if kind != QuantType.QUInt8 or self._on_cpu is None:
            return to_int8(self.model, linears, rounded, ranges, kind)
        pairs = [(linear, twin) for linear in linears for twin in self._twins[linear.weight]]
        own_ranges = {twin.input: ranges[linear.input] for linear, twin in pairs}
        return to_int8(self._on_cpu, [twin for _, twin in pairs], rounded, own_ranges, kind)

    def makers(self, method: str, cpu_method: str) -> Mapping[str, Maker]:
        """Return how each of GRAPHS is made, with ranges by these methods."""
        return {
            "fp16": lambda _: to_half(self.model),
            "int8": lambda linears: self.int8(method, QuantType.QInt8, linears),
            "int8_fp16": lambda linears: to_half(self.int8(method, QuantType.QInt8, linears)),
            "cpu-int8": lambda linears: self.int8(cpu_method, QuantType.QUInt8, linears),
        }

    def snr_db(self, model: onnx.ModelProto) -> float:
        """Return the SNR of a graph's logits on the held windows."""
        return snr_db(self._logits, logits_of(model, self._held))

    def best_method(self, kind: QuantType, methods: Sequence[str]) -> str:
        """Return the method that keeps the logits of the held windows closest."""
        if len(methods) == 1:
            return methods[0]
        return max(methods, key=lambda method: self.snr_db(self.int8(method, kind, self.linears)))


def twins(linears: Sequence[Linear], model: onnx.ModelProto, other: onnx.ModelProto) -> dict[str, list[Linear]]:
    """Return the same layers in another graph of the same network, by the name of their weight.

    A layer has several twins where the other graph takes its tokens in pieces. Raise an HtsatEdgeError where a weight
    is missing or differs.
    """
    found: dict[str, list[Linear]] = {}
    for linear in find_linears(other):
        found.setdefault(linear.weight, []).append(linear)
    ours, theirs = ({tensor.name: tensor for tensor in graph.graph.initializer} for graph in (model, other))
    for linear in linears:
        if linear.weight not in found or not np.array_equal(array(ours[linear.weight]), array(theirs[linear.weight])):
            raise HtsatEdgeError(
                f"{CPU_FP32}.onnx: its {linear.name} is not that of fp32.onnx; "
                "python -m htsat_edge.export.to_onnx --cpu writes both"
            )
    return found
