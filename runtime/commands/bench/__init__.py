"""`htsat-edge bench`: how fast is what, on this machine.

Every contender runs in a process of its own, so that none has another's memory, threads or processor state. They take
turns, one run each and then the next round in the opposite order, so that what else happens on the machine meets all
of them alike. Each run is the second of two in a row: the first brings the model back into the cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from htsat_edge.runtime.commands.bench.device import Power, clock_mhz, load, read_device
from htsat_edge.runtime.commands.bench.report import print_bench, title
from htsat_edge.runtime.commands.bench.results import (
    GEMM,
    ON_CPU,
    Bench,
    Contender,
    Gemm,
    Measured,
    Network,
    capacity,
    multiply_adds,
    share,
    timing,
)
from htsat_edge.runtime.common.command import require_matplotlib
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.common.progress import with_progress
from htsat_edge.runtime.detector import Settings, make_grid
from htsat_edge.runtime.models.bundle import BUNDLED, CPU_FP32, Bundle, read_bundle
from htsat_edge.runtime.models.engines import read_passports
from pydantic import ValidationError

ON_CPU_GRAPHS = ("fp32", CPU_FP32, "cpu-int8")
"""The graphs that are meant for onnxruntime on a CPU; the others are for engines."""
GEMMS = BUNDLED.parent / "check"
"""gemm-fp32.onnx and gemm-int8.onnx: one product of two matrices each."""


def run_bench(args: argparse.Namespace) -> int:
    """Run the command."""
    before = load()
    if args.plot is not None:
        refuse_plot(args.plot)
    bundle = read_bundle(args.bundle or BUNDLED)
    make_grid(bundle.info, Settings(hop_s=args.hop_s))  # says what is wrong with the hop
    network = read_size(bundle)
    threads = args.threads or sorted({1, cores()})
    contenders = plan(bundle, args, threads)
    with tempfile.TemporaryDirectory() as folder:
        not_run = {} if args.precision or args.backend == "tensorrt" else left_out(bundle)
        if args.peers is not False and args.backend != "tensorrt":
            found, missing = find_peers(network, threads, Path(folder))
            if args.peers and not found:
                raise HtsatEdgeError(f"--peers: {'; '.join(missing.values())}")
            contenders += found
            not_run |= missing
        bench = compare(bundle.info.name, network, contenders, threads, args.runs, not_run, before)
    if args.json:
        print(bench.model_dump_json(indent=2))
    else:
        print_bench(bench)
    if args.plot is not None:
        from htsat_edge.runtime.commands.bench.picture import draw

        draw(args.plot, bench)
    return 0


def read_size(bundle: Bundle) -> Network | None:
    """The size of the bundle's network, where model.json tells it."""
    try:
        return Network.model_validate(bundle.info.provenance.get("network"))
    except ValidationError:
        return None


def refuse_plot(plot: Path) -> None:
    """Say before the bench, rather than after, that its picture cannot be drawn."""
    require_matplotlib()
    if plot.suffix.lower() != ".png" or not plot.parent.is_dir():
        raise HtsatEdgeError(f"--plot {plot}: want the name of a .png file in a folder that exists")


def plan(bundle: Bundle, args: argparse.Namespace, threads: Sequence[int]) -> list[Contender]:
    """What to run of a bundle: what was asked for, or all that is meant for this machine."""

    def contender(name: str, precision: str, backend: Any, count: int) -> Contender:
        return Contender(
            name=name,
            kind="bundle",
            path=str(bundle.path),
            precision=precision,
            backend=backend,
            threads=count,
            hop_s=args.hop_s,
            batch=args.sources,
        )

    built = [] if args.backend == "onnxruntime" else [passport.recipe.precision for passport in read_passports(bundle)]
    graphs = [] if args.backend == "tensorrt" else bundle.precisions()
    wanted = args.precision or list(dict.fromkeys([*built, *(name for name in ON_CPU_GRAPHS if name in graphs)]))
    found = []
    for name in wanted:
        if name not in built and args.backend == "tensorrt":
            raise HtsatEdgeError(f"{bundle.path}: has no {name} engine; export/build_trt.py builds one")
        if name not in (*built, *graphs):
            bundle.graph(name)  # which says what there is
        found += [contender(f"{name} engine", name, "tensorrt", 1)] if name in built else []
        found += [contender(name, name, "onnxruntime", count) for count in threads if name in graphs]
    if not found:
        raise HtsatEdgeError(f"{bundle.path}: has no engine; export/build_trt.py builds one")
    return found


def left_out(bundle: Bundle) -> dict[str, str]:
    """The graphs that are not timed unless asked for, and those that could be there: why."""
    there = bundle.precisions()
    told = {name: "is for engines; --precision times it on onnxruntime" for name in there if name not in ON_CPU_GRAPHS}
    missing = {
        CPU_FP32: "is not in the bundle; export/to_onnx.py --cpu writes it",
        "cpu-int8": "is not in the bundle; calibration/quantize.py writes it",
    }
    return told | {name: reason for name, reason in missing.items() if name not in there}


def find_peers(network: Network | None, threads: Sequence[int], folder: Path) -> tuple[list[Contender], dict[str, str]]:
    """Public models to compare with, written by export/peers.py; and by name, why one is not there."""
    if importlib.util.find_spec("transformers") is None:
        return [], {"peers": "transformers is not installed"}
    if network is None:
        return [], {"peers": "the bundle's model.json does not tell the network's size"}
    command = [
        sys.executable,
        "-m",
        "htsat_edge.export.baselines",
        "--out",
        str(folder),
        "--network",
        network.model_dump_json(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return [], {"peers": reason}
    found = json.loads(done.stdout.splitlines()[-1])
    contenders = [
        Contender(name=name, kind="peer", path=str(folder / f"{name}.onnx"), threads=count, parameters=parameters)
        for name, parameters in found["written"].items()
        for count in threads
    ]
    return contenders, found["failed"]


def compare(
    name: str,
    network: Network | None,
    contenders: Sequence[Contender],
    threads: Sequence[int],
    runs: int,
    not_run: dict[str, str],
    before: float | None,
) -> Bench:
    """Let contenders take turns; an HtsatEdgeError where none of the bundle's can be run.

    `not_run` says what is not there to be run, and why, and `before` what the machine had to do.
    """
    began, not_run, clocks_mhz = datetime.now().astimezone(), dict(not_run), []
    gemms = [
        Contender(name=f"gemm-{kind}", kind="gemm", path=str(GEMMS / f"gemm-{kind}.onnx"), threads=count)
        for kind in ("fp32", "int8")
        for count in threads
    ]
    with ExitStack() as stack, Power() as power:
        workers: list[Worker] = []
        for contender in with_progress([*contenders, *gemms], "starting"):
            with told_of(contender, not_run):
                worker = Worker(contender)
                stack.callback(worker.close)
                workers.append(worker)
        refuse_none(workers, contenders, not_run)
        for turn in with_progress(range(runs), "running"):
            for worker in workers[:: -1 if turn % 2 else 1]:
                with told_of(worker.contender, not_run):
                    worker.run()
                clocks_mhz += [clock_mhz()]
            workers = [worker for worker in workers if title(worker.contender) not in not_run]
        refuse_none(workers, contenders, not_run)
    macs = None if network is None else multiply_adds(network)
    rates = {
        (worker.contender.name, worker.contender.threads): worker.gflops()
        for worker in workers
        if worker.contender.kind == "gemm"
    }
    gemm = [
        Gemm(
            threads=count,
            fp32_gflops=rates.get(("gemm-fp32", count)),
            int8_gflops=rates.get(("gemm-int8", count)),
        )
        for count in threads
    ]
    return Bench(
        bundle=name,
        began=began,
        device=read_device(before, power.watts, [mhz for mhz in clocks_mhz if mhz is not None]),
        versions=versions(),
        runs=runs,
        macs=macs,
        gemm=gemm,
        measured=[worker.measured(macs, gemm) for worker in workers if worker.contender.kind != "gemm"],
        not_run=not_run,
    )


def refuse_none(workers: Sequence[Worker], contenders: Sequence[Contender], not_run: Mapping[str, str]) -> None:
    """An HtsatEdgeError with the first reason where none of the bundle's forms is left."""
    if not any(worker.contender.kind == "bundle" for worker in workers):
        raise HtsatEdgeError(next(not_run[title(contender)] for contender in contenders if title(contender) in not_run))


def versions() -> dict[str, str]:
    """Of what the figures depend on, where it is installed."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}"}
    for name in ("htsat-edge", "onnxruntime", "numpy", "scipy", "tensorrt", "pycuda", "torch", "transformers"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@contextmanager
def told_of(contender: Contender, not_run: dict[str, str]) -> Iterator[None]:
    """A contender that fails is told of, and the others go on."""
    try:
        yield
    except HtsatEdgeError as error:
        not_run[title(contender)] = str(error)


class Worker:
    """The process of a contender."""

    def __init__(self, contender: Contender) -> None:
        """Start it, and wait for its first scores; an HtsatEdgeError says why there are none."""
        self.contender = contender
        # numpy's threads are no more than the model's.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(contender.threads)}
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "htsat_edge.runtime.commands.bench.worker",
                contender.model_dump_json(),
                contender.path,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
            start_new_session=True,  # Ctrl-C ends the bench, which then ends them
        )
        try:
            self._answer()
            self.startup_s = time.perf_counter() - begun
            self.about = self._answer()
        except BaseException:
            self.close()
            raise
        self.seconds: dict[str, list[float]] = {task: [] for task in self.about["tasks"]}
        self.peak_mb = 0.0

    def run(self) -> None:
        """Time each of its tasks once."""
        assert self._process.stdin is not None
        for task, seconds in self.seconds.items():
            with suppress(BrokenPipeError):  # it has died, which its answer tells
                self._process.stdin.write(task + "\n")
            answer = self._answer()
            seconds.append(answer["seconds"])
            self.peak_mb = answer["peak_mb"]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HtsatEdgeError(f"{self.contender.name}: its process ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise HtsatEdgeError(answer["failed"])
        return answer

    def gflops(self) -> float:
        """Of the product of two matrices."""
        return round(2e-6 * math.prod(GEMM.values()) / timing(self.seconds["model"]).p50_ms, 1)

    def measured(self, macs: int | None, gemm: Sequence[Gemm]) -> Measured:
        """What was found out, of a model with so many multiply-adds."""
        contender, hop_s = self.contender, self.about.get("hop_s")
        found = {task: timing(seconds) for task, seconds in self.seconds.items()}
        model, hop, batch = found["model"], found.get("hop"), found.get("batch")
        own = next((rate for rate in gemm if rate.threads == contender.threads), None)
        on_cpu = contender.kind == "bundle" and self.about["runs_on"] == ON_CPU
        return Measured(
            contender=contender,
            runs_on=self.about["runs_on"],
            startup_s=round(self.startup_s, 3),
            peak_mb=round(self.peak_mb, 1),
            model=model,
            audio=found.get("audio"),
            hop=hop,
            batch=batch,
            hop_s=hop_s,
            real_time_factor=None if hop is None or hop_s is None else round(hop.p50_ms / 1000 / hop_s, 6),
            sources=None if hop is None or hop_s is None else capacity(model, hop, hop_s, batch, contender.batch),
            gemm_share=share(macs, model, contender.precision or "", own) if macs and own and on_cpu else None,
        )
