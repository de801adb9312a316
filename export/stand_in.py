"""A network in torch in the place of a TensorRT engine, to try the runtime's GPU code where there is no TensorRT.

`StandIn` offers the names of TensorRT that `htsat_edge.runtime.models.backends.trt` uses, and no others. Its engine
runs on the stream, and on the memory, that the backend gives it, as an engine does; it can be captured as a CUDA graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from htsat_edge.htsat.network import FRAMES, HTSAT, STEPS
from htsat_edge.runtime.models.backends.backend import Scores


class DeviceArray:
    """float32 memory of a GPU at an address that somebody else owns; torch takes it for a tensor without a copy."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"data": (address, False), "shape": shape, "typestr": "<f4", "version": 3}

    def tensor(self) -> Tensor:
        """Return the memory as a tensor on the GPU."""
        return torch.as_tensor(self, device="cuda")


class StandIn:
    """A network as a TensorRT module: its runtime loads any bytes as that network, with batches of 1 to `most`."""

    __version__ = "a stand-in"
    float32 = "float32"

    class ILogger:
        """The severities that the backend keeps."""

        INTERNAL_ERROR, ERROR = range(2)

    def __init__(self, network: HTSAT, most: int) -> None:
        self.engine = Engine(network.eval().cuda(), most)

    def Runtime(self, log: Any) -> StandIn:  # noqa: N802, ARG002
        """Return what loads engines."""
        return self

    def deserialize_cuda_engine(self, content: bytes) -> Engine:  # noqa: ARG002
        """Return the network as an engine."""
        return self.engine


class Engine:
    """The network, with the shapes of its tensors."""

    def __init__(self, network: HTSAT, most: int) -> None:
        config = network.config
        self.network = network
        self.most = most
        self.shapes: dict[str, tuple[int, ...]] = {
            "log_mel": (-1, FRAMES, config.front_end.n_mels),
            "framewise": (-1, STEPS, config.classes),
            "clipwise": (-1, config.classes),
            "embedding": (-1, config.channels),
            "frame_embedding": (-1, STEPS, config.channels),
        }
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> str:  # noqa: ARG002
        return StandIn.float32

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:  # noqa: ARG002
        return [(batch, *self.shapes[name][1:]) for batch in (1, 1, self.most)]

    def create_execution_context(self) -> ExecutionContext:
        return ExecutionContext(self)


class ExecutionContext:
    """Runs the network on the tensors whose addresses it was given."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._batch = 0
        # What the network allocates between its layers is this pool's alone, so that a captured graph may use it again.
        self._pool = torch.cuda.MemPool()

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:  # noqa: ARG002
        self._batch = shape[0]
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        tensors = {name: self._tensor(name) for name in self._addresses}
        stream = torch.cuda.ExternalStream(stream_handle)
        with torch.inference_mode(), torch.cuda.stream(stream), torch.cuda.use_mem_pool(self._pool):
            found = self._engine.network(tensors["log_mel"])
            for name in Scores._fields:
                tensors[name].copy_(getattr(found, name), non_blocking=True)
        return True

    def _tensor(self, name: str) -> Tensor:
        return DeviceArray(self._addresses[name], (self._batch, *self._engine.shapes[name][1:])).tensor()
