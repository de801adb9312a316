"""Observe the inputs of a graph's linear layers: the range of each, and the correlations of its channels."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from onnxruntime.quantization.calibrate import HistogramCollector

from htsat_edge.calibration.plain import round_in_float
from htsat_edge.calibration.structure import Linear
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.models.backends.ort import open_session

METHODS = ("mse", "minmax", "percentile", "entropy")
BINS = 2048
PERCENTILE = 99.999
STRIDE = 5
"""Every fifth value goes into the histograms, which cost more time than the network. Odd, as channels are even."""
SHRINK = np.linspace(0.3, 1, 71)
"""Shares of the full range that the search for the least squared error tries."""

LOPSIDED = 0.5
"""Middle of a range over half its width: beyond this, a symmetric range would be at least half as wide again."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Observed:
    """The inputs of the linear layers over all windows, by the name of the tensor."""

    ends: dict[str, Range]
    """The lowest and the highest value."""
    collector: HistogramCollector
    """Histograms of every fifth value."""
    grams: dict[str, NDArray[np.float32]]
    """sum(x x^T) over all tokens (C, C)."""
    _found: dict[str, dict[str, Range]] = field(default_factory=dict)

    def ranges(self, method: str, symmetric: bool) -> dict[str, Range]:
        """Return the range that 8 bits should cover of each tensor; zero is always within.

        Symmetric ranges reach as far below zero as above, except those of lopsided tensors: see `is_lopsided`.
        """
        ends = self._ends(method) if method in ("percentile", "entropy") else self.ends
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

    def _ends(self, method: str) -> dict[str, Range]:
        """Return the range of each tensor by a method of onnxruntime; entropy takes it a minute, so once is enough."""
        if method not in self._found:
            collector = copy.copy(self.collector)
            collector.method = method
            with contextlib.redirect_stdout(io.StringIO()):
                found = collector.compute_collection_result()
            self._found[method] = {name: (float(limits[0]), float(limits[1])) for name, limits in found.items()}
        return self._found[method]


def is_lopsided(low: float, high: float) -> bool:
    """Return whether symmetric integers would waste most of a bit on a range, as on that of GELU's output."""
    return abs(low + high) > LOPSIDED * (high - low)


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of the model in which these inner tensors are outputs too."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    there = {output.name for output in watched.graph.output}
    for name in names:
        if name not in there:
            watched.graph.output.append(onnx.ValueInfoProto(name=name))  # onnxruntime knows its type
    return watched


def watch(model: onnx.ModelProto, names: Iterable[str]) -> InferenceSession:
    """Open a session that gives these inner tensors too."""
    return open_session(with_outputs(round_in_float(model), names).SerializeToString())


def observe(model: onnx.ModelProto, linears: Iterable[Linear], windows: Iterable[FloatArray]) -> Observed:
    """Run windows (T, F) through a model, one at a time: memory does not grow with their number."""
    tensors = sorted({linear.input for linear in linears})
    session = watch(model, tensors)
    # `Observed.ranges` sets the method: asymmetric histograms serve every one.
    collector = HistogramCollector("percentile", False, BINS, 128, PERCENTILE, "same")
    grams: dict[str, Any] = {}
    ends: dict[str, Range] = {}
    for window in windows:
        values = dict(zip(tensors, session.run(tensors, {"log_mel": window[None]}), strict=True))
        for name, value in values.items():
            rows = value.reshape(-1, value.shape[-1])
            grams[name] = grams.get(name, 0) + rows.T @ rows
            low, high = ends.get(name, (np.inf, -np.inf))
            ends[name] = min(low, float(value.min())), max(high, float(value.max()))
        del window
        with contextlib.redirect_stdout(io.StringIO()):
            collector.collect({name: value.ravel()[::STRIDE] for name, value in values.items()})
    return Observed(ends, collector, grams)


def least_error(counts: NDArray[Any], edges: NDArray[Any], whole: Range) -> Range:
    """Return the part of a range with the least squared error, from 255 even steps and from what is cut off."""
    centres = (edges[:-1] + edges[1:]) / 2

    def error(share: float) -> float:
        low, high = whole[0] * share, whole[1] * share
        cut = np.maximum(centres - high, 0) + np.maximum(low - centres, 0)
        rounding = ((high - low) / 255) ** 2 / 12
        return float((counts * np.where(cut > 0, cut**2, rounding)).sum())

    best = min(SHRINK, key=error)
    return whole[0] * best, whole[1] * best
