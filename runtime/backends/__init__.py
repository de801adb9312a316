"""What runs a model: two verbs, `infer` and `close`. Each library is imported only where it is used."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from runtime.bundle import Bundle
from runtime.features import FloatArray


class Scores(NamedTuple):
    """What the model says of clips."""

    framewise: FloatArray
    """(B, steps, C), in [0, 1]."""
    clipwise: FloatArray
    """(B, C)."""
    embedding: FloatArray
    """(B, channels)."""


class Backend(Protocol):
    """A loaded model. Call it from one thread only."""

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips, log_mel (B, T, F) in dB. The result is the caller's to keep."""
        ...

    def close(self) -> None:
        """Release what the model holds."""
        ...


def open_backend(bundle: Bundle, precision: str | None = None) -> Backend:
    """Load a bundle's model, by default in the precision that was measured to be the best one here.

    A UserError says what does not fit.
    """
    from runtime.backends.ort import OrtBackend

    return OrtBackend(bundle.graph(precision or bundle.recommended("onnxruntime")), bundle.info)
