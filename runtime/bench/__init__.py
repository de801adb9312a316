"""`htsat-edge bench`: how fast is what, on this machine.

Every contender runs in a process of its own, so that none has another's memory, threads or processor state. They take
turns, one run each and then the next round in the opposite order, so that what else happens on the machine meets all
of them alike. Each run is the second of two in a row: the first brings the model back into the cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runtime.bench.device import Power, load, read_device
from runtime.bench.report import print_bench, title
from runtime.bench.results import SIDE, Bench, Contender, Gemm, Measured, multiply_adds, timing
from runtime.bundle import BUNDLED, CPU_FP32, Bundle, read_bundle
from runtime.detector import Settings, make_grid
from runtime.engines import read_passports
from runtime.errors import UserError
from runtime.machine import cores
from runtime.progress import with_progress

ON_CPU = ("fp32", CPU_FP32, "cpu-int8")
"""The graphs that are meant for onnxruntime on a CPU; the others are for engines."""
GEMMS = Path(__file__).parent.parent / "models" / "check"
"""gemm-fp32.onnx and gemm-int8.onnx: one product of two matrices each."""


def run_bench(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.plot is not None:
        refuse_plot(args.plot)
    bundle = read_bundle(args.bundle or BUNDLED)
    make_grid(bundle.info, Settings(hop_s=args.hop_s))  # says what is wrong with the hop
    threads = args.threads or sorted({1, cores()})
    with ExitStack() as stack:
        contenders = plan(bundle, args, threads)
        not_run: dict[str, str] = {}
        if args.peers is not False:
            found, not_run = find_peers(bundle, threads, Path(stack.enter_context(tempfile.TemporaryDirectory())))
            if args.peers and not found:
                raise UserError(f"--peers: {'; '.join(not_run.values())}")
            contenders += found
        bench = compare(bundle, contenders, threads, args.runs, not_run)
    if args.json:
        print(bench.model_dump_json(indent=2))
    else:
        print_bench(bench)
    if args.plot is not None:
        from runtime.bench.picture import draw

        draw(args.plot, bench)
    return 0


def refuse_plot(plot: Path) -> None:
    """Say before the bench, rather than after, that its picture cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError('--plot needs matplotlib: pip install "htsat-edge[plot]"')
    if plot.is_dir() or not plot.parent.is_dir():
        raise UserError(f"--plot {plot}: want the name of a file in a folder that exists")


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
            sources=args.sources,
        )

    found = []
    if args.backend != "onnxruntime":
        built = list(dict.fromkeys(passport.recipe.precision for passport in read_passports(bundle)))
        engines = [name for name in args.precision or built if name in built]
        if not engines and args.backend == "tensorrt":
            raise UserError(f"{bundle.path}: has no such engine; export/build_trt.py builds one")
        found += [contender(f"{name} engine", name, "tensorrt", 1) for name in engines]
    if args.backend != "tensorrt":
        graphs = args.precision or [name for name in ON_CPU if name in bundle.precisions()]
        for name in graphs:
            bundle.graph(name)  # says what there is, if not this
        found += [contender(name, name, "onnxruntime", count) for name in graphs for count in threads]
    return found


def find_peers(bundle: Bundle, threads: Sequence[int], folder: Path) -> tuple[list[Contender], dict[str, str]]:
    """Public models to compare with, written by export/peers.py; and by name, why one is not there."""
    network = bundle.info.provenance.get("network")
    if importlib.util.find_spec("transformers") is None:
        return [], {"peers": "transformers is not installed"}
    if network is None:
        return [], {"peers": "the bundle's model.json does not tell the network's size"}
    command = [sys.executable, "-m", "export.peers", "--out", str(folder), "--network", json.dumps(network)]
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
    bundle: Bundle, contenders: Sequence[Contender], threads: Sequence[int], runs: int, not_run: dict[str, str]
) -> Bench:
    """Let contenders take turns; a UserError where none of the bundle's could be started."""
    before, network = load(), bundle.info.provenance.get("network")
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
        for turn in with_progress(range(runs), "running"):
            for worker in workers[:: -1 if turn % 2 else 1]:
                with told_of(worker.contender, not_run):
                    worker.run()
            workers = [worker for worker in workers if title(worker.contender) not in not_run]
        found = [worker.measured() for worker in workers]
        if not any(measured.contender.kind == "bundle" for measured in found):
            raise UserError(next(iter(not_run.values())))
    rates = {
        (m.contender.name, m.contender.threads): 2e-6 * SIDE**3 / m.model.p50_ms
        for m in found
        if m.contender.kind == "gemm"
    }
    return Bench(
        bundle=bundle.info.name,
        device=read_device(before, power.watts),
        versions={name: version(name) for name in ("htsat-edge", "onnxruntime", "numpy", "scipy")},
        runs=runs,
        macs=None if network is None else multiply_adds(network["embed_dim"], network["depths"], network["classes"]),
        gemm=[
            Gemm(
                threads=count,
                fp32_gflops=round(rates["gemm-fp32", count], 1),
                int8_gflops=round(rates["gemm-int8", count], 1),
            )
            for count in threads
        ],
        measured=[m for m in found if m.contender.kind != "gemm"],
        not_run=not_run,
    )


@contextmanager
def told_of(contender: Contender, not_run: dict[str, str]) -> Iterator[None]:
    """A contender that fails is told of, and the others go on."""
    try:
        yield
    except UserError as error:
        not_run[title(contender)] = str(error)


class Worker:
    """The process of a contender."""

    def __init__(self, contender: Contender) -> None:
        """Start it, and wait for its first scores; a UserError says why there are none."""
        self.contender = contender
        # numpy's threads are no more than the model's.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(contender.threads)}
        begun = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runtime.bench.worker", contender.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=environment,
            start_new_session=True,  # Ctrl-C ends the bench, which then ends them
        )
        try:
            self.about = self._answer()
            self.startup_s = time.perf_counter() - begun
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
            raise UserError(f"{self.contender.name}: its process ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise UserError(answer["failed"])
        return answer

    def measured(self) -> Measured:
        """What was found out."""
        timings = {task: timing(seconds) for task, seconds in self.seconds.items()}
        return Measured(
            contender=self.contender,
            runs_on=self.about["runs_on"],
            startup_s=round(self.startup_s, 3),
            peak_mb=round(self.peak_mb, 1),
            model=timings["model"],
            audio=timings.get("audio"),
            hop=timings.get("hop"),
            batch=timings.get("batch"),
            hop_s=self.about.get("hop_s"),
        )
