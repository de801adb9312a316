"""The GPU, by way of pycuda, and CUDA graphs, by way of cuda.bindings."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.models.engines import Gpu

WITHOUT = "without it, htsat-edge runs on onnxruntime"
NVIDIA, DISPLAYS = "0x10de", "0x03"
"""On the PCI bus: the vendor, and how the class of graphics cards begins."""


def is_there(
    pci: Path = Path("/sys/bus/pci/devices"),
    board: Path = Path("/proc/device-tree/compatible"),
    windows: Path = Path("/dev/dxg"),
) -> bool:
    """Return whether there is an NVIDIA GPU, whatever is installed: a card, a Jetson's own, or one below WSL."""
    with suppress(OSError):
        if windows.exists() or b"nvidia,tegra" in board.read_bytes():
            return True
    with suppress(OSError):
        for device in pci.iterdir():
            with suppress(OSError):
                kind = (device / "class").read_text()
                if (device / "vendor").read_text().strip() == NVIDIA and kind.startswith(DISPLAYS):
                    return True
    return False


class Device:
    """The first GPU with its primary context, which TensorRT uses, too; it is made current only where it is needed."""

    def __init__(self) -> None:
        """Open the GPU; raise an HtsatEdgeError where pycuda or the GPU is missing."""
        try:
            import pycuda.driver as cuda
        except Exception as error:  # as where it was built for another numpy or CUDA
            raise HtsatEdgeError(
                f"pycuda cannot be loaded: {in_one_line(error)}; pip install --upgrade pycuda, which needs the CUDA "
                f"toolkit; {WITHOUT}"
            ) from None
        self.cuda: Any = cuda
        try:
            cuda.init()
            device = cuda.Device(0)
            # Kept until the process ends: when pycuda releases a primary context, it leaves it on the thread's stack.
            self._context = device.retain_primary_context()
        except cuda.Error as error:
            raise HtsatEdgeError(f"no GPU can be used: {error}; {WITHOUT}") from None
        major, minor = device.compute_capability()
        self.gpu = Gpu(
            name=device.name(),
            compute_capability=f"{major}.{minor}",
            sm_count=device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT),
        )
        version = cuda.get_driver_version()
        self.driver = f"{version // 1000}.{version % 1000 // 10}"
        """The CUDA version that the driver supports, such as 12.6."""

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's for a `with` block; turn what pycuda raises into an HtsatEdgeError."""
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
    """Open the GPU, once for the process; raise an HtsatEdgeError where there is none."""
    return Device()


def has_cudart() -> bool:
    """Return whether CUDA graphs can be recorded here."""
    with suppress(Exception):  # it may fail in any way where CUDA's libraries have another version
        importlib.import_module("cuda.bindings.runtime")
        return True
    return False


def load_cudart() -> ModuleType:
    """Import CUDA's runtime: pycuda has no CUDA graphs."""
    if not has_cudart():
        raise HtsatEdgeError(
            'CUDA graphs need cuda.bindings: pip install "cuda-python==12.6.*", or whichever CUDA is installed'
        )
    return importlib.import_module("cuda.bindings.runtime")


def unwrap(answer: tuple[Any, ...]) -> Any:
    """Return the value in an answer of CUDA's runtime; raise an HtsatEdgeError where its status is a failure."""
    status, *values = answer
    if int(status) != 0:
        raise HtsatEdgeError(f"the GPU failed: {status.name}")
    return values[0] if values else None
