"""The process in which one candidate runs.

python -m htsat_edge.runtime.commands.bench.worker CANDIDATE PATH

It loads the candidate, which is given as JSON, and reports when it has scored once. Then it times one run of each task
that a line on stdin names. Its answers are lines of JSON on stdout.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from htsat_edge.runtime.commands.bench.results import GEMM, ON_CPU, Candidate
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.log_mel import LogMel
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.ort import OrtBackend, open_session
from htsat_edge.runtime.models.bundle import ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

Task = Callable[[], object]
RATE_HZ = 48_000
"""The sample rate of most sound cards."""


@dataclass(frozen=True)
class Tasks:
    """What can be timed of a candidate."""

    by_name: dict[str, Task]
    """Such as `model`, `hop`."""
    runs_on: str


def main() -> int:
    """Answer requests until stdin ends; return the exit status."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to stderr
    candidate = Candidate.model_validate_json(sys.argv[1]).model_copy(update={"path": sys.argv[2]})

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        make_tasks = open_candidate(candidate)
        answer(ready=True)
        tasks = make_tasks()
        answer(tasks=list(tasks.by_name), runs_on=tasks.runs_on)
        for line in sys.stdin:
            # Other processes have run since: an uncounted run brings the model back into the cache.
            (seconds,) = time_calls(tasks.by_name[line.strip()], runs=1, warm_up=1)
            answer(seconds=seconds, peak_memory_mb=peak_memory_mb())
    except BrokenPipeError:  # the bench has ended; what is buffered for it must not be flushed at exit
        os._exit(1)
    except Exception as error:  # libraries' errors share no class of their own
        name = "" if isinstance(error, HtsatEdgeError) else f"{type(error).__name__}: "
        answer(failed=name + " ".join(str(error).split()))
        return 1
    return 0


def open_candidate(candidate: Candidate) -> Callable[[], Tasks]:
    """Load a candidate and let it score once; return a function that prepares its tasks."""
    if candidate.kind == "bundle":
        return open_bundle(candidate)
    session = open_session(Path(candidate.path), candidate.threads)
    inputs = {x.name: draw(x.type, x.shape) for x in session.get_inputs()}
    session.run(None, inputs)
    return lambda: Tasks({"model": lambda: session.run(None, inputs)}, ON_CPU)


def draw(kind: str, shape: list[int | str]) -> np.ndarray[Any, Any]:
    """Draw an input of a graph: random integers, or a log-mel in dB.

    Sizes that the graph leaves open are those of GEMM, or 1.
    """
    rng, sizes = np.random.default_rng(0), [size if isinstance(size, int) else GEMM.get(size, 1) for size in shape]
    types = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    if kind in types:
        limits = np.iinfo(types[kind])
        return np.asarray(rng.integers(limits.min, limits.max, sizes, types[kind], endpoint=True))
    return np.asarray(rng.normal(-40, 20, sizes), np.float32)


def open_bundle(candidate: Candidate) -> Callable[[], Tasks]:
    """Load a model of a bundle and let it score once; return a function that prepares its tasks."""
    bundle = load_bundle(Path(candidate.path))
    backend = open_backend(bundle, candidate.precision, candidate.backend, threads=candidate.threads)
    backend.infer(draw_windows(bundle.info, 1))
    return lambda: make_tasks(backend, bundle.info, candidate)


def make_tasks(backend: Backend, info: ModelInfo, candidate: Candidate) -> Tasks:
    """Prepare the tasks of a model: inputs, and a detector in the midst of a stream."""
    window, windows = draw_windows(info, 1), draw_windows(info, candidate.batch)
    log_mel, samples = LogMel(info.front_end), noise((info.frames - 1) * info.front_end.hop)
    tasks: dict[str, Task] = {
        "model": lambda: backend.infer(window),
        "audio": lambda: backend.infer(log_mel(samples)[None]),
        "hop": make_hop(backend, info, Settings(hop_s=candidate.hop_s)),
    }
    if candidate.batch > 1:
        tasks["batch"] = lambda: backend.infer(windows)
    return Tasks(tasks, runs_on(backend))


def draw_windows(info: ModelInfo, count: int) -> FloatArray:
    """Draw the log-mels of windows, (count, frames, mels)."""
    return np.asarray(draw("tensor(float)", [count, info.frames, info.front_end.n_mels]))


def runs_on(backend: Backend) -> str:
    """Return what runs a model; for an engine, with the name of the GPU."""
    if isinstance(backend, OrtBackend):
        return ON_CPU
    from htsat_edge.runtime.models.backends.gpu import open_device

    return f"TensorRT on {open_device().gpu}"


def make_hop(backend: Backend, info: ModelInfo, settings: Settings) -> Task:
    """Fill a detector with one window; return the task of pushing one more hop, which completes a window each time."""
    detector, hop_steps = Detector(info, backend, RATE_HZ, settings), settings.grid(info).hop_steps
    hop = noise(round(hop_steps * info.step_s * RATE_HZ))
    # Every second window is early: where pushes ended with the others, each would complete two windows, or none.
    detector.push(hop[: len(hop) // 2])
    for _ in range(round(info.steps / hop_steps) + 1):
        detector.push(hop)
    return lambda: detector.push(hop)


def noise(samples: int) -> FloatArray:
    """Return white noise at -20 dBFS, (samples,)."""
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


def peak_memory_mb() -> float:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's rusage begins with what the parent had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    sys.exit(main())
