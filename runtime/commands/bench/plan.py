"""Choose what a bench times."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from htsat_edge.runtime.commands.bench.results import BackendChoice, Candidate, NetworkSize
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.models.bundle import BUNDLED, CPU_FP32, Bundle
from htsat_edge.runtime.models.engines import how_to_build, read_manifests
from htsat_edge.runtime.models.settings import Settings

ON_CPU_GRAPHS = ("fp32", CPU_FP32, "cpu-int8")
"""The graphs that are meant for onnxruntime on a CPU; engines are built from the others."""
GEMMS = BUNDLED.parent / "check"
"""The folder of gemm-fp32.onnx and gemm-int8.onnx, one product of two matrices each."""


@dataclass(frozen=True)
class Request:
    """What a user wants to have timed."""

    threads: Sequence[int]
    """Numbers of threads of onnxruntime."""
    backend: BackendChoice = "auto"
    precisions: Sequence[str] = ()
    """Precisions of engines and graphs; none: all that are meant for this machine."""
    hop_s: float | None = None
    """Seconds between model runs; None: the default of `htsat-edge detect`."""
    sources: int = 1
    """Windows that are also scored at once."""
    baselines: bool | None = None
    """Time public models, too; None: where they can be had."""


@dataclass(frozen=True)
class Plan:
    """What is timed, and what is not."""

    candidates: list[Candidate]
    not_run: dict[str, str]
    """The reasons why something is not timed, by name."""


FindBaselines = Callable[[NetworkSize | None, Sequence[int], Path], Plan]


def read_network_size(bundle: Bundle) -> NetworkSize | None:
    """Return the size of the bundle's network, None where model.json does not have it."""
    try:
        return NetworkSize.model_validate(bundle.info.provenance.get("network"))
    except ValidationError:
        return None


def choose_graphs(bundle: Bundle, request: Request) -> Plan:
    """Choose among the engines and graphs of a bundle.

    Raises
    ------
    HtsatEdgeError
        The bundle does not have what the request names.
    """
    on_gpu, on_cpu = request.backend != "onnxruntime", request.backend != "tensorrt"
    engines = [manifest.recipe.precision for manifest in read_manifests(bundle)] if on_gpu else []
    graphs = bundle.precisions() if on_cpu else []
    wanted = request.precisions or dict.fromkeys([*engines, *(name for name in ON_CPU_GRAPHS if name in graphs)])
    candidates = []
    for name in wanted:
        if name not in engines and not on_cpu:
            raise HtsatEdgeError(f"{bundle.path}: has no {name} engine; {how_to_build(bundle, name)}")
        if name not in (*engines, *graphs):
            bundle.graph(name)  # raises an error that lists the precisions
        if name in engines:
            candidates.append(_of_bundle(bundle, request, f"{name} engine", name, "tensorrt", 1))
        if name in graphs:
            candidates += [_of_bundle(bundle, request, name, name, "onnxruntime", count) for count in request.threads]
    if not candidates:
        raise HtsatEdgeError(f"{bundle.path}: has no engine; {how_to_build(bundle, None)}")
    return Plan(candidates, {} if request.precisions or not on_cpu else _left_out(bundle))


def _of_bundle(
    bundle: Bundle, request: Request, name: str, precision: str, backend: BackendChoice, threads: int
) -> Candidate:
    return Candidate(
        name=name,
        kind="bundle",
        path=str(bundle.path),
        precision=precision,
        backend=backend,
        threads=threads,
        hop_s=Settings(hop_s=request.hop_s).grid(bundle.info).hop_steps * bundle.info.step_s,
        batch=request.sources,
    )


def _left_out(bundle: Bundle) -> dict[str, str]:
    """Return the reasons why graphs are not timed: those for engines, and those for a CPU that are not there."""
    there = bundle.precisions()
    for_engines = {
        name: f"for TensorRT engines; --precision {name} times it on onnxruntime"
        for name in there
        if name not in ON_CPU_GRAPHS
    }
    missing = {
        CPU_FP32: "not in the bundle; python -m htsat_edge.export.to_onnx writes it",
        "cpu-int8": "not in the bundle; python -m htsat_edge.calibration.quantize writes it",
    }
    return for_engines | {name: reason for name, reason in missing.items() if name not in there}


def add_baselines(plan: Plan, request: Request, network: NetworkSize | None, folder: Path, find: FindBaselines) -> Plan:
    """Return the plan with the baselines that `find` writes into `folder`, where the request allows them.

    Raises
    ------
    HtsatEdgeError
        The request asks for baselines, and none can be had.
    """
    if request.baselines is False or request.backend == "tensorrt":
        return plan
    found = find(network, request.threads, folder)
    if request.baselines and not found.candidates:
        raise HtsatEdgeError(f"--baselines: {'; '.join(found.not_run.values())}")
    return Plan([*plan.candidates, *found.candidates], plan.not_run | found.not_run)


def find_baselines(network: NetworkSize | None, threads: Sequence[int], folder: Path) -> Plan:
    """Let export/baselines.py write public models into `folder`; return them as candidates."""
    if importlib.util.find_spec("transformers") is None:
        return Plan([], {"baselines": "transformers is not installed"})
    if network is None:
        return Plan([], {"baselines": "the bundle's model.json does not have the network's size"})
    command = command_of("htsat_edge.export.baselines", "--out", str(folder), "--network", network.model_dump_json())
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Plan([], {"baselines": reason})
    report = json.loads(done.stdout.splitlines()[-1])
    candidates = [
        Candidate(name=name, kind="baseline", path=str(folder / f"{name}.onnx"), threads=count, parameters=parameters)
        for name, parameters in report["written"].items()
        for count in threads
    ]
    return Plan(candidates, report["failed"])


def matrix_products(threads: Sequence[int]) -> list[Candidate]:
    """Return the candidates that measure the machine's rate of multiplying."""
    return [
        Candidate(name=f"gemm-{kind}", kind="gemm", path=str(GEMMS / f"gemm-{kind}.onnx"), threads=count)
        for kind in ("fp32", "int8")
        for count in threads
    ]
