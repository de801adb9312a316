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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, count, refuse_without_extra, run

try:
    import torch
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("roofline.py", "export", missing)

from rich.console import Console
from rich.table import Table
from torch import Tensor

from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.network import FRAMES, HTSAT
from htsat_edge.runtime.commands.bench.results import NetworkSize, multiply_adds
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.timing import time_calls

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
WAYS = ("torch", "CUDA graph", "torch.compile")
WARM_UP = 10
SIDE = 4096
"""The side of the square matrices whose product measures how fast the GPU multiplies."""
COPIED = 2**28
"""Bytes that are copied to measure how fast its memory is."""
Task = Callable[[], object]
Compiler = Callable[[HTSAT], Callable[[Tensor], object]]


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


def roofline(args: argparse.Namespace, compiler: Compiler = torch.compile) -> int:
    """Measure, and print the table; return the exit status."""
    config = read_network(args.network)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise HtsatEdgeError("torch sees no CUDA GPU here: nothing was run; --device cpu runs what needs none")
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"
    )
    macs = multiply_adds(NetworkSize.model_validate(config.model_dump()))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    rows = [row for precision in PRECISIONS for row in measure(config, precision, device, macs, args, compiler)]
    table = Table("precision", "way", "median", "bound", "of the bound", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        took = f"{row.median_ms:.3f} ms" if row.median_ms is not None else f"not run: {row.reason}"
        bound = f"{row.bound_ms:.3f} ms" if row.bound_ms is not None else ""
        times = f"{row.median_ms / row.bound_ms:.1f} ×" if row.median_ms and row.bound_ms else ""
        table.add_row(row.precision, row.way, took, bound, times)
    console = Console(width=max(Console().width, 120))
    console.print(
        f"{args.network.stem} ({macs / 1e9:.2f} G multiply-adds a window), batch {args.batch}, on {name}, torch "
        f"{torch.__version__}, median of {args.runs}",
        highlight=False,
    )
    console.print(table)
    return 0


def measure(
    config: NetworkConfig,
    precision: str,
    device: torch.device,
    macs: int,
    args: argparse.Namespace,
    compiler: Compiler,
    chosen: Sequence[str] = WAYS,
) -> list[RooflinePoint]:
    """Time the chosen ways to run a precision; return a row for each."""
    dtype = PRECISIONS[precision]
    if device.type == "cpu" and precision != "fp32":
        return [RooflinePoint(precision, "torch", None, None, "a CPU has no fast half precision in torch")]
    torch.manual_seed(0)
    network = HTSAT(config).eval().to(device, dtype)
    windows = (torch.randn(args.batch, FRAMES, config.front_end.n_mels) * 20 - 40).to(device, dtype)
    multiplies, copies = gemm_flops(device, dtype, args.runs), copied_bytes(device, args.runs)
    weights = sum(x.numel() * x.element_size() for x in network.parameters())
    bound_ms = 1000 * max(2 * macs * args.batch / multiplies, weights / copies)
    rows = []
    ways: dict[str, Callable[[], Task]] = {
        "torch": lambda: lambda: network(windows),
        "CUDA graph": lambda: graph_of(network, windows),
        "torch.compile": lambda: compiled(compiler, network, windows),
    }
    for way in chosen:
        make = ways[way]
        if way == "CUDA graph" and device.type == "cpu":
            rows.append(RooflinePoint(precision, way, None, bound_ms, "needs CUDA"))
            continue
        try:
            rows.append(RooflinePoint(precision, way, 1000 * median_s(make(), device, args.runs), bound_ms))
        except Exception as error:  # a compiler may be missing, or a torch may not know the card
            rows.append(
                RooflinePoint(
                    precision, way, None, bound_ms, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                )
            )
    return rows


def graph_of(network: HTSAT, windows: Tensor) -> Task:
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


def compiled(compiler: Compiler, network: HTSAT, windows: Tensor) -> Task:
    """Return the compiled network as a task, whose first run compiles it."""
    fast = compiler(network)
    return lambda: fast(windows)


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

    def run_to_the_end() -> None:
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        return statistics.median(time_calls(run_to_the_end, runs, WARM_UP))


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
