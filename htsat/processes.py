"""Join the processes that torchrun starts, so that they train as one process would.

Each process takes its part of every batch. Gradients, and the statistics of the input, are averaged over all, so every
process makes the same steps. The sums are made here and not by DistributedDataParallel: that puts gradients into other
buckets after its first step, so that a training which goes on would differ from one run in the last bits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed
import torch.nn.functional as functional
from torch import Tensor, nn

from htsat_edge.htsat.network import HTSAT, Block
from htsat_edge.runtime.common.errors import HtsatEdgeError

WAIT = timedelta(hours=6)
"""The others wait so long for the one that validates; torchrun ends them where one dies."""


@dataclass(frozen=True)
class Processes:
    """The place of a process among those that train together; alone, it does nothing of its own."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    """Processes on this machine."""
    control: Any = None
    """The group for what lies in the memory of the CPU, so that nobody waits for a GPU."""

    @property
    def first(self) -> bool:
        """Whether this process is the one that validates, writes and prints."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process trains: on a GPU of its own, where there is any."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda") if self.count == 1 else torch.device("cuda", self.local_rank)

    def part(self, batch: int) -> slice:
        """Return which examples of a batch are for this process; raise an HtsatEdgeError unless all get as many."""
        own, rest = divmod(batch, self.count)
        if rest or not own:
            raise HtsatEdgeError(f"batch: {batch} examples are not to be shared equally among {self.count} processes")
        return slice(self.rank * own, (self.rank + 1) * own)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any of the processes."""
        if self.count == 1:
            return flag
        flags = torch.tensor(float(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX, group=self.control)
        return bool(flags)

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.any(False)

    def agree(self, value: int) -> bool:
        """Return whether all processes have the same value."""
        if self.count == 1:
            return True
        ends = torch.tensor([value, -value])
        distributed.all_reduce(ends, distributed.ReduceOp.MAX, group=self.control)
        return bool(ends.sum() == 0)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes."""
        return mean_of(values, self.count)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of each process by their mean over all."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def share(self, network: HTSAT) -> None:
        """Make a network draw and normalise its part of a batch as it would in the whole."""
        if self.count == 1:
            return
        for module in network.modules():
            if isinstance(module, Block):
                module.part = (self.rank, self.count)
        shared = SharedBatchNorm(network.bn0, self.count)
        network.bn0 = shared


class SharedBatchNorm(nn.BatchNorm1d):
    """Batch norm of an input (B, C, T) over the parts of all processes; torch's SyncBatchNorm wants a GPU.

    The statistics carry no gradient: an input has none.
    """

    def __init__(self, norm: nn.BatchNorm1d, count: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training with the statistics of the whole batch, which the running ones follow."""
        if not self.training:
            return super().forward(x)
        mean = mean_of(x.mean((0, 2)), self.count)
        variance = mean_of((x - mean[:, None]).square().mean((0, 2)), self.count)
        values = self.count * x.shape[0] * x.shape[2]
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (values / (values - 1)), self.momentum)
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


def mean_of(values: Tensor, count: int) -> Tensor:
    """Return the mean of a tensor over so many processes."""
    if count == 1:
        return values
    values = values.clone()
    distributed.all_reduce(values)
    return values / count


@contextmanager
def joined() -> Iterator[Processes]:
    """Yield this process among those that torchrun started, of which only the first prints; else it is alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Processes()
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    gpu = torch.cuda.is_available()
    if gpu:
        if local_rank >= torch.cuda.device_count():
            raise HtsatEdgeError(
                f"--nproc-per-node: there are more processes than the {torch.cuda.device_count()} GPUs of this machine"
            )
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if gpu else "gloo", timeout=WAIT)
    try:
        processes = Processes(
            rank=distributed.get_rank(),
            count=distributed.get_world_size(),
            local_rank=local_rank,
            local_count=int(os.environ["LOCAL_WORLD_SIZE"]),
            control=distributed.new_group(backend="gloo", timeout=WAIT) if gpu else None,
        )
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(sys.stdout if processes.first else nowhere):
            yield processes
    finally:
        distributed.destroy_process_group()
