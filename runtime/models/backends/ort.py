"""Models on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import check_threads, cores
from htsat_edge.runtime.models.backends.backend import OUTPUTS, Scores, check_shapes, check_windows
from htsat_edge.runtime.models.bundle import ModelInfo

QUIET_DB = -60.0
"""The level of the window that a graph is tried on."""


def open_session(model: Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a session on the CPU with so many threads, by default one for each core.

    Within a run, threads wait for each other in a loop where their number is given: that is faster than sleeping, as
    long as every thread has a core of its own. By default they sleep: on a machine that others use, a loop takes twice
    the processor time, and twice as long.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 4  # its warnings are about optimisations, not the model; its errors are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads is None else "1")
    # They would go on for a while after the run, and take the processor from other programs on the device.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class OrtBackend:
    """An ONNX file on the CPU."""

    def __init__(self, path: Path, info: ModelInfo, threads: int | None = None) -> None:
        """Load a graph and let it score once.

        Raise an HtsatEdgeError where onnxruntime cannot do that, where the graph does not match `info`, and where its
        scores are no numbers.
        """
        if threads is not None:
            check_threads(threads)
        self._path, self._threads = path, threads or cores()
        self._window = info.frames, info.front_end.n_mels
        try:
            self._session = open_session(path, threads)
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise HtsatEdgeError(f"{path}: onnxruntime cannot load it: {' '.join(str(error).split())}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        check_shapes(str(path), {x.name: x.shape[1:] for x in [*inputs, *outputs]}, info)
        if not np.isfinite(self._run(np.full((1, *self._window), QUIET_DB, np.float32)).framewise).all():
            raise HtsatEdgeError(f"{path}: gives scores that are no numbers; are its weights damaged?")

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB."""
        check_windows(log_mel, self._window)
        # With more windows at once than threads, activations do not fit the cache: 8 took 9.2 times as long as one.
        parts = [self._run(log_mel[i : i + self._threads]) for i in range(0, max(len(log_mel), 1), self._threads)]
        return parts[0] if len(parts) == 1 else Scores(*map(np.concatenate, zip(*parts, strict=True)))

    def _run(self, log_mel: FloatArray) -> Scores:
        try:
            return Scores(*self._session.run(OUTPUTS, {"log_mel": np.ascontiguousarray(log_mel, np.float32)}))
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise HtsatEdgeError(f"{self._path}: onnxruntime cannot run it: {' '.join(str(error).split())}") from None

    def close(self) -> None:
        """Release the model."""
        del self._session
