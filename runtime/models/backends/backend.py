"""What a backend is: two methods, and the scores that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import MODEL_FILE, ModelInfo


class Scores(NamedTuple):
    """The model's outputs for a batch of windows."""

    framewise: FloatArray
    """(B, steps, C), in [0, 1]."""
    clipwise: FloatArray
    """(B, C)."""
    embedding: FloatArray
    """(B, channels)."""


OUTPUTS = list(Scores._fields)


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


def check_windows(log_mel: FloatArray, window: Sequence[int]) -> None:
    """Raise a ValueError where a batch does not consist of windows (T, F)."""
    if log_mel.ndim != 3 or log_mel.shape[1:] != tuple(window):
        raise ValueError(f"want log_mel of shape (B, {window[0]}, {window[1]}), not {log_mel.shape}")


def check_shapes(what: str, shapes: Mapping[str, Sequence[int]], info: ModelInfo) -> None:
    """Raise an HtsatEdgeError where the tensors of a model are not those that model.json describes.

    `shapes` has the shape of each tensor by its name, without the batch axis; `what` names the model in the message.
    """
    if not shapes.keys() >= {"log_mel", *OUTPUTS}:
        raise HtsatEdgeError(
            f"{what}: want the input log_mel and the outputs {', '.join(OUTPUTS)}; is this the model of a bundle?"
        )
    classes = len(info.labels)
    for name, want in {
        "log_mel": [info.frames, info.front_end.n_mels],
        "framewise": [info.steps, classes],
        "clipwise": [classes],
    }.items():
        if list(shapes[name]) != want:
            raise HtsatEdgeError(
                f"{what}: its {name} has the shape {list(shapes[name])} for a window, but by the frames, steps and "
                f"{classes} labels of {MODEL_FILE} it must be {want}"
            )
