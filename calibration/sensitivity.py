"""Measure how much each linear layer suffers from eight bits, and choose which to put back into floating point."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from pydantic import BaseModel

from htsat_edge.calibration.observe import watch
from htsat_edge.calibration.structure import Linear, name_of_logits
from htsat_edge.evaluation.playback import logits
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.progress import with_progress


class Sensitivity(BaseModel):
    """The content of sensitivity.json."""

    key: str
    """A hash of everything that the figures depend on."""
    logit_snr_db: dict[str, float]
    """SNR with one layer alone in 8 bits, by its name, the lowest first."""


def logits_of(model: onnx.ModelProto, windows: FloatArray) -> FloatArray:
    """Return the logits (N, 32, C) of windows (N, T, F), run one at a time.

    They are the scores before the sigmoid, where a difference shows at every level.
    """
    name = name_of_logits(model)
    tensor = name or "framewise"
    session = watch(model, [tensor])
    found = [session.run([tensor], {"log_mel": window[None]})[0].astype(np.float32) for window in windows]
    return np.concatenate(found if name else [logits(scores) for scores in found])


def measure(
    linears: Sequence[Linear], damage: Callable[[Sequence[Linear]], float], key: Sequence[str], path: Path
) -> dict[str, float]:
    """Return the SNR in dB with each linear layer alone in eight bits, by name, the lowest first.

    Parameters
    ----------
    linears
        The layers.
    damage
        Returns the SNR with these layers in eight bits.
    key
        Everything that the figures depend on.
    path
        Is written after each layer; figures that it holds under the same key are not measured again.
    """
    digest = hashlib.sha256(" ".join(key).encode()).hexdigest()
    known = _known(path, digest)
    for linear in with_progress([linear for linear in linears if linear.name not in known], "layer by layer"):
        known[linear.name] = round(damage([linear]), 2)
        _save(path, Sensitivity(key=digest, logit_snr_db=_ranked(known)))
    return _ranked(known)


def _ranked(figures: dict[str, float]) -> dict[str, float]:
    return dict(sorted(figures.items(), key=lambda item: item[1]))


def _known(path: Path, key: str) -> dict[str, float]:
    try:
        saved = read_json(path, Sensitivity)
    except HtsatEdgeError:  # none yet, or damaged
        return {}
    return dict(saved.logit_snr_db) if saved.key == key else {}


def _save(path: Path, found: Sensitivity) -> None:
    with replacing(path) as part:
        part.write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")


def fewest_in_float(
    linears: Sequence[Linear], ranking: Sequence[str], damage: Callable[[Sequence[Linear]], float], budget_db: float
) -> tuple[list[str], float]:
    """Return the fewest of the worst layers that must stay in floating point, at most half of all, and the SNR then."""

    def with_float(count: int) -> float:
        rest = set(ranking[count:])
        return damage([linear for linear in linears if linear.name in rest])

    low, high = 0, len(ranking) // 2
    best = with_float(high)
    while low < high:  # the SNR grows with the number of layers that are put back
        middle = (low + high) // 2
        reached = with_float(middle)
        if reached >= budget_db:
            high, best = middle, reached
        else:
            low = middle + 1
    return list(ranking[:high]), best
