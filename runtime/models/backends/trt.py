"""Engines on an NVIDIA GPU: TensorRT runs them, pycuda owns the memory, the stream and the context.

The code uses execute_async_v3 and addresses tensors by name, as TensorRT does from 8.6 to 11.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.models.backends.backend import Scores, check_shapes, check_windows, join, outputs_of
from htsat_edge.runtime.models.backends.gpu import WITHOUT, has_cudart, load_cudart, open_device, unwrap
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo
from htsat_edge.runtime.models.engines import (
    NAMES,
    EngineManifest,
    Flavour,
    NoEngine,
    Platform,
    engine_file,
    find_engines,
    read_engine,
)

MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""The names that each may be imported by."""
INSTALL: dict[Flavour, str] = {
    "tensorrt": "on a Jetson: sudo apt install python3-libnvinfer, and a venv made with --system-site-packages; "
    'on a PC: pip install "htsat-edge[rtx]", and build with --flavour rtx',
    "rtx": 'pip install "htsat-edge[rtx]"',
}
logger = logging.getLogger(__name__)


def installed_flavour() -> Flavour | None:
    """Return which TensorRT can be imported here, None if none can."""
    for flavour, names in MODULES.items():
        if any(importlib.util.find_spec(name) for name in names):
            return flavour
    return None


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """Import TensorRT; raise an HtsatEdgeError that says what to install."""
    for name in MODULES[flavour]:
        if importlib.util.find_spec(name):
            try:
                return importlib.import_module(name)
            except Exception as error:  # a library beside others of another version may fail in any way
                why = in_one_line(error)
                raise HtsatEdgeError(f"{name}: cannot be loaded: {why}; {INSTALL[flavour]}; {WITHOUT}") from None
    raise HtsatEdgeError(f"{NAMES[flavour]} for Python is not installed; {INSTALL[flavour]}; {WITHOUT}")


@cache
def logger_of(trt: ModuleType) -> Any:
    """Return TensorRT's logger, of which it wants one a process; it keeps the errors, which calls do not return."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
            logger.debug("%s", message)

        def why(self) -> str:
            """Return the first error since the last time, which is the cause of those after it, and forget them."""
            cause = self.errors[0] if self.errors else "it gives no reason"
            self.errors.clear()
            return cause

    return Log()


class Buffer(NamedTuple):
    """A tensor in host and device memory."""

    host: FloatArray
    """Pinned, so that copies are asynchronous; (largest batch, …)."""
    device: Any


class TrtBackend:
    """An engine. Only the thread that opens it may call `infer` and `close`."""

    name = "TensorRT"
    manifest: EngineManifest | None = None
    """What it was built from and for, where it is an engine of a bundle."""

    def __init__(self, trt: ModuleType, engine: bytes, info: ModelInfo, cuda_graph: bool = False) -> None:
        """Load the bytes of an engine; raise an HtsatEdgeError where TensorRT refuses them or memory is short.

        With `cuda_graph`, record the work as a CUDA graph whenever the batch size changes, and launch it whole.
        """
        self._log = logger_of(trt)
        self._log.errors.clear()
        self._owner = threading.get_ident()
        self._buffers: dict[str, Buffer] = {}
        self._outputs: list[str] = []
        self._graph: Any = None
        self._runtime: Any = None
        self._engine: Any = None
        self._execution: Any = None
        self._stream: Any = None
        self._batch = 0
        self._cudart: Any = load_cudart() if cuda_graph else None
        self._device, self._closed = open_device(), False
        try:
            with self._device.current():
                self._load(trt, engine)
                self._allocate(trt, info)
        except BaseException:
            self.close()
            raise

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB; take more than the engine's largest batch in several runs."""
        if threading.get_ident() != self._owner or self._closed:
            raise RuntimeError("an engine may be called only by the thread that opened it, until it is closed")
        check_windows(log_mel, self._buffers["log_mel"].host.shape[1:])
        parts = [log_mel[i : i + self._most] for i in range(0, len(log_mel), self._most)]
        with self._device.current():
            found = [self._run(part) for part in parts]
        return join(found)

    def close(self) -> None:
        """Release everything, in the reverse order of its creation."""
        if self._closed:
            return
        self._closed = True
        for release in (self._finish, self._forget_graph, self._unload, self._free):
            with suppress(HtsatEdgeError), self._device.current():  # a GPU that has failed fails at this, too
                release()

    def _finish(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    def _forget_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            unwrap(self._cudart.cudaGraphExecDestroy(graph))

    def _unload(self) -> None:
        self._execution = None
        self._engine = None
        self._runtime = None

    def _free(self) -> None:
        while self._buffers:
            self._buffers.popitem()[1].device.free()
        self._stream = None

    def _load(self, trt: ModuleType, engine: bytes) -> None:
        self._runtime = create(trt.Runtime, self._log)
        free, total = self._cuda.mem_get_info()
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise HtsatEdgeError(
                f"TensorRT refuses the engine ({len(engine) / 2**20:.0f} MiB; {free / 2**20:.0f} MiB are free): "
                f"{self._log.why()}"
            )
        self._execution = self._engine.create_execution_context()
        if self._execution is None:
            newer = hasattr(self._engine, "device_memory_size_v2")
            needed = self._engine.device_memory_size_v2 if newer else self._engine.device_memory_size
            raise HtsatEdgeError(
                f"the engine needs {needed / 2**20:.0f} MiB to run, and {free / 2**20:.0f} of the GPU's "
                f"{total / 2**20:.0f} MiB are free: {self._log.why()}"
            )

    def _allocate(self, trt: ModuleType, info: ModelInfo) -> None:
        """Make a pair of buffers for each tensor, as large as the largest batch."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        shapes = {name: list(self._engine.get_tensor_shape(name))[1:] for name in names}
        check_shapes("the engine", shapes, info)
        self._outputs = outputs_of(names)
        if any(self._engine.get_tensor_dtype(name) != trt.float32 for name in names):
            raise HtsatEdgeError("the engine's inputs and outputs are not float32; was it built from a bundle?")
        self._least, _, self._most = (shape[0] for shape in self._engine.get_tensor_profile_shape("log_mel", 0))
        for name in names:
            shape = (self._most, *shapes[name])
            size = 4 * math.prod(shape)
            try:
                self._buffers[name] = Buffer(self._cuda.pagelocked_empty(shape, np.float32), self._cuda.mem_alloc(size))
            except self._cuda.MemoryError:
                raise HtsatEdgeError(f"the GPU is out of memory: {name} needs {size} bytes") from None
            self._accept(self._execution.set_tensor_address(name, int(self._buffers[name].device)))
        self._stream = self._cuda.Stream()

    @property
    def _cuda(self) -> Any:
        return self._device.cuda

    def _run(self, windows: FloatArray) -> Scores:
        """Score windows (n, T, F), no more than the largest batch."""
        batch = max(len(windows), self._least)
        self._buffers["log_mel"].host[: len(windows)] = windows
        if batch != self._batch:
            shape = (batch, *self._buffers["log_mel"].host.shape[1:])
            self._forget_graph()  # it has the old shape
            self._accept(self._execution.set_input_shape("log_mel", shape))
            self._batch = batch
        if self._cudart is None:
            self._enqueue(batch)
        elif self._graph is not None:
            unwrap(self._cudart.cudaGraphLaunch(self._graph, self._stream.handle))
        else:
            self._enqueue(batch)  # the first run of a shape does work that cannot be recorded
            self._stream.synchronize()
            self._graph = self._record(batch)
        self._stream.synchronize()
        return Scores(*(self._buffers[name].host[: len(windows)].copy() for name in self._outputs))

    def _enqueue(self, batch: int) -> None:
        """Copy in, run, copy out, all on the stream."""
        log_mel = self._buffers["log_mel"]
        self._cuda.memcpy_htod_async(log_mel.device, log_mel.host[:batch], self._stream)
        self._accept(self._execution.execute_async_v3(self._stream.handle))
        for name in self._outputs:
            self._cuda.memcpy_dtoh_async(self._buffers[name].host[:batch], self._buffers[name].device, self._stream)

    def _record(self, batch: int) -> Any:
        """Record the same as one graph."""
        cudart, stream = self._cudart, self._stream.handle
        unwrap(cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            self._enqueue(batch)
        finally:
            graph = unwrap(cudart.cudaStreamEndCapture(stream))
        launchable = unwrap(cudart.cudaGraphInstantiate(graph, 0))
        unwrap(cudart.cudaGraphDestroy(graph))
        return launchable

    def _accept(self, done: bool) -> None:
        if not done:
            raise HtsatEdgeError(f"TensorRT failed: {self._log.why()}")


def create(factory: Callable[[Any], Any], log: Any) -> Any:
    """Call one of TensorRT's factories; raise an HtsatEdgeError where it fails since CUDA does not work."""
    try:
        return factory(log)
    except (TypeError, RuntimeError) as error:
        raise HtsatEdgeError(f"TensorRT cannot start: {log.why()} ({error})") from None


def open_engine(bundle: Bundle, flavour: Flavour, precision: str | None = None) -> TrtBackend:
    """Open the fastest engine of a bundle that was validated on this machine.

    Raise a NoEngine where none can be used but one could be built, another HtsatEdgeError where none could.
    """
    trt = load_tensorrt(flavour)
    platform = Platform(flavour, trt.__version__, open_device().gpu)
    refused: HtsatEdgeError | None = None
    for manifest in find_engines(bundle, platform, precision):
        cuda_graph = manifest.latency is not None and manifest.latency.cuda_graph and has_cudart()
        try:
            backend = TrtBackend(trt, read_engine(bundle, manifest), bundle.info, cuda_graph)
        except NoEngine as error:
            refused = refused or error
        except HtsatEdgeError as error:
            refused = refused or NoEngine(f"{engine_file(bundle, manifest.recipe)}: {error}")
        else:
            backend.manifest = manifest
            return backend
    assert refused is not None
    raise refused
