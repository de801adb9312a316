"""The parts of gpu_day.py: each tries or times one thing on a GPU, and yields what it found as soon as it is known."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.export import roofline
from htsat_edge.export.build_trt import main as build_engines
from htsat_edge.export.graph import build
from htsat_edge.export.stand_in import StandIn
from htsat_edge.export.validate import cut_windows
from htsat_edge.htsat.batches import Batches
from htsat_edge.htsat.config import read_network
from htsat_edge.htsat.initial import initialise, set_drop_path
from htsat_edge.htsat.negatives import load_negatives
from htsat_edge.htsat.network import FRAMES, HTSAT, NetworkOutput
from htsat_edge.htsat.scenes import SceneMaker
from htsat_edge.htsat.settings import TrainConfig, read_training
from htsat_edge.htsat.training import Training
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.machine import load_onnxruntime
from htsat_edge.runtime.common.text import in_one_line
from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.gpu import has_cudart, open_device
from htsat_edge.runtime.models.backends.trt import TrtBackend, installed_flavour
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.engines import read_manifests

Result = dict[str, Any]
NOT_RUN = "not run"
"""The key of the reason."""
PACKAGES = ("torch", "pycuda", "cuda-bindings", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "numpy")
MOST = 4
"""The largest batch of the stand-in's engine."""
BACKEND_WAYS = ("stream", "CUDA graph")
"""How the backend runs an engine."""
ON_CPU = "CPUExecutionProvider"
PROVIDERS: dict[str, dict[str, str]] = {
    ON_CPU: {},
    "CUDAExecutionProvider": {"use_tf32": "0"},  # fp32 is fp32
    "TensorrtExecutionProvider": {},
}
"""Of onnxruntime, with their options."""
WARM_UP_STEPS = 3


class Effort(NamedTuple):
    """How much is run."""

    networks: tuple[str, ...]
    batches: tuple[int, ...]
    """Of the roofline; the first and the last of what takes longer."""
    runs: int
    windows: int
    """Scored one after the other by the backend."""
    clips: int
    """Of a step of training."""
    steps: int


EFFORTS = {
    "cuda": Effort(("bundled", "audioset", "clap-base"), (1, 2, 4, 8, 16, 32, 64), 30, 2_000, 128, 20),
    "cpu": Effort(("bundled", "audioset"), (1, 2), 3, 20, 2, 1),
}
"""By device; that of a CPU is a rehearsal."""


def describe_machine(device: str) -> Iterator[Result]:
    """Yield what the figures depend on."""
    gpu = torch.cuda.get_device_properties(0) if device == "cuda" else None
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    yield {
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gpu": gpu.name if gpu else None,
        "compute_capability": f"{gpu.major}.{gpu.minor}" if gpu else None,
        "multiprocessors": gpu.multi_processor_count if gpu else None,
        "memory_gb": round(gpu.total_memory / 1e9, 1) if gpu else None,
        "cuda_of_torch": torch.version.cuda,
        "torch": torch.__version__,
        "versions": versions,
        "python": platform.python_version(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def run_backend(device: str) -> Iterator[Result]:
    """Run the bundled network through the runtime's GPU backend, and compare it with the same network on the CPU.

    Single windows, batches, more than the largest batch, and many windows, each with and without a CUDA graph.
    """
    yield {"cuda_of_driver": open_device().driver}
    bundle = load_bundle(BUNDLED)
    torch.manual_seed(0)
    config = read_network(CONFIGS / "networks" / "bundled.yaml").model_copy(update={"classes": len(bundle.info.labels)})
    network = HTSAT(config).eval()
    windows = cut_windows(bundle.info)
    with torch.no_grad():
        wanted = network(torch.from_numpy(windows)).framewise.numpy()
    trt: Any = StandIn(network, MOST)
    plain: dict[int, FloatArray] = {}
    for graph in (False, True) if has_cudart() else (False,):
        backend = TrtBackend(trt, b"", bundle.info, graph)
        found = compare(backend, windows, wanted) | soak(backend, windows, EFFORTS[device].windows)
        for size in (1, 3, MOST):
            scores = backend.infer(windows[:size]).framewise
            if graph:
                found[f"equal to the stream, batch {size}"] = bool(np.array_equal(scores, plain[size]))
            plain[size] = scores
        backend.close()
        yield {BACKEND_WAYS[graph]: found}


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


def run_tests(device: str) -> Iterator[Result]:  # noqa: ARG001
    """Run the tests that want a GPU, as `pytest tests/gpu` does."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "tests" / "gpu").is_dir():
        raise HtsatEdgeError("tests/gpu is in a checkout only; run gpu_day.py from one")
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-rfEs", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    lines = done.stdout.splitlines()
    if not lines:
        raise HtsatEdgeError("pytest does not run here: pip install pytest")
    apart = [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    yield {"status": done.returncode, "summary": lines[-1].strip("= "), "not passed": apart}


def run_onnxruntime(device: str) -> Iterator[Result]:
    """Time graphs, from log-mel to scores in memory of the CPU, by each provider that onnxruntime has here."""
    onnxruntime = load_onnxruntime()
    effort, bundle, offered = EFFORTS[device], load_bundle(BUNDLED), onnxruntime.get_available_providers()
    yield {"offered": offered}
    windows = cut_windows(bundle.info)
    torch.manual_seed(0)
    graphs = {"bundled": bundle.graph("fp32").read_bytes()}
    for name in effort.networks[1:2]:
        network = HTSAT(read_network(CONFIGS / "networks" / f"{name}.yaml")).eval()
        graphs[name] = build(network, FRAMES).SerializeToString()
    for (name, graph), batch in itertools.product(graphs.items(), (effort.batches[0], effort.batches[-1])):
        log_mel, wanted = np.resize(windows, (batch, *windows.shape[1:])), None
        for provider in filter(offered.__contains__, PROVIDERS):
            runs = 1 if provider == ON_CPU and device == "cuda" else effort.runs  # beside a GPU, for the scores alone
            try:
                scores, seconds = time_provider(onnxruntime, graph, provider, log_mel, runs)
            except Exception as error:  # onnxruntime's errors share no class of their own
                yield {f"{name}, batch {batch}, {provider}": {NOT_RUN: in_one_line(error)}}
                continue
            found: Result = {"p50_ms": 1000 * statistics.median(seconds), "runs": runs}
            if provider == ON_CPU:
                wanted = scores
            if wanted is not None:
                found["largest difference"] = float(np.abs(scores - wanted).max())
            yield {f"{name}, batch {batch}, {provider}": found}


def time_provider(
    onnxruntime: ModuleType, graph: bytes, provider: str, log_mel: FloatArray, runs: int
) -> tuple[FloatArray, list[float]]:
    """Return the scores that a provider gives, and the seconds of each run; one alone has none before it."""
    session = onnxruntime.InferenceSession(graph, providers=[(provider, PROVIDERS[provider])])
    if session.get_providers()[0] != provider:  # why, it says in its log alone
        raise HtsatEdgeError("a library that it needs is missing, or of another version")
    place = [output.name for output in session.get_outputs()].index("framewise")
    last: deque[list[FloatArray]] = deque(maxlen=1)
    seconds = time_calls(lambda: last.append(session.run(None, {"log_mel": log_mel})), runs, warm_up=int(runs > 1))
    return last[0][place], seconds


def run_engines(device: str) -> Iterator[Result]:  # noqa: ARG001
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
                if manifest.recipe.precision == precision:
                    yield {f"{precision} manifest": manifest.model_dump(mode="json")}


def run_roofline(device: str) -> Iterator[Result]:
    """Time networks, batches and precisions as export/roofline.py does, without the compiler."""
    effort = EFFORTS[device]
    yield from time_networks(device, effort.networks, effort.batches, roofline.EAGER)


def run_compiled(device: str) -> Iterator[Result]:
    """Do the same with torch's compiler, which may take a minute or two for each network, batch and precision."""
    effort = EFFORTS[device]
    yield from time_networks(device, effort.networks[:2], (effort.batches[0], effort.batches[-1]), roofline.COMPILED)


def time_networks(
    device: str, networks: tuple[str, ...], batches: tuple[int, ...], ways: tuple[str, ...]
) -> Iterator[Result]:
    """Yield the points of a roofline; of all networks those of the smallest batch first."""
    own, runs = torch.device(device), EFFORTS[device].runs
    for batch, name, precision in itertools.product(batches, networks, roofline.PRECISIONS):
        config = read_network(CONFIGS / "networks" / f"{name}.yaml")
        for row in roofline.measure(config, precision, own, batch, runs, roofline.for_one_shape, ways):
            yield {f"{name}, batch {batch}, {precision}, {row.way}": {**vars(row), "share": row.share}}


class FullPrecision(HTSAT):
    """The network, trained in float32, whatever `Training` would have."""

    def forward(self, log_mel: Tensor) -> NetworkOutput:
        with torch.autocast(log_mel.device.type, enabled=False):
            return super().forward(log_mel)


KINDS = {"float32": FullPrecision, "bfloat16": HTSAT}


def run_training(device: str) -> Iterator[Result]:
    """Train networks for some steps as htsat.train does, on scenes of the sounds that ship with the package."""
    with needing("training", "matplotlib", 'pip install "htsat-edge[train]"'):
        from htsat_edge.htsat.train import learn
    effort = EFFORTS[device]
    config, bundled = read_training(CONFIGS / "train.yaml")
    warm_up = min(WARM_UP_STEPS, effort.steps)
    config = config.model_copy(update={"batch": effort.clips, "steps": warm_up + effort.steps})
    negatives = load_negatives(bundled.front_end, [])
    assert negatives is not None
    sounds = negatives.sounds("train")
    labels = sorted({sound.recording.label for sound in sounds} - {BACKGROUND})
    batches = Batches(SceneMaker(sounds, labels, bundled.front_end, mix=config.mix), config)
    begun = time.perf_counter()
    log_mel, target = batches[0]
    yield {"scenes a second that one process draws": effort.clips / (time.perf_counter() - begun)}
    batch = (log_mel.pin_memory(), target.pin_memory()) if device == "cuda" else (log_mel, target)  # as a loader does
    for name, (precision, kind) in itertools.product(effort.networks, KINDS.items()):
        yield {f"{name}, {precision}": time_steps(begin(kind, name, config, len(labels)), batch, warm_up)}
    workers = (os.cpu_count() or 1) if device == "cuda" else 0
    training = begin(HTSAT, "bundled", config, len(labels))
    for step in learn(training, batches, workers):
        if step == warm_up:
            synchronise()
            begun = time.perf_counter()
    synchronise()
    rate = effort.steps * effort.clips / (time.perf_counter() - begun)
    yield {"bundled, bfloat16, with drawing": {"clips_per_s": rate, "clips": effort.clips, "workers": workers}}


def begin(kind: type[HTSAT], name: str, config: TrainConfig, outputs: int) -> Training:
    """Return the training of a network of configs/networks/ at its first step."""
    torch.manual_seed(config.seed)
    network = kind(read_network(CONFIGS / "networks" / f"{name}.yaml").model_copy(update={"classes": outputs}))
    initialise(network)
    set_drop_path(network, config.drop_path)
    return Training(network, config, identity="")


def time_steps(training: Training, batch: tuple[Tensor, Tensor], warm_up: int) -> Result:
    """Learn from the same batch again and again; return the rate, without the drawing, and the memory that it took."""
    log_mel, target = batch
    gpu = training.device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    try:
        for _ in range(warm_up):
            training.take_step(log_mel, target)
        synchronise()
        begun = time.perf_counter()
        while training.step < training.config.steps:
            training.take_step(log_mel, target)
        synchronise()
    except torch.OutOfMemoryError:
        return {NOT_RUN: f"{len(log_mel)} clips do not fit into the GPU's memory"}
    steps, seconds = training.config.steps - warm_up, time.perf_counter() - begun
    return {
        "clips_per_s": steps * len(log_mel) / seconds,
        "clips": len(log_mel),
        "ms_per_step": 1000 * seconds / steps,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if gpu else None,
        "first_loss": training.losses[0],
        "last_loss": training.losses[-1],
    }


def synchronise() -> None:
    """Wait for what the GPU was given to do, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
