"""Why a graph answers otherwise than the one it was made from: where in it the difference comes in.

Both graphs have the same names for the same tensors, since one was made from the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from calibration.measures import snr_db
from calibration.observe import SHRINK, STRIDE, find_linears, with_outputs
from runtime.backends.ort import open_session
from runtime.features import FloatArray

INPUT = "log_mel"
AT_ONCE = 40
"""Tensors that are looked at in one run: all of them would fill the memory of a small device."""
CLEAN_DB = 40.0
"""What is this close is as good as the same: eight bits done well give no more."""


class Entry(NamedTuple):
    """The layer in which a graph departs from its original most."""

    layer: str
    before_db: float
    after_db: float
    """How far its input and its output are from the original's, at most CLEAN_DB."""


class Misfit(NamedTuple):
    """A tensor whose 8 bits cover a range that is not its own."""

    tensor: str
    covered: float
    """What the 8 bits cover, as a share of what is there."""
    excess_db: float
    """How much more noise they make than the best range would."""


def find_entry(original: onnx.ModelProto, suspect: onnx.ModelProto, clip: FloatArray) -> Entry:
    """Where the noise comes in, on a clip (T, F): the layer with weights whose output is worst beside its input."""
    constants = {tensor.name for tensor in original.graph.initializer}
    shared = set(_shared(original, suspect))
    layers = [
        node
        for node in original.graph.node
        if node.op_type in ("MatMul", "Conv")
        and node.input[1] in constants
        and {*node.input[:1], *node.output} <= shared
    ]
    names = list(dict.fromkeys(name for node in layers for name in (node.input[0], node.output[0])))
    found: dict[str, float] = {}
    for name, wanted, got in _tensors(original, suspect, names, clip):
        # The mean of a channel tells nothing: what matters is how it varies over the tokens.
        mean = wanted.mean(axis=tuple(range(wanted.ndim - 1)))
        found[name] = min(CLEAN_DB, snr_db(wanted - mean, got - mean))
    entries = [Entry(node.name, found[node.input[0]], found[node.output[0]]) for node in layers]
    return max(entries, key=lambda entry: entry.before_db - entry.after_db)


def find_strays(original: onnx.ModelProto, suspect: onnx.ModelProto) -> list[str]:
    """Tensors in 8 bits that are no input of a linear layer of the backbone: the front end, a sum, attention."""
    linears = {linear.input for linear in find_linears(original)}
    constants = {tensor.name for tensor in suspect.graph.initializer}
    quantised = [node.input[0] for node in suspect.graph.node if node.op_type == "QuantizeLinear"]
    return [name for name in quantised if name not in linears and name not in constants]


def find_misfits(original: onnx.ModelProto, suspect: onnx.ModelProto, clips: Sequence[FloatArray]) -> list[Misfit]:
    """Every tensor that a graph quantises, on clips (T, F); the worst first."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in suspect.graph.initializer}
    quantisers = {
        node.input[0]: (constants[node.input[1]], constants[node.input[2]])
        for node in suspect.graph.node
        if node.op_type == "QuantizeLinear" and node.input[1] in constants and len(node.input) > 2
    }
    names = [name for name in quantisers if name == INPUT or name in _shared(original, original)]
    session = open_session(with_outputs(original, [name for name in names if name != INPUT]).SerializeToString())
    found = []
    for name in names:
        if name == INPUT:
            parts = [clip[None] for clip in clips]
        else:
            parts = [session.run([name], {INPUT: clip[None]})[0] for clip in clips]
        values = np.concatenate([part.ravel()[::STRIDE] for part in parts])
        scale, zero = quantisers[name]
        found.append(_misfit(name, values, float(scale), int(zero), np.iinfo(zero.dtype)))
    return sorted(found, key=lambda misfit: -misfit.excess_db)


def _misfit(name: str, values: FloatArray, scale: float, zero: int, limits: np.iinfo) -> Misfit:
    def error(scale: float, zero: int) -> float:
        integers = np.clip(np.round(values / scale) + zero, limits.min, limits.max)
        return float(np.square((integers - zero) * scale - values, dtype=np.float64).mean())

    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if zero == 0 and limits.min < 0:  # symmetric
        low, high = min(low, -high), max(high, -low)
    steps = limits.max - limits.min
    widths = [(low * share, high * share) for share in SHRINK if high > low]
    best = min((error((b - a) / steps, round(limits.min - a / ((b - a) / steps))) for a, b in widths), default=0.0)
    excess_db = 10 * np.log10(max(error(scale, zero), 1e-30) / max(best, 1e-30))
    return Misfit(name, scale * steps / max(high - low, 1e-30), float(excess_db))


def _shared(original: onnx.ModelProto, suspect: onnx.ModelProto) -> list[str]:
    """The tensors that both graphs compute, floats alone, in order."""
    theirs = {name for node in suspect.graph.node for name in node.output}
    return [
        node.output[0] for node in original.graph.node if node.output[0] in theirs and node.op_type != "QuantizeLinear"
    ]


def _tensors(
    original: onnx.ModelProto, suspect: onnx.ModelProto, names: Sequence[str], clip: FloatArray
) -> Iterator[tuple[str, FloatArray, FloatArray]]:
    """Each of these tensors, in both graphs."""
    sessions = [open_session(with_outputs(model, names).SerializeToString()) for model in (original, suspect)]
    for begin in range(0, len(names), AT_ONCE):
        part = list(names[begin : begin + AT_ONCE])
        wanted, found = (session.run(part, {INPUT: clip[None]}) for session in sessions)
        for name, one, other in zip(part, wanted, found, strict=True):
            yield name, one, np.asarray(other, np.float32)
