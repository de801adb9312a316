"""Time the network in torch on a GPU, beside a bound for what an engine can reach there.

python export/roofline.py --network configs/networks/audioset.yaml

For each precision the script measures the rate of torch's own matrix products, and that of memory. At these rates a
window takes at least the time of its multiply-adds, and at least the time of reading the weights once. On a GPU the
rates are close to those of the hardware; on a CPU onnxruntime's products may be far faster than torch's. `htsat-edge
bench` times engines. Weights are drawn at random: time does not depend on them.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.command import Parser, count, refuse_without_extra, run

try:
    import torch
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("roofline.py", "export", error)

from rich.console import Console
from rich.table import Table
from torch import Tensor

from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.network import FRAMES, HTSAT
from htsat_edge.runtime.commands.bench.results import NetworkSize, multiply_adds
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.common.timing import time_calls

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
EAGER = ("torch", "CUDA graph")
COMPILED = ("torch.compile", "compiled CUDA graph")
WAYS = (*EAGER, *COMPILED)
WARM_UP = 10
SIDE = 4096
"""The side of the square matrices whose product measures how fast the GPU multiplies."""
COPIED = 2**28
"""Bytes that are copied to measure how fast its memory is."""
Network = Callable[[Tensor], object]
Compiler = Callable[[HTSAT], Network]
Task = Callable[[], object]


@dataclass(frozen=True)
class RooflinePoint:
    """One way to run the network."""

    precision: str
    way: str
    median_ms: float | None
    """None where it was not run."""
    bound_ms: float | None
    """The least time of a run with matrix products as fast as torch's; None where it was not measured."""
    reason: str = ""
    """Why it was not run."""
    first_s: float | None = None
    """Seconds until the first run had ended, in which what is compiled or recorded is made."""

    @property
    def share(self) -> float | None:
        """What part of the roofline is reached: the bound divided by the median."""
        return self.bound_ms / self.median_ms if self.median_ms and self.bound_ms else None


class Roof(NamedTuple):
    """How fast a device is at a precision."""

    multiplies: float
    """Operations a second of a product of two square matrices."""
    copies: float
    """Bytes a second that a copy reads and writes."""


def for_one_shape(network: HTSAT) -> Network:
    """Compile a network with torch, for one size of the batch, whatever else was compiled in this process.

    After a few shapes and networks torch would compile for any shape, and then no more.
    """
    torch.compiler.reset()
    compiled: Network = torch.compile(network, dynamic=False)
    return compiled


def roofline(args: argparse.Namespace, compiler: Compiler = for_one_shape) -> int:
    """Measure, and print the table; return the exit status."""
    config = read_network(args.network)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise HtsatEdgeError("torch sees no CUDA GPU here: nothing was run; --device cpu runs what needs none")
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"
    )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    table = Table("precision", "way", "median", "bound", "share", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for precision in PRECISIONS:
        for row in measure(config, precision, device, args.batch, args.runs, compiler):
            took = f"{row.median_ms:.3f} ms" if row.median_ms is not None else f"not run: {row.reason}"
            bound = f"{row.bound_ms:.3f} ms" if row.bound_ms is not None else ""
            share = f"{100 * row.share:.1f} %" if row.share else ""
            table.add_row(row.precision, row.way, took, bound, share)
    console = Console(width=max(Console().width, 120))
    console.print(
        f"{args.network.stem} ({macs_of(config) / 1e9:.2f} G multiply-adds a window), batch {args.batch}, on {name}, "
        f"torch {torch.__version__}, median of {args.runs}",
        highlight=False,
    )
    console.print(table)
    return 0


def macs_of(config: NetworkConfig) -> int:
    """Return the multiply-adds of a window."""
    return multiply_adds(NetworkSize.model_validate(config.model_dump()))


def measure(
    config: NetworkConfig,
    precision: str,
    device: torch.device,
    batch: int,
    runs: int,
    compiler: Compiler,
    chosen: Sequence[str] = WAYS,
) -> Iterator[RooflinePoint]:
    """Time the chosen ways to run a precision; yield a row for each, as soon as it is known."""
    dtype = PRECISIONS[precision]
    if device.type == "cpu" and precision != "fp32":
        yield RooflinePoint(precision, chosen[0], None, None, "a CPU has no fast half precision in torch")
        return
    torch.manual_seed(0)
    network = HTSAT(config).eval().to(device, dtype)
    windows = (torch.randn(batch, FRAMES, config.front_end.n_mels) * 20 - 40).to(device, dtype)
    roof = find_roof(device, precision, runs)
    weights = sum(x.numel() * x.element_size() for x in network.parameters())
    bound_ms = 1000 * max(2 * macs_of(config) * batch / roof.multiplies, weights / roof.copies)
    compiled = cache(lambda: compiler(network))
    ways: dict[str, Callable[[], Task]] = {
        "torch": lambda: lambda: network(windows),
        "CUDA graph": lambda: graph_of(network, windows),
        "torch.compile": lambda: lambda: compiled()(windows),
        "compiled CUDA graph": lambda: graph_of(compiled(), windows),
    }
    for way in chosen:
        if "graph" in way and device.type == "cpu":
            yield RooflinePoint(precision, way, None, bound_ms, "needs CUDA")
            continue
        try:
            begun = time.perf_counter()
            task = ways[way]()
            finish(task, device)
            first_s = time.perf_counter() - begun
            yield RooflinePoint(precision, way, 1000 * median_s(task, device, runs), bound_ms, "", first_s)
        except Exception as error:  # a compiler may be missing, or a torch may not know the card
            reason = f"{type(error).__name__}: {in_one_line(str(error).partition(chr(10))[0])}"
            yield RooflinePoint(precision, way, None, bound_ms, reason)


@cache
def find_roof(device: torch.device, precision: str, runs: int) -> Roof:
    """Measure how fast a device multiplies and copies, once for the process."""
    return Roof(gemm_flops(device, PRECISIONS[precision], runs), copied_bytes(device, runs))


def graph_of(network: Network, windows: Tensor) -> Task:
    """Capture the network as a CUDA graph, whose replay costs one launch; return the replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.inference_mode():
        for _ in range(3):  # what is allocated or chosen on the first runs must not be captured
            network(windows)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.inference_mode():
        network(windows)
    return graph.replay


def gemm_flops(device: torch.device, dtype: torch.dtype, runs: int) -> float:
    """Return the operations a second of a product of two square matrices."""
    side = SIDE if device.type == "cuda" else SIDE // 4
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / median_s(lambda: a @ b, device, runs)


def copied_bytes(device: torch.device, runs: int) -> float:
    """Return the bytes a second that a copy reads and writes."""
    source = torch.empty(COPIED // 4, device=device).normal_()
    target = torch.empty_like(source)
    return 2 * COPIED / median_s(lambda: target.copy_(source), device, runs)


def median_s(task: Task, device: torch.device, runs: int) -> float:
    """Return the median seconds of a run, each with the wait for its end."""
    return statistics.median(time_calls(lambda: finish(task, device), runs, min(runs, WARM_UP)))


def finish(task: Task, device: torch.device) -> None:
    """Run a task to its end, as it is run on a device, without what learning needs."""
    with torch.inference_mode():
        task()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="roofline.py", description="Time the network in torch beside the least time that the GPU allows."
    )
    parser.add_argument("--network", type=Path, required=True, help="such as configs/networks/audioset.yaml")
    parser.add_argument("--batch", type=count, default=1, help="windows at once (default 1)")
    parser.add_argument("--runs", type=count, default=100, help="runs of each way (default 100)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="(default: cuda)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: roofline(args))


if __name__ == "__main__":
    sys.exit(main())
