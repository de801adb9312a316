"""Models on onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import check_threads, cores, load_onnxruntime, minor_version
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
from htsat_edge.runtime.models.external import external_files, rounds_half

if TYPE_CHECKING:
    import onnxruntime

TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}
"""onnxruntime's names."""
UNKNOWN = "QuantizeLinear(23)"
REMEDY = "1.24 or newer, or the graph as python -m htsat_edge.calibration.quantize writes it now"
"""What is wanted where onnxruntime's message says that it does not know that."""
CRASHES = "FuseFp16InitializerToFp32NodeTransformer"
"""Ends the process in onnxruntime 1.23 to 1.29, where an old graph lists a constant in half precision as an input too.
It saves graphs in half precision a tenth of their time on a CPU, and others nothing."""
ENDS_NO_PROCESS = (1, 30)
"""The first onnxruntime in which CRASHES does not."""
ROUNDS_HALF = (1, 30)
"""The first onnxruntime that rounds half precision to 8 bits on a CPU: older ones cut off (its pull request 32452), and
1.29 does not load such a graph. The logits of int8_fp16.onnx are then within 32 dB in place of 46."""
QUIET_DB = -60.0
"""The level of the window that a graph is tried on."""


def open_session(model: Path | bytes, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a session on the CPU with so many threads, by default one for each core.

    Within a run, threads wait for each other in a loop where their number is given: that is faster than sleeping, as
    long as every thread has a core of its own. By default they sleep: on a machine that others use, a loop takes twice
    the processor time, and twice as long.

    Raise an HtsatEdgeError where onnxruntime cannot load the model.
    """
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 4  # its warnings are about optimisations, not the model; its errors are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads is None else "1")
    # They would go on for a while after the run, and take the processor from other programs on the device.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    disabled = [CRASHES] if minor_version(ort.__version__) < ENDS_NO_PROCESS else None
    try:
        return ort.InferenceSession(model, options, ["CPUExecutionProvider"], disabled_optimizers=disabled)
    except Exception as error:  # onnxruntime's errors share no class of their own
        is_old = UNKNOWN in str(error)
        why = f"it is version {ort.__version__}, want {REMEDY}" if is_old else in_one_line(error)
        what = model if isinstance(model, Path) else "a graph"
        raise HtsatEdgeError(f"{what}: onnxruntime cannot load it: {why}") from None


def refuse_half_rounding(path: Path) -> None:
    """Raise an HtsatEdgeError for a graph that the installed onnxruntime would compute badly: see ROUNDS_HALF."""
    version = load_onnxruntime().__version__
    if minor_version(version) < ROUNDS_HALF and rounds_half(path):
        raise HtsatEdgeError(
            f"{path}: onnxruntime {version} cannot round half precision to 8 bits on a CPU, want "
            f"{'.'.join(map(str, ROUNDS_HALF))} or newer, for Python 3.11 or newer; or take another graph"
        )


class OrtBackend:
    """An ONNX file on the CPU."""

    def __init__(self, path: Path, info: ModelInfo, threads: int | None = None, content: bytes | None = None) -> None:
        """Load a graph and let it score once; where there is `content`, that in place of the file's.

        Raise an HtsatEdgeError where onnxruntime cannot do that or would compute badly, where the graph does not match
        `info`, and where its scores are no numbers.
        """
        if threads is not None:
            check_threads(threads)
        self._path, self.name = path, f"onnxruntime, {path.name}"
        self._window = info.frames, info.front_end.n_mels
        try:
            external_files(path)  # onnxruntime's message for one that is missing is long, and says nothing to a user
            if content is None:
                refuse_half_rounding(path)
        except OSError as error:
            raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror}") from None
        self._session = open_session(content or path, threads)
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
