"""Try and time on a CUDA machine all that needs no Jetson.

python export/gpu_day.py --out gpu-day.json

The parts run one after the other, each in a process of its own with a time limit, so that one that fails or hangs
leaves the others alone. What a machine lacks is reported as not run, with the reason. The script needs no TensorRT: a
network in torch stands in for an engine, so that the runtime's memory, stream, context and CUDA graph are those of a
real GPU. Where TensorRT or TensorRT for RTX is installed, engines of the bundled model are built, compared and timed.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import contextlib
import io
import itertools
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.command import Parser, count, refuse_without_extra, run

try:
    import torch
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    refuse_without_extra("gpu_day.py", "export", missing)

from htsat_edge.export import roofline
from htsat_edge.export.build_trt import main as build_engines
from htsat_edge.export.stand_in import StandIn
from htsat_edge.export.validate import cut_windows
from htsat_edge.htsat.config import read_network
from htsat_edge.htsat.network import HTSAT
from htsat_edge.runtime.commands.bench.results import NetworkSize, multiply_adds
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.gpu import has_cudart, open_device
from htsat_edge.runtime.models.backends.trt import TrtBackend, installed_flavour
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.engines import read_manifests

NETWORKS = ("bundled", "audioset")
BATCHES = (1, 8, 64)
MOST = 4
"""The largest batch of the stand-in's engine."""
WINDOWS = 2_000
LIMIT_S = 150
"""Seconds that a part may take."""
WAYS = ("stream", "CUDA graph")
"""How the backend runs an engine."""
Result = dict[str, Any]


def describe_machine(args: argparse.Namespace) -> Iterator[Result]:  # noqa: ARG001
    """Yield what the figures depend on."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    yield {
        "gpu": gpu.name if gpu else None,
        "compute_capability": f"{gpu.major}.{gpu.minor}" if gpu else None,
        "multiprocessors": gpu.multi_processor_count if gpu else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.machine(),
    }


def run_backend(args: argparse.Namespace) -> Iterator[Result]:
    """Run the bundled network through the runtime's GPU backend, and compare it with the same network on the CPU.

    Single windows, batches, more than the largest batch, and many windows, each with and without a CUDA graph.
    """
    yield {"cuda_of_driver": open_device().driver}
    bundle = load_bundle(BUNDLED)
    torch.manual_seed(0)
    config = read_network(CONFIGS / "networks" / "bundled.yaml").model_copy(update={"classes": len(bundle.info.labels)})
    network = HTSAT(config).eval()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    windows = cut_windows(bundle.info)
    with torch.no_grad():
        wanted = network(torch.from_numpy(windows)).framewise.numpy()
    trt: Any = StandIn(network, MOST)
    plain: dict[int, FloatArray] = {}
    for graph in (False, True) if has_cudart() else (False,):
        backend = TrtBackend(trt, b"", bundle.info, graph)
        found = compare(backend, windows, wanted) | soak(backend, windows, args.windows)
        for size in (1, 3, MOST):
            scores = backend.infer(windows[:size]).framewise
            if graph:
                found[f"equal to the stream, batch {size}"] = bool(np.array_equal(scores, plain[size]))
            plain[size] = scores
        backend.close()
        yield {WAYS[graph]: found}


def compare(backend: Backend, windows: FloatArray, wanted: FloatArray) -> Result:
    """Return the largest difference in the scores, by batch size."""
    differences = {}
    for size in (1, 3, MOST, 2 * MOST + 1, 1):
        index = np.arange(size) % len(windows)
        differences[str(size)] = float(np.abs(backend.infer(windows[index]).framewise - wanted[index]).max())
    return {"largest difference by batch": differences}


def soak(backend: Backend, windows: FloatArray, runs: int) -> Result:
    """Score many windows; return the latency, and by how many bytes the GPU's free memory fell meanwhile."""
    device = open_device()

    def free() -> int:
        with device.current():
            return int(device.cuda.mem_get_info()[0])

    for window in windows[:20]:
        backend.infer(window[None])
    before, order = free(), iter(np.arange(runs) % len(windows))
    seconds = time_calls(lambda: backend.infer(windows[next(order)][None]), runs)
    return {
        "p50_ms": 1000 * statistics.median(seconds),
        "p99_ms": 1000 * float(np.quantile(seconds, 0.99)),
        "windows": runs,
        "memory taken meanwhile": before - free(),
    }


def run_roofline(args: argparse.Namespace) -> Iterator[Result]:
    """Time networks, batches and precisions as export/roofline.py does; compile last, since that takes long."""
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for ways in (roofline.WAYS[:2], roofline.WAYS[2:]):
        for name, batch in itertools.product(NETWORKS, args.batches):
            config = read_network(CONFIGS / "networks" / f"{name}.yaml")
            macs = multiply_adds(NetworkSize.model_validate(config.model_dump()))
            wanted = argparse.Namespace(batch=batch, runs=args.runs)
            for precision in roofline.PRECISIONS:
                rows = roofline.measure(config, precision, device, macs, wanted, torch.compile, ways)
                yield {f"{name}, batch {batch}, {precision}, {row.way}": vars(row) for row in rows}


def run_engines(args: argparse.Namespace) -> Iterator[Result]:  # noqa: ARG001
    """Build engines of the bundled model where a TensorRT is installed; yield what their manifests say."""
    flavour = installed_flavour()
    if flavour is None:
        raise HtsatEdgeError("no TensorRT is installed")
    yield {"flavour": flavour}
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(BUNDLED, Path(folder) / "bundled", ignore=shutil.ignore_patterns("engines"))
        for precision in ("fp32", "fp16", "int8"):
            printed = io.StringIO()
            with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
                status = build_engines([str(copy), "--precision", precision, "--flavour", flavour, "--batch", "1,1,4"])
            yield {precision: {"status": status, "printed": printed.getvalue().splitlines()[-8:]}}
        for manifest in read_manifests(load_bundle(copy)):
            yield {f"{manifest.recipe.precision} manifest": manifest.model_dump(mode="json")}


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Result]]] = {
    "machine": describe_machine,
    "backend": run_backend,
    "engines": run_engines,
    "roofline": run_roofline,
}


def run_all(args: argparse.Namespace) -> int:
    """Run the parts in processes of their own; write the JSON after each, and print the tables."""
    found: Result = {}
    for name in PARTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        begun = time.monotonic()
        found[name] = run_part(name, args)
        found[name]["seconds"] = round(time.monotonic() - begun, 1)
        with replacing(args.out) as part:
            part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print("\n".join(tables(found)))
    return 0


def run_part(name: str, args: argparse.Namespace) -> Result:
    """Return what a part found until it ended, and where it did not end well, the reason under `not run`."""
    options = ["--device", args.device, "--runs", str(args.runs), "--windows", str(args.windows)]
    options += ["--batches", *map(str, args.batches)]
    command = command_of("htsat_edge.export.gpu_day", "--part", name, *options)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            status = subprocess.run(command, stdout=out, stderr=err, timeout=args.limit, check=False).returncode
            err.seek(0)
            lines = err.read().decode(errors="replace").strip().splitlines()
            reason = None if status == 0 else (lines or [f"exit status {status}"])[-1]
        except subprocess.TimeoutExpired:
            reason = f"took more than {args.limit} s"
        out.seek(0)
        whole = [line for line in out.read().split(b"\n")[:-1] if line.startswith(b"{")]
    found = {key: value for line in whole for key, value in json.loads(line).items()}
    return found if reason is None else {**found, "not run": reason}


def tables(found: Result) -> Iterator[str]:
    """Yield the lines of Markdown tables of the figures, as docs/performance.md has them."""
    machine, backend, points = found["machine"], found["backend"], found["roofline"]
    yield f"{machine.get('gpu') or 'no GPU'}, torch {machine.get('torch')}"
    for name in PARTS:
        if "not run" in found[name]:
            yield f"{name}: not run, or not to its end: {found[name]['not run']}"
    for way in WAYS:
        if way in backend:
            worst = max(backend[way]["largest difference by batch"].values())
            yield (
                f"The runtime's backend, {way}: {backend[way]['p50_ms']:.2f} ms a window, largest difference "
                f"{worst:.1e}, {backend[way]['windows']} windows took {backend[way]['memory taken meanwhile']} bytes"
            )
    yield ""
    yield "| network, batch | precision | torch | CUDA graph | torch.compile | bound |"
    yield "|---|---|---|---|---|---|"
    rows = dict.fromkeys(key.rpartition(", ")[0] for key in points if ", " in key)
    for row in rows:
        ways = [points.get(f"{row}, {way}", {}) for way in roofline.WAYS]
        cells = [f"{way['median_ms']:.3f} ms" if way.get("median_ms") else "not run" for way in ways]
        bound = next((f"{way['bound_ms']:.3f} ms" for way in ways if way.get("bound_ms")), "not measured")
        name, _, precision = row.rpartition(", ")
        yield f"| {name} | {precision} | {' | '.join(cells)} | {bound} |"


def start(args: argparse.Namespace) -> int:
    """Run one part and print each of its results as a line of JSON, or run all of them."""
    if args.part is None:
        return run_all(args)
    for result in PARTS[args.part](args):
        print(json.dumps(result), flush=True)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="gpu_day.py", description="Try and time on a CUDA machine all that needs no Jetson.")
    parser.add_argument("--out", type=Path, default=Path("gpu-day.json"), help="(default: gpu-day.json)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a rehearsal (default: cuda)")
    parser.add_argument("--runs", type=count, default=30, help="runs of each way of the roofline (default 30)")
    parser.add_argument("--windows", type=count, default=WINDOWS, help=f"windows to score (default {WINDOWS})")
    parser.add_argument("--batches", type=count, nargs="+", default=BATCHES, help="of the roofline (default 1 8 64)")
    parser.add_argument("--limit", type=count, default=LIMIT_S, help=f"seconds a part may take (default {LIMIT_S})")
    parser.add_argument("--part", choices=PARTS, help="run this part alone, in this process; print JSON")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: start(args))


if __name__ == "__main__":
    sys.exit(main())
