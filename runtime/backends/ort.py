"""Models on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from runtime.backends import OUTPUTS, Scores, check_shapes
from runtime.bundle import ModelInfo
from runtime.errors import UserError
from runtime.features import FloatArray


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """A session on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings are about optimisations, not about the model
    # Between two clips its threads would spin, and take the processor from whoever else lives on the device.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OrtBackend:
    """An ONNX file on the CPU."""

    def __init__(self, path: Path, info: ModelInfo) -> None:
        try:
            self._session = open_session(path)
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise UserError(f"{path}: onnxruntime cannot load it: {' '.join(str(error).split())}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_shapes(str(path), {x.name: x.shape[1:] for x in [*inputs, *outputs]}, info)

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips, log_mel (B, T, F) in dB."""
        return Scores(*self._session.run(OUTPUTS, {"log_mel": np.ascontiguousarray(log_mel, np.float32)}))

    def close(self) -> None:
        """Release the model."""
        del self._session
