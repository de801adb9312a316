"""Explain why the outputs of a graph differ from those of the graph that it was made from.

Both graphs have the same names for the same tensors, since one was made from the other (`made_from` in accuracy.py). Of
another tool's graph, what has kept its name is compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import InferenceSession

from htsat_edge.calibration.graphs import CENTRED, with_float_ends
from htsat_edge.calibration.observe import SHRINK, is_lopsided, watch
from htsat_edge.calibration.plain import plain
from htsat_edge.calibration.structure import LINEAR_OPS, survey
from htsat_edge.evaluation.budget import Budget
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.text import listed

INPUT = "log_mel"
AT_ONCE = 40
"""Tensors that are compared in one run: all of them would fill the memory of a small device."""
SPARSE = 37
"""One value in so many is compared with a range; odd, so that every channel is met."""
ADDED_DB = 3.0
"""A layer that adds no more than this did not cause the difference."""
CLEAN_DB = 40.0
"""Tensors this close count as equal: eight bits done well give no more."""


class Entry(NamedTuple):
    """The layer that adds most of the difference between a graph and its original."""

    layer: str
    before_db: float
    after_db: float
    """SNR of its input and of its output to the original's, at most CLEAN_DB."""


class TensorRange(NamedTuple):
    """The range that the 8 bits of a tensor cover, against its values."""

    tensor: str
    covered: float
    """Width of the range over that of the values."""
    excess_db: float
    """Noise of the 8 bits over that of the best range."""


def explain(
    original: onnx.ModelProto,
    suspect: onnx.ModelProto,
    broken: Sequence[str],
    probes: Sequence[FloatArray],
    budget: Budget,
) -> list[str]:
    """Return the faults inside a graph, a line each, and where its outputs are off, the layer that causes it.

    Parameters
    ----------
    original, suspect
        The graph that `suspect` was made from, and `suspect`.
    broken
        What the graph breaks of the budget: without that, no layer is looked for.
    probes
        Windows (T, F) to compare the graphs on.
    budget
        Says how much noise a range may add.
    """
    original, suspect = plain(original), plain(with_float_ends(suspect))
    found = find_faults(original, suspect)
    if not probes:
        return found
    wide = [r for r in compare_ranges(original, suspect, probes) if r.excess_db > budget.range_excess_db]
    if wide:
        worst, more = wide[0], len(wide) - 1
        found.append(
            f"the 8-bit range of {worst.tensor} is {worst.covered:.2g} times as wide as its values, which makes "
            f"{worst.excess_db:.0f} dB more noise than the best range, allowed are {budget.range_excess_db:g}"
            + (f"; the same goes for {more} more: was it calibrated on other sounds than these?" if more else "")
        )
    entry = find_entry(original, suspect, probes[0]) if broken else None
    if entry is not None and entry.before_db - entry.after_db > ADDED_DB:
        found.append(
            f"the difference comes from {entry.layer}: its input is within {entry.before_db:.0f} dB, its output within "
            f"{entry.after_db:.0f} dB"
        )
    return found


def find_entry(original: onnx.ModelProto, suspect: onnx.ModelProto, window: FloatArray) -> Entry | None:
    """Return the layer with weights that adds most of the difference on a window (T, F); None if none is in both."""
    constants = {tensor.name for tensor in original.graph.initializer}
    shared = set(_shared(original, suspect))
    layers = [
        node
        for node in original.graph.node
        if node.op_type in (*LINEAR_OPS, "Conv")
        and node.input[1] in constants
        and {*node.input[:1], *node.output} <= shared
    ]
    names = list(dict.fromkeys(name for node in layers for name in (node.input[0], node.output[0])))
    found: dict[str, float] = {}  # without those that another tool has given another shape
    sessions = [watch(graph, names) for graph in (original, suspect)]
    for name, wanted, got in zip(names, *(_tensors(session, names, window) for session in sessions), strict=True):
        # Only the variation of a channel over the tokens counts; its mean may have moved to the bias.
        tokens = tuple(range(wanted.ndim - 1))
        if wanted.shape == got.shape:
            found[name] = min(CLEAN_DB, snr_db(wanted - wanted.mean(axis=tokens), got - got.mean(axis=tokens)))
    ends = [(node.name, node.input[0], node.output[0]) for node in layers]
    entries = [Entry(layer, found[x], found[y]) for layer, x, y in ends if x in found and y in found]
    return max(entries, key=lambda entry: entry.before_db - entry.after_db, default=None)


def find_faults(original: onnx.ModelProto, suspect: onnx.ModelProto) -> list[str]:
    """Return what is in 8 bits as it should not be, a line each.

    Only the inputs of the backbone's linear layers may be, each with one scale: NVIDIA's parser accepts one for each
    channel without a warning, and gets it wrong. Signed ones, which are for TensorRT, must have the zero point 0.
    """
    linears = {linear.input for linear in survey(original, "fp32.onnx")[0]}
    found: dict[str, list[str]] = defaultdict(list)
    for name, step, zero, _ in _quantisers(suspect):
        if name not in linears:
            found["in 8 bits, but only inputs of linear layers may be"].append(name)
        elif step.size > 1:
            found["quantised with a scale for each channel in place of one, which TensorRT gets wrong"].append(name)
        elif zero.dtype == np.int8 and zero.size == 1 and zero.any():
            found[f"quantised with the zero point {zero.item()} in place of 0, which TensorRT refuses"].append(name)
    return [f"{listed(names)} {'is' if len(names) == 1 else 'are'} {fault}" for fault, names in found.items()]


def compare_ranges(
    original: onnx.ModelProto, suspect: onnx.ModelProto, windows: Sequence[FloatArray]
) -> list[TensorRange]:
    """Return the range of every tensor that a graph quantises, against its values on windows (T, F); worst first."""
    quantisers = {q.tensor: q for q in _quantisers(suspect) if q.step.size == 1}
    names = [name for name in quantisers if name in _shared(original, original)]
    session = watch(original, names)
    seen: dict[str, list[FloatArray]] = {name: [] for name in names}
    for window in windows:
        for name, value in zip(names, _tensors(session, names, window), strict=True):
            seen[name].append(value.ravel()[::SPARSE])
    found = [_range(name, np.concatenate(seen[name]), quantisers[name]) for name in names]
    return sorted(found, key=lambda tensor: -tensor.excess_db)


class Quantiser(NamedTuple):
    """How a graph turns a tensor into 8 bits."""

    tensor: str
    step: NDArray[Any]
    """One value, or one for each channel, which is a fault."""
    zero: NDArray[Any]
    shift: float
    """Subtracted first."""


def _quantisers(model: onnx.ModelProto) -> list[Quantiser]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants or node.input[1] not in constants:
            continue
        name, step, *given = node.input
        zero = constants.get(given[0]) if given else np.uint8(0)
        if zero is not None and np.issubdtype(zero.dtype, np.integer):
            shift = float(constants[f"{name}.1"]) if name.endswith(CENTRED) else 0.0
            found.append(Quantiser(name.removesuffix(CENTRED), constants[step], np.asarray(zero), shift))
    return found


def _range(name: str, values: FloatArray, quantiser: Quantiser) -> TensorRange:
    limits = np.iinfo(quantiser.zero.dtype)
    steps = limits.max - limits.min

    def error(low: float, high: float) -> float:
        """Return the mean squared error of 8 bits that cover just this range."""
        step = (high - low) / steps
        found = np.clip(np.round((values - low) / step), 0, steps) * step + low
        return float(np.square(found - values, dtype=np.float64).mean())

    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if limits.min < 0 and not is_lopsided(low, high):  # symmetric about zero
        low, high = min(low, -high), max(high, -low)
    best = min((error(low * share, high * share) for share in SHRINK if high > low), default=0.0)
    step = float(quantiser.step.item())
    begin = (limits.min - int(quantiser.zero.item())) * step + quantiser.shift
    covered = step * steps
    excess_db = 10 * np.log10(max(error(begin, begin + covered), 1e-30) / max(best, 1e-30))
    return TensorRange(name, covered / max(high - low, 1e-30), float(excess_db))


def _shared(original: onnx.ModelProto, suspect: onnx.ModelProto) -> list[str]:
    """Return the floating-point tensors that both graphs compute, in order."""
    theirs = {name for node in suspect.graph.node for name in node.output}
    return [
        node.output[0] for node in original.graph.node if node.output[0] in theirs and node.op_type != "QuantizeLinear"
    ]


def _tensors(session: InferenceSession, names: Sequence[str], window: FloatArray) -> Iterator[FloatArray]:
    """Yield tensors of a graph for a window (T, F)."""
    batch = session.get_inputs()[0].shape[0]
    count = batch if isinstance(batch, int) and batch > 0 else 1  # another tool's graph may take a fixed number
    for begin in range(0, len(names), AT_ONCE):
        for value in session.run(list(names[begin : begin + AT_ONCE]), {INPUT: np.repeat(window[None], count, axis=0)}):
            yield np.asarray(value[: len(value) // count], np.float32)
