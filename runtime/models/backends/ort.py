"""Models on onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import check_threads, cores
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.models.backends.backend import (
    Scores,
    check_shapes,
    check_types,
    check_windows,
    join,
    outputs_of,
)
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.external import external_files

TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}
"""onnxruntime's names."""
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
        self._path, self.name = path, f"onnxruntime, {path.name}"
        self._window = info.frames, info.front_end.n_mels
        try:
            external_files(path)  # onnxruntime's message for one that is missing is long, and says nothing to a user
            self._session = open_session(path, threads)
        except HtsatEdgeError:
            raise
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise HtsatEdgeError(f"{path}: onnxruntime cannot load it: {in_one_line(error)}") from None
        tensors = {x.name: x for x in [*self._session.get_inputs(), *self._session.get_outputs()]}
        check_shapes(str(path), {name: x.shape[1:] for name, x in tensors.items()}, info)
        types = {name: TYPES.get(x.type, x.type) for name, x in tensors.items()}
        check_types(str(path), types)
        self._outputs = outputs_of(tensors)
        self._type = np.dtype(types["log_mel"])
        batch = tensors["log_mel"].shape[0]
        self._fixed = isinstance(batch, int) and batch > 0
        self._at_once: int = batch if self._fixed else threads or cores()
        found = self._run(np.full((1, *self._window), QUIET_DB, np.float32))
        check_shapes(str(path), {"log_mel": self._window, **{k: v.shape[1:] for k, v in found.outputs().items()}}, info)
        if not np.isfinite(found.framewise).all():
            raise HtsatEdgeError(f"{path}: gives scores that are no numbers; are its weights damaged?")

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB."""
        check_windows(log_mel, self._window)
        # With more windows at once than threads, activations do not fit the cache: 8 took 9.2 times as long as one.
        parts = [self._run(log_mel[i : i + self._at_once]) for i in range(0, max(len(log_mel), 1), self._at_once)]
        return parts[0] if len(parts) == 1 else join(parts)

    def _run(self, log_mel: FloatArray) -> Scores:
        windows = np.ascontiguousarray(log_mel, self._type)
        if self._fixed and len(windows) < self._at_once:
            windows = np.concatenate([windows, np.zeros((self._at_once - len(windows), *self._window), self._type)])
        try:
            found = self._session.run(self._outputs, {"log_mel": windows})
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise HtsatEdgeError(f"{self._path}: onnxruntime cannot run it: {in_one_line(error)}") from None
        return Scores(*(np.asarray(x[: len(log_mel)], np.float32) for x in found))

    def close(self) -> None:
        """Release the model."""
        del self._session
