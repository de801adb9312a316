"""What goes into the linear layers of a graph: the range of each input, and how its channels go together."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends.ort import open_session
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

METHODS = ("mse", "minmax", "percentile", "entropy")
BACKBONE = "layers."
"""What the layers of the backbone begin with; the front end, the stretch, the patches and the head stay as they are."""
LINEAR_OPS = ("MatMul", "Gemm")
"""A linear layer in fp32.onnx, and in cpu-fp32.onnx."""
BINS = 2048
PERCENTILE = 99.999
STRIDE = 5
"""Every fifth value goes into the histograms, which cost more time than the network; channels are even in number."""
SHRINK = np.linspace(0.3, 1, 71)
"""Of the full range: what the search for the least squared error tries."""

LOPSIDED = 0.5
"""The middle of a range over half its width: beyond this, a symmetric range would be half as wide again, or wider."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Linear:
    """A product with a constant weight."""

    name: str
    """Of its node."""
    input: str
    weight: str
    """(C_in, C_out)."""


@dataclass(frozen=True)
class Observed:
    """The inputs of the linear layers, over all clips; each by the name of its tensor."""

    ends: dict[str, Range]
    """The lowest and the highest value."""
    collector: HistogramCollector
    """Histograms of every fifth value."""
    grams: dict[str, NDArray[np.float32]]
    """sum(x x^T) over all tokens (C, C)."""

    def ranges(self, method: str, symmetric: bool) -> dict[str, Range]:
        """What 8 bits should cover, from lowest to highest; zero is always within.

        Symmetric ones reach as far below zero as above, but for those of lopsided tensors: see `is_lopsided`.
        """
        if method in ("percentile", "entropy"):
            collector = copy.copy(self.collector)
            collector.method = method
            with contextlib.redirect_stdout(io.StringIO()):
                found = collector.compute_collection_result()
            ends = {name: (float(limits[0]), float(limits[1])) for name, limits in found.items()}
        else:
            ends = self.ends
        whole = {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in ends.items()}
        if symmetric:
            whole = {
                name: (low, high) if is_lopsided(low, high) else (-max(-low, high), max(-low, high))
                for name, (low, high) in whole.items()
            }
        if method != "mse":
            return whole
        histograms = self.collector.get_histogram_dict()
        return {name: least_error(histograms[name][0], histograms[name][1], ends) for name, ends in whole.items()}


def is_lopsided(low: float, high: float) -> bool:
    """Whether a range lies so far to one side that symmetric integers would waste most of a bit, as GELU's does."""
    return abs(low + high) > LOPSIDED * (high - low)


def find_linears(model: onnx.ModelProto) -> list[Linear]:
    """The linear layers of the backbone, in order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    found = [
        Linear(node.name, node.input[0], node.input[1])
        for node in model.graph.node
        if node.op_type in LINEAR_OPS and node.name.startswith(BACKBONE) and node.input[1] in constants
    ]
    if not found:
        raise HtsatEdgeError(
            "fp32.onnx: has no linear layer that could be quantised; was it made by export/to_onnx.py?"
        )
    return found


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The model, with tensors inside it as outputs too."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    there = {output.name for output in watched.graph.output}
    for name in names:
        if name not in there:
            watched.graph.output.append(onnx.ValueInfoProto(name=name))  # onnxruntime knows its type
    return watched


def observe(model: onnx.ModelProto, linears: Iterable[Linear], clips: Iterable[FloatArray]) -> Observed:
    """Run clips (T, F) through a model, one at a time: memory does not grow with their number."""
    tensors = sorted({linear.input for linear in linears})
    session = open_session(with_outputs(model, tensors).SerializeToString())
    # How it chooses is set when ranges are asked for: asymmetric histograms serve every method.
    collector = HistogramCollector("percentile", False, BINS, 128, PERCENTILE, "same")
    grams: dict[str, Any] = {}
    ends: dict[str, Range] = {}
    for clip in clips:
        values = dict(zip(tensors, session.run(tensors, {"log_mel": clip[None]}), strict=True))
        for name, value in values.items():
            rows = value.reshape(-1, value.shape[-1])
            grams[name] = grams.get(name, 0) + rows.T @ rows
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = min(low, float(value.min())), max(high, float(value.max()))
        del clip
        with contextlib.redirect_stdout(io.StringIO()):
            collector.collect({name: value.ravel()[::STRIDE] for name, value in values.items()})
    return Observed(ends, collector, grams)


def least_error(counts: NDArray[Any], edges: NDArray[Any], whole: Range) -> Range:
    """The part of a range in which 255 even steps, and what is cut off, have the least squared error."""
    centres = (edges[:-1] + edges[1:]) / 2

    def error(share: float) -> float:
        low, high = whole[0] * share, whole[1] * share
        cut = np.maximum(centres - high, 0) + np.maximum(low - centres, 0)
        rounding = ((high - low) / 255) ** 2 / 12
        return float((counts * np.where(cut > 0, cut**2, rounding)).sum())

    best = min(SHRINK, key=error)
    return whole[0] * best, whole[1] * best
