"""Make the 8-bit and 16-bit graphs of one float graph, and measure how far they are from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnxruntime.quantization import QuantType

from htsat_edge.calibration.graphs import Rounded, round_weights, to_half, to_int8
from htsat_edge.calibration.observe import Observed, Range, observe
from htsat_edge.calibration.plain import plain, read_constant
from htsat_edge.calibration.sensitivity import logits_of
from htsat_edge.calibration.structure import Linear, find_linears, split_linears
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import waiting, with_progress
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
        refuse_batches(model)
        self.model = model = plain(model)
        self.linears, self.missed = split_linears(model)
        self._on_cpu = None if on_cpu is None else plain(on_cpu)
        self._twins = [] if self._on_cpu is None else twins(self.linears, model, self._on_cpu)
        self._held = held
        with waiting("running fp32.onnx on what is held back"):
            self._logits = logits_of(model, held)
        refuse_constant(self._logits)
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
        chosen = [twin for twin in self._twins if {*twin.sources} <= {*linears}]
        own = {twin.linear.weight: twin.gather(rounded) for twin in chosen}
        own_ranges = {twin.linear.input: ranges[twin.sources[0].input] for twin in chosen}
        return to_int8(self._on_cpu, [twin.linear for twin in chosen], own, own_ranges, kind)

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
        tried = with_progress(methods, "choosing the ranges")
        return max(tried, key=lambda method: self.snr_db(self.int8(method, kind, self.linears)))


def refuse_batches(model: onnx.ModelProto) -> None:
    """Raise an HtsatEdgeError where fp32.onnx takes a fixed number of windows other than one, as calibrating does."""
    (batch,) = (x.type.tensor_type.shape.dim[0].dim_value for x in model.graph.input if x.name == "log_mel")
    if batch > 1:
        raise HtsatEdgeError(
            f"fp32.onnx: takes {batch} windows at a time and no other number; want one that takes 1, or any number"
        )


def refuse_constant(logits: FloatArray) -> None:
    """Raise an HtsatEdgeError where logits (N, 32, C) never change, so that no graph could be compared by them."""
    if (logits == logits[:1, :1]).all():
        raise HtsatEdgeError(
            "fp32.onnx: gives every window the same scores, as a network without a head does (ClapModel), so that "
            "what 8 bits change cannot be measured; train it on your classes first (docs/training.md), or use "
            "fp32.onnx as it is"
        )


class Twin(NamedTuple):
    """A linear layer of another graph of the same network, by its columns."""

    linear: Linear
    sources: list[Linear]
    """Where each of its columns is in the first graph: the layer, all with the same input."""
    columns: list[int]
    """The column of that layer."""

    def gather(self, rounded: Mapping[str, Rounded]) -> Rounded:
        """Return its weight in 8 bits."""
        parts = [rounded[source.weight] for source in self.sources]
        return Rounded(
            np.stack([part.integers[:, j] for part, j in zip(parts, self.columns, strict=True)], axis=1),
            np.array([part.scale[j] for part, j in zip(parts, self.columns, strict=True)], np.float32),
        )


def twins(linears: Sequence[Linear], model: onnx.ModelProto, other: onnx.ModelProto) -> list[Twin]:
    """Return the layers of another graph of the same network, found by the columns of their weights.

    A layer has several twins where the other graph takes its tokens in pieces. Several layers have one where a tool
    has joined those with the same input. Raise an HtsatEdgeError where a column is missing or differs.
    """
    places: dict[bytes, dict[str, tuple[Linear, int]]] = {}
    for linear in linears:
        for j, column in enumerate(_columns(model, linear)):
            places.setdefault(column, {}).setdefault(linear.input, (linear, j))
    found = []
    for linear in find_linears(other, f"{CPU_FP32}.onnx"):
        candidates = [places.get(column, {}) for column in _columns(other, linear)]
        shared = next((name for name in candidates[0] if all(name in each for each in candidates)), None)
        if shared is None:
            raise _no_twin(linear)
        chosen = [each[shared] for each in candidates]
        found.append(Twin(linear, [source for source, _ in chosen], [j for _, j in chosen]))
    known = {source for twin in found for source in twin.sources}
    for linear in linears:
        if linear not in known:
            raise _no_twin(linear)
    return found


def _columns(model: onnx.ModelProto, linear: Linear) -> list[bytes]:
    """Return a hash of each column of a layer's weight."""
    weight = read_constant(model.graph, linear.weight)
    assert weight is not None
    return [hashlib.blake2b(column.tobytes(), digest_size=16).digest() for column in weight.T]


def _no_twin(linear: Linear) -> HtsatEdgeError:
    return HtsatEdgeError(
        f"{CPU_FP32}.onnx: its {linear.name} is not that of fp32.onnx; python -m htsat_edge.export.to_onnx writes both"
    )
