"""Models on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from runtime.backends import Scores
from runtime.bundle import MODEL_FILE, ModelInfo
from runtime.errors import UserError
from runtime.features import FloatArray

OUTPUTS = list(Scores._fields)


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
        self._check(path, info)

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips, log_mel (B, T, F) in dB."""
        return Scores(*self._session.run(OUTPUTS, {"log_mel": np.ascontiguousarray(log_mel, np.float32)}))

    def close(self) -> None:
        """Release the model."""
        del self._session

    def _check(self, path: Path, info: ModelInfo) -> None:
        """The graph must be what model.json says it is."""
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [x.name for x in inputs] != ["log_mel"] or not {x.name for x in outputs} >= set(OUTPUTS):
            raise UserError(f"{path}: want the input log_mel and the outputs {', '.join(OUTPUTS)}; is it of a bundle?")
        shapes = {x.name: x.shape[1:] for x in [*inputs, *outputs]}
        classes = len(info.labels)
        for name, want in {
            "log_mel": [info.frames, info.front_end.n_mels],
            "framewise": [info.steps, classes],
            "clipwise": [classes],
        }.items():
            if shapes[name] != want:
                raise UserError(
                    f"{path.parent / MODEL_FILE}: does not fit {path.name}: its {name} is {shapes[name]} a clip, but "
                    f"frames, steps and the {classes} labels say {want}"
                )
