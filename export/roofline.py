"""The network in torch on a GPU beside what the GPU can do at most: a bound for what an engine can reach.

python export/roofline.py --network configs/networks/audioset.yaml

For each precision it measures the rate of torch's own matrix products there, and of memory. With products of that rate
no run of a clip can be faster than its multiply-adds, nor than its weights once through memory. On a GPU that is close
to what the hardware can; on a CPU onnxruntime's may be far faster than torch's. `htsat-edge bench` times engines.
Weights are drawn at random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, count, refuse_without_extra, run

try:
    import torch
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("roofline.py", "export", missing)

from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.network import FRAMES, HTSAT
from htsat_edge.runtime.commands.bench.results import Network, multiply_adds
from htsat_edge.runtime.common.errors import HtsatEdgeError
from rich.console import Console
from rich.table import Table
from torch import Tensor

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
WARM_UP = 10
SIDE = 4096
"""Of the matrices whose product tells how fast the GPU multiplies."""
COPIED = 2**28
"""Bytes that are copied to tell how fast its memory is."""
Task = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One way to run the network."""

    precision: str
    way: str
    median_ms: float | None
    """None: it was not run."""
    bound_ms: float | None
    """What no run can be faster than, with matrix products as fast as torch's."""
    reason: str = ""
    """Why it was not run."""


def roofline(args: argparse.Namespace) -> int:
    """Measure, and print the table."""
    config = read_network(args.network)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise HtsatEdgeError("torch sees no CUDA GPU here: nothing was run; --device cpu runs what needs none")
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"
    )
    macs = multiply_adds(Network.model_validate(config.model_dump()))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    rows = [row for precision in PRECISIONS for row in measure(config, precision, device, macs, args)]
    table = Table("precision", "way", "median", "bound", "of the bound", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        took = f"{row.median_ms:.3f} ms" if row.median_ms is not None else f"not run: {row.reason}"
        bound = f"{row.bound_ms:.3f} ms" if row.bound_ms is not None else ""
        times = f"{row.median_ms / row.bound_ms:.1f} ×" if row.median_ms and row.bound_ms else ""
        table.add_row(row.precision, row.way, took, bound, times)
    console = Console(width=max(Console().width, 120))
    console.print(
        f"{args.network.stem} ({macs / 1e9:.2f} G multiply-adds a clip), batch {args.batch}, on {name}, torch "
        f"{torch.__version__}, median of {args.runs}",
        highlight=False,
    )
    console.print(table)
    return 0


def measure(
    config: NetworkConfig, precision: str, device: torch.device, macs: int, args: argparse.Namespace
) -> list[Row]:
    """Every way of a precision."""
    dtype = PRECISIONS[precision]
    if device.type == "cpu" and precision != "fp32":
        return [Row(precision, "torch", None, None, "a CPU has no fast half precision in torch")]
    torch.manual_seed(0)
    network = HTSAT(config).eval().to(device, dtype)
    clips = (torch.randn(args.batch, FRAMES, config.front_end.n_mels) * 20 - 40).to(device, dtype)
    multiplies, copies = gemm_flops(device, dtype, args.runs), copied_bytes(device, args.runs)
    weights = sum(x.numel() * x.element_size() for x in network.parameters())
    bound_ms = 1000 * max(2 * macs * args.batch / multiplies, weights / copies)
    rows = []
    ways: dict[str, Callable[[], Task]] = {
        "torch": lambda: lambda: network(clips),
        "CUDA graph": lambda: graph_of(network, clips),
        "torch.compile": lambda: compiled(network, clips),
    }
    for way, make in ways.items():
        if way == "CUDA graph" and device.type == "cpu":
            rows.append(Row(precision, way, None, bound_ms, "needs CUDA"))
            continue
        try:
            rows.append(Row(precision, way, 1000 * median_s(make(), device, args.runs), bound_ms))
        except Exception as error:  # a compiler may be missing, or a torch may not know the card
            rows.append(
                Row(precision, way, None, bound_ms, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
            )
    return rows


def graph_of(network: HTSAT, clips: Tensor) -> Task:
    """The network captured as a CUDA graph, whose replay costs one launch."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.inference_mode():
        for _ in range(3):  # what is allocated or chosen on the first runs must not be captured
            network(clips)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.inference_mode():
        network(clips)
    return graph.replay


def compiled(network: HTSAT, clips: Tensor) -> Task:
    """The network through torch.compile; its first run compiles."""
    fast = torch.compile(network)
    return lambda: fast(clips)


def gemm_flops(device: torch.device, dtype: torch.dtype, runs: int) -> float:
    """Operations a second of a product of two square matrices."""
    side = SIDE if device.type == "cuda" else SIDE // 4
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / median_s(lambda: a @ b, device, runs)


def copied_bytes(device: torch.device, runs: int) -> float:
    """Bytes a second that are read and written by a copy."""
    source = torch.empty(COPIED // 4, device=device).normal_()
    target = torch.empty_like(source)
    return 2 * COPIED / median_s(lambda: target.copy_(source), device, runs)


def median_s(task: Task, device: torch.device, runs: int) -> float:
    """Seconds of one run, each waited for."""
    seconds = []
    with torch.inference_mode():
        for i in range(WARM_UP + runs):
            begun = time.perf_counter()
            task()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if i >= WARM_UP:
                seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="roofline.py", description="Time the network in torch beside what the GPU can do at most.")
    parser.add_argument("--network", type=Path, required=True, help="such as configs/networks/audioset.yaml")
    parser.add_argument("--batch", type=count, default=1, help="clips at once (default 1)")
    parser.add_argument("--runs", type=count, default=100, help="of each way (default 100)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="(default: cuda)")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: roofline(args))


if __name__ == "__main__":
    sys.exit(main())
