"""What a backend is: two methods, and the scores that it gives."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import listed
from htsat_edge.runtime.models.bundle import MODEL_FILE, ModelInfo


class Scores(NamedTuple):
    """The model's outputs for a batch of windows."""

    framewise: FloatArray
    """(B, steps, C), in [0, 1]."""
    clipwise: FloatArray
    """(B, C)."""
    embedding: FloatArray
    """(B, channels)."""
    frame_embedding: FloatArray | None = None
    """(B, steps, channels), whose mean over the steps is `embedding`; None where the model lacks this output."""

    def outputs(self) -> dict[str, FloatArray]:
        """Return what the model gives, by name."""
        return {name: x for name, x in self._asdict().items() if x is not None}


FRAME_EMBEDDING = "frame_embedding"
"""The output that models of earlier exports lack."""
OUTPUTS = [name for name in Scores._fields if name != FRAME_EMBEDDING]
"""The outputs that every model has."""
FLOATS = ("float32", "float16")
"""Types of inputs and outputs; a graph in half precision is given, and gives, float32 by a cast at its edge."""


class Backend(Protocol):
    """A loaded model. Call it from one thread only."""

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB; the caller owns the result.

        Raise an HtsatEdgeError where the model, or the GPU that it runs on, fails; a ValueError for another shape.
        """
        ...

    def close(self) -> None:
        """Release the model; it must not be called again."""
        ...


def outputs_of(tensors: Container[str]) -> list[str]:
    """Return which outputs a model with these tensors has, in the order of `Scores`."""
    return [name for name in Scores._fields if name in OUTPUTS or name in tensors]


def join(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several batches of one model as those of one batch."""
    frames = [part.frame_embedding for part in parts if part.frame_embedding is not None]
    return Scores(
        framewise=np.concatenate([part.framewise for part in parts]),
        clipwise=np.concatenate([part.clipwise for part in parts]),
        embedding=np.concatenate([part.embedding for part in parts]),
        frame_embedding=np.concatenate(frames) if frames else None,
    )


def check_windows(log_mel: FloatArray, window: Sequence[int]) -> None:
    """Raise a ValueError where a batch does not consist of windows (T, F)."""
    if log_mel.ndim != 3 or log_mel.shape[1:] != tuple(window):
        raise ValueError(f"want log_mel of shape (B, {window[0]}, {window[1]}), not {log_mel.shape}")


def check_shapes(what: str, shapes: Mapping[str, Sequence[object]], info: ModelInfo) -> None:
    """Raise an HtsatEdgeError where the tensors of a model are not those that model.json describes.

    `shapes` has the shape of each tensor by its name, without the batch axis; lengths that are no number, or below 0,
    are not known. `what` names the model in the message.
    """
    if not shapes.keys() >= {"log_mel", *OUTPUTS}:
        raise HtsatEdgeError(
            f"{what}: want the input log_mel and the outputs {', '.join(OUTPUTS)}, not {listed(shapes) or 'none'}; "
            "is this the model of a bundle?"
        )
    classes, channels = len(info.labels), known(shapes["embedding"])[:1] or ["?"]
    wanted: dict[str, list[int | str]] = {
        "log_mel": [info.frames, info.front_end.n_mels],
        "framewise": [info.steps, classes],
        "clipwise": [classes],
        "embedding": channels,
        **({FRAME_EMBEDDING: [info.steps, *channels]} if FRAME_EMBEDDING in shapes else {}),
    }
    for name, want in wanted.items():
        found = known(shapes[name])
        if len(found) != len(want) or any(
            "?" not in pair and pair[0] != pair[1] for pair in zip(found, want, strict=True)
        ):
            raise HtsatEdgeError(
                f"{what}: its {name} has the shape {list(shapes[name])} for a window, but by the frames, steps and "
                f"{classes} labels of {MODEL_FILE} it must be {want}"
            )


def known(shape: Sequence[object]) -> list[int | str]:
    """Return a shape with a question mark for each length that is not known."""
    return [length if isinstance(length, int) and length >= 0 else "?" for length in shape]


def check_types(what: str, types: Mapping[str, str]) -> None:
    """Raise an HtsatEdgeError where the input or an output of a model is neither float32 nor float16.

    `types` has the type of each tensor by its name; `what` names the model in the message.
    """
    for name in ("log_mel", *outputs_of(types)):
        if types[name] not in FLOATS:
            raise HtsatEdgeError(
                f"{what}: its {name} is {types[name]}, want {' or '.join(FLOATS)}; convert the graph with "
                "float32 inputs and outputs"
            )
