"""Engines on an NVIDIA GPU: TensorRT runs them, pycuda owns the memory, the stream and the context.

Nothing here is older than execute_async_v3 and tensors by name, which TensorRT has from 8.6 to 11.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import OUTPUTS, Scores, check_shapes
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo
from htsat_edge.runtime.models.engines import NAMES, Flavour, Gpu, Here, NoEngine, engine_file, find, read_engine

MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
"""What each may be imported as."""
INSTALL: dict[Flavour, str] = {
    "tensorrt": "on a Jetson: sudo apt install python3-libnvinfer, and a venv made with --system-site-packages; "
    'on a PC: pip install -e ".[rtx]", and build with --flavour rtx',
    "rtx": 'pip install -e ".[rtx]"',
}
WITHOUT = "without it htsat-edge runs on onnxruntime"
logger = logging.getLogger(__name__)


def installed_flavour() -> Flavour | None:
    """Which TensorRT can be imported here."""
    for flavour, names in MODULES.items():
        if any(importlib.util.find_spec(name) for name in names):
            return flavour
    return None


def load_tensorrt(flavour: Flavour) -> ModuleType:
    """The Python module; an HtsatEdgeError says what to install."""
    for name in MODULES[flavour]:
        if importlib.util.find_spec(name):
            try:
                return importlib.import_module(name)
            except (ImportError, OSError) as error:
                raise HtsatEdgeError(f"{name}: cannot be loaded: {error}; {INSTALL[flavour]}; {WITHOUT}") from None
    raise HtsatEdgeError(f"{NAMES[flavour]} for Python is not there; {INSTALL[flavour]}; {WITHOUT}")


@cache
def logger_of(trt: ModuleType) -> Any:
    """TensorRT's logger, one for the process, as it wants; it keeps the last errors, which calls do not return."""

    class Log(trt.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))
            logger.debug("%s", message)

        def why(self) -> str:
            """What went wrong since the last time, of which the first is the cause."""
            told = self.errors[0] if self.errors else "it does not say why"
            self.errors.clear()
            return told

    return Log()


class Device:
    """The first GPU, with its primary context, which is TensorRT's, too; it is current only where it is needed."""

    def __init__(self) -> None:
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            raise HtsatEdgeError(
                f"pycuda cannot be loaded: {error}; pip install pycuda, with the CUDA toolkit there; {WITHOUT}"
            ) from None
        self.cuda: Any = cuda
        try:
            cuda.init()
            device = cuda.Device(0)
            # Held until the process ends: when pycuda gives a primary context back, it leaves it on the thread's stack.
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise HtsatEdgeError(f"there is no GPU to be used: {error}; {WITHOUT}") from None
        major, minor = device.compute_capability()
        self.gpu = Gpu(
            name=device.name(),
            compute_capability=f"{major}.{minor}",
            sm_count=device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT),
        )
        version = cuda.get_driver_version()
        self.driver = f"{version // 1000}.{version % 1000 // 10}"
        """The CUDA version that it knows, such as 12.6."""

    @contextmanager
    def current(self) -> Iterator[None]:
        """For the length of a block, the context is this thread's; what pycuda raises becomes an HtsatEdgeError."""
        try:
            self._context.push()
            try:
                yield
            finally:
                self.cuda.Context.pop()
        except self.cuda.MemoryError as error:
            raise HtsatEdgeError(f"the GPU is out of memory: {error}") from None
        except self.cuda.Error as error:
            raise HtsatEdgeError(f"the GPU failed: {error}") from None


@cache
def open_device() -> Device:
    """The GPU, opened once for the process; an HtsatEdgeError says why there is none."""
    return Device()


class Buffer(NamedTuple):
    """A tensor on both sides."""

    host: FloatArray
    """Pinned, so that copies need not wait; (most clips, …)."""
    device: Any


class TrtBackend:
    """An engine. The thread that opens it owns it: `infer` and `close` belong to that one."""

    def __init__(self, trt: ModuleType, engine: bytes, info: ModelInfo, cuda_graph: bool = False) -> None:
        """Load an engine; with `cuda_graph`, its work is recorded, when the batch size changes, and launched whole."""
        self._log = logger_of(trt)
        self._log.errors.clear()
        self._owner = threading.get_ident()
        self._buffers: dict[str, Buffer] = {}
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
        """Score clips, log_mel (B, T, F) in dB; more than the engine takes at once go in several."""
        if threading.get_ident() != self._owner or self._closed:
            raise RuntimeError("an engine belongs to the thread that opened it, until it is closed")
        parts = [log_mel[i : i + self._most] for i in range(0, len(log_mel), self._most)]
        with self._device.current():
            found = [self._run(part) for part in parts]
        return Scores(*(np.concatenate(x) for x in zip(*found, strict=True)))

    def close(self) -> None:
        """Release everything, the last first."""
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
            call(self._cudart.cudaGraphExecDestroy(graph))

    def _unload(self) -> None:
        self._execution = None
        self._engine = None
        self._runtime = None

    def _free(self) -> None:
        while self._buffers:
            self._buffers.popitem()[1].device.free()
        self._stream = None

    def _load(self, trt: ModuleType, engine: bytes) -> None:
        self._runtime = made(trt.Runtime, self._log)
        free, total = self._cuda.mem_get_info()
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise HtsatEdgeError(
                f"TensorRT does not take the engine ({len(engine) / 2**20:.0f} MiB; {free / 2**20:.0f} MiB are free): "
                f"{self._log.why()}"
            )
        self._execution = self._engine.create_execution_context()
        if self._execution is None:
            newer = hasattr(self._engine, "device_memory_size_v2")
            asked = self._engine.device_memory_size_v2 if newer else self._engine.device_memory_size
            raise HtsatEdgeError(
                f"the engine needs {asked / 2**20:.0f} MiB to run in, and of the GPU's {total / 2**20:.0f} MiB "
                f"{free / 2**20:.0f} are free: {self._log.why()}"
            )

    def _allocate(self, trt: ModuleType, info: ModelInfo) -> None:
        """A pair of buffers for each tensor, as large as the largest batch."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        shapes = {name: list(self._engine.get_tensor_shape(name))[1:] for name in names}
        check_shapes("the engine", shapes, info)
        if any(self._engine.get_tensor_dtype(name) != trt.float32 for name in names):
            raise HtsatEdgeError("the engine's inputs and outputs are not float32; is it of a bundle?")
        self._least, _, self._most = (shape[0] for shape in self._engine.get_tensor_profile_shape("log_mel", 0))
        for name in names:
            shape = (self._most, *shapes[name])
            size = 4 * math.prod(shape)
            try:
                self._buffers[name] = Buffer(self._cuda.pagelocked_empty(shape, np.float32), self._cuda.mem_alloc(size))
            except self._cuda.MemoryError:
                raise HtsatEdgeError(f"the GPU is out of memory: {size} bytes were asked for {name}") from None
            self._accept(self._execution.set_tensor_address(name, int(self._buffers[name].device)))
        self._stream = self._cuda.Stream()

    @property
    def _cuda(self) -> Any:
        return self._device.cuda

    def _run(self, clips: FloatArray) -> Scores:
        """Clips (n, T, F), no more than fit."""
        batch = max(len(clips), self._least)
        self._buffers["log_mel"].host[: len(clips)] = clips
        if batch != self._batch:
            shape = (batch, *self._buffers["log_mel"].host.shape[1:])
            self._forget_graph()  # which is of the old shape
            self._accept(self._execution.set_input_shape("log_mel", shape))
            self._batch = batch
        if self._cudart is None:
            self._enqueue(batch)
        elif self._graph is not None:
            call(self._cudart.cudaGraphLaunch(self._graph, self._stream.handle))
        else:
            self._enqueue(batch)  # the first run of a shape does what cannot be recorded
            self._stream.synchronize()
            self._graph = self._record(batch)
        self._stream.synchronize()
        return Scores(*(self._buffers[name].host[: len(clips)].copy() for name in OUTPUTS))

    def _enqueue(self, batch: int) -> None:
        """Copy in, run, copy out, all on the stream."""
        log_mel = self._buffers["log_mel"]
        self._cuda.memcpy_htod_async(log_mel.device, log_mel.host[:batch], self._stream)
        self._accept(self._execution.execute_async_v3(self._stream.handle))
        for name in OUTPUTS:
            self._cuda.memcpy_dtoh_async(self._buffers[name].host[:batch], self._buffers[name].device, self._stream)

    def _record(self, batch: int) -> Any:
        """The same as one graph."""
        cudart, stream = self._cudart, self._stream.handle
        call(cudart.cudaStreamBeginCapture(stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            self._enqueue(batch)
        finally:
            graph = call(cudart.cudaStreamEndCapture(stream))
        launchable = call(cudart.cudaGraphInstantiate(graph, 0))
        call(cudart.cudaGraphDestroy(graph))
        return launchable

    def _accept(self, done: bool) -> None:
        if not done:
            raise HtsatEdgeError(f"TensorRT failed: {self._log.why()}")


def has_cudart() -> bool:
    """Whether CUDA graphs can be recorded here."""
    with suppress(ImportError, RuntimeError):  # it raises the latter where CUDA's libraries are of another version
        importlib.import_module("cuda.bindings.runtime")
        return True
    return False


def load_cudart() -> ModuleType:
    """CUDA's runtime, which pycuda has no graphs of."""
    if not has_cudart():
        raise HtsatEdgeError(
            "CUDA graphs need cuda.bindings: pip install cuda-bindings, of the CUDA version that is there"
        )
    return importlib.import_module("cuda.bindings.runtime")


def made(factory: Callable[[Any], Any], log: Any) -> Any:
    """What one of TensorRT's factories makes, which raises TypeError where CUDA does not work."""
    try:
        return factory(log)
    except (TypeError, RuntimeError) as error:
        raise HtsatEdgeError(f"TensorRT cannot begin: {log.why()} ({error})") from None


def call(answer: tuple[Any, ...]) -> Any:
    """What a function of CUDA's runtime gives, if it did not fail."""
    status, *values = answer
    if int(status) != 0:
        raise HtsatEdgeError(f"the GPU failed: {status.name}")
    return values[0] if values else None


def open_engine(bundle: Bundle, flavour: Flavour, precision: str | None = None) -> TrtBackend:
    """The fastest engine of a bundle that was proven on this machine.

    A NoEngine says why there is none, another HtsatEdgeError why there cannot be one.
    """
    trt = load_tensorrt(flavour)
    here = Here(flavour, trt.__version__, open_device().gpu)
    refused: HtsatEdgeError | None = None
    for passport in find(bundle, here, precision):
        cuda_graph = passport.latency is not None and passport.latency.cuda_graph and has_cudart()
        try:
            return TrtBackend(trt, read_engine(bundle, passport), bundle.info, cuda_graph)
        except NoEngine as error:
            refused = refused or error
        except HtsatEdgeError as error:
            refused = refused or NoEngine(f"{engine_file(bundle, passport.recipe)}: {error}")
    assert refused is not None
    raise refused
