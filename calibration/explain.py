"""Why a graph answers otherwise than the one it was made from: where in it the difference comes in.

Both graphs have the same names for the same tensors, since one was made from the other (`made_from` in accuracy.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from htsat_edge.calibration.graphs import CENTRED
from htsat_edge.calibration.observe import LINEAR_OPS, SHRINK, find_linears, is_lopsided, with_outputs
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.models.backends.ort import open_session
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import InferenceSession

INPUT = "log_mel"
AT_ONCE = 40
"""Tensors that are looked at in one run: all of them would fill the memory of a small device."""
SPARSE = 37
"""One value in so many tells how well a range fits; odd, so that every channel is met."""
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


def find_entry(original: onnx.ModelProto, suspect: onnx.ModelProto, clip: FloatArray) -> Entry | None:
    """Where the noise comes in, on a clip (T, F): the layer with weights whose output is worst beside its input.

    None where the graphs have no such layer in common.
    """
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
    found: dict[str, float] = {}
    sessions = [open_session(with_outputs(graph, names).SerializeToString()) for graph in (original, suspect)]
    for name, wanted, got in zip(names, *(_tensors(session, names, clip) for session in sessions), strict=True):
        # What matters is how a channel varies over the tokens; its mean may have moved to the bias.
        tokens = tuple(range(wanted.ndim - 1))
        found[name] = min(CLEAN_DB, snr_db(wanted - wanted.mean(axis=tokens), got - got.mean(axis=tokens)))
    entries = [Entry(node.name, found[node.input[0]], found[node.output[0]]) for node in layers]
    return max(entries, key=lambda entry: entry.before_db - entry.after_db, default=None)


def find_strays(original: onnx.ModelProto, suspect: onnx.ModelProto) -> list[str]:
    """What is in 8 bits as it should not be, in words.

    No tensor may be but the inputs of the backbone's linear layers, each with one scale: one for each channel is what
    NVIDIA's parser takes without a word, and gets wrong. Where they are signed, as for TensorRT, zero is zero.
    """
    linears = {linear.input for linear in find_linears(original)}
    found = []
    for name, step, zero, _ in _quantisers(suspect):
        if name not in linears:
            found.append(f"{name} is in 8 bits, but only inputs of linear layers may be")
        elif step.size > 1:
            found.append(f"{name} has a scale for each channel in place of one, which TensorRT gets wrong")
        elif zero.dtype == np.int8 and zero.any():
            found.append(f"{name} has the zero point {int(zero)} in place of 0, which TensorRT refuses")
    return found


def find_misfits(original: onnx.ModelProto, suspect: onnx.ModelProto, clips: Sequence[FloatArray]) -> list[Misfit]:
    """Every tensor that a graph quantises, on clips (T, F); the worst first."""
    quantisers = {q.tensor: q for q in _quantisers(suspect) if q.step.size == 1}
    names = [name for name in quantisers if name in _shared(original, original)]
    session = open_session(with_outputs(original, names).SerializeToString())
    seen: dict[str, list[FloatArray]] = {name: [] for name in names}
    for clip in clips:
        for name, value in zip(names, _tensors(session, names, clip), strict=True):
            seen[name].append(value.ravel()[::SPARSE])
    found = [_misfit(name, np.concatenate(seen[name]), quantisers[name]) for name in names]
    return sorted(found, key=lambda misfit: -misfit.excess_db)


class Quantiser(NamedTuple):
    """How a graph makes 8 bits of a tensor."""

    tensor: str
    step: NDArray[Any]
    """One, or one for each channel, which is a fault."""
    zero: NDArray[Any]
    shift: float
    """What is subtracted first."""


def _quantisers(model: onnx.ModelProto) -> list[Quantiser]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in constants:
            name, step, zero = node.input
            shift = float(constants[f"{name}.1"]) if name.endswith(CENTRED) else 0.0
            found.append(Quantiser(name.removesuffix(CENTRED), constants[step], constants[zero], shift))
    return found


def _misfit(name: str, values: FloatArray, quantiser: Quantiser) -> Misfit:
    limits = np.iinfo(quantiser.zero.dtype)
    steps = limits.max - limits.min

    def error(low: float, high: float) -> float:
        """Of 8 bits that cover just this range."""
        step = (high - low) / steps
        found = np.clip(np.round((values - low) / step), 0, steps) * step + low
        return float(np.square(found - values, dtype=np.float64).mean())

    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if limits.min < 0 and not is_lopsided(low, high):  # symmetric about zero
        low, high = min(low, -high), max(high, -low)
    best = min((error(low * share, high * share) for share in SHRINK if high > low), default=0.0)
    begin = (limits.min - int(quantiser.zero)) * float(quantiser.step) + quantiser.shift
    covered = float(quantiser.step) * steps
    excess_db = 10 * np.log10(max(error(begin, begin + covered), 1e-30) / max(best, 1e-30))
    return Misfit(name, covered / max(high - low, 1e-30), float(excess_db))


def _shared(original: onnx.ModelProto, suspect: onnx.ModelProto) -> list[str]:
    """The tensors that both graphs compute, floats alone, in order."""
    theirs = {name for node in suspect.graph.node for name in node.output}
    return [
        node.output[0] for node in original.graph.node if node.output[0] in theirs and node.op_type != "QuantizeLinear"
    ]


def _tensors(session: InferenceSession, names: Sequence[str], clip: FloatArray) -> Iterator[FloatArray]:
    """These tensors of a graph, for a clip (T, F)."""
    for begin in range(0, len(names), AT_ONCE):
        for value in session.run(list(names[begin : begin + AT_ONCE]), {INPUT: clip[None]}):
            yield np.asarray(value, np.float32)
