"""Models on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.models.backends.backend import OUTPUTS, Scores, check_shapes
from htsat_edge.runtime.models.bundle import ModelInfo


def open_session(model: Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a session on the CPU with so many threads, by default one for each core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 3  # its warnings are about optimisations, not about the model
    # Within a run, threads wait for each other in a loop, which is faster than sleeping. They would continue for a
    # while after the run, and take the processor from other programs on the device.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OrtBackend:
    """An ONNX file on the CPU."""

    def __init__(self, path: Path, info: ModelInfo, threads: int | None = None) -> None:
        """Load a graph; raise an HtsatEdgeError where onnxruntime cannot, or where it does not match `info`."""
        self._threads = threads or cores()
        try:
            self._session = open_session(path, self._threads)
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise HtsatEdgeError(f"{path}: onnxruntime cannot load it: {' '.join(str(error).split())}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_shapes(str(path), {x.name: x.shape[1:] for x in [*inputs, *outputs]}, info)

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB."""
        # With more windows at once than threads, activations do not fit the cache: 8 took 9.2 times as long as one.
        parts = [self._run(log_mel[i : i + self._threads]) for i in range(0, max(len(log_mel), 1), self._threads)]
        return parts[0] if len(parts) == 1 else Scores(*map(np.concatenate, zip(*parts, strict=True)))

    def _run(self, log_mel: FloatArray) -> Scores:
        return Scores(*self._session.run(OUTPUTS, {"log_mel": np.ascontiguousarray(log_mel, np.float32)}))

    def close(self) -> None:
        """Release the model."""
        del self._session
