"""The process in which one contender runs.

python -m htsat_edge.runtime.commands.bench.worker CONTENDER PATH

It opens what it is told to as JSON, says so after the first scores, and then times one run of whatever a line on stdin
names. It answers on stdout, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from htsat_edge.runtime.commands.bench.results import GEMM, ON_CPU, Contender
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, Settings
from htsat_edge.runtime.dsp.log_mel import LogMel
from htsat_edge.runtime.models.backends import Backend, open_backend
from htsat_edge.runtime.models.backends.ort import OrtBackend, open_session
from htsat_edge.runtime.models.bundle import ModelInfo, read_bundle

Task = Callable[[], object]
RATE_HZ = 48_000
"""What most sound cards give."""


def main() -> int:
    """Serve until stdin ends."""
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to stderr
    contender = Contender.model_validate_json(sys.argv[1]).model_copy(update={"path": sys.argv[2]})

    def tell(**answer: Any) -> None:
        told.write(json.dumps(answer) + "\n")

    try:
        make_tasks = open_contender(contender)
        tell(ready=True)
        about, tasks = make_tasks()
        tell(tasks=list(tasks), **about)
        for line in sys.stdin:
            task = tasks[line.strip()]
            task()  # what ran before has taken the cache
            begun = time.perf_counter()
            task()
            tell(seconds=time.perf_counter() - begun, peak_mb=peak_mb())
    except BrokenPipeError:  # the bench has gone; what is buffered for it must not be flushed at exit
        os._exit(1)
    except Exception as error:  # libraries' errors share no class of their own
        name = "" if isinstance(error, HtsatEdgeError) else f"{type(error).__name__}: "
        tell(failed=name + " ".join(str(error).split()))
        return 1
    return 0


def open_contender(contender: Contender) -> Callable[[], tuple[dict[str, Any], dict[str, Task]]]:
    """Load it and let it score once; what then makes ready what is to be told of it, and what can be timed."""
    if contender.kind == "bundle":
        return open_bundle(contender)
    session = open_session(Path(contender.path), contender.threads)
    inputs = {x.name: draw(x.type, x.shape) for x in session.get_inputs()}
    session.run(None, inputs)
    return lambda: ({"runs_on": ON_CPU}, {"model": lambda: session.run(None, inputs)})


def draw(kind: str, shape: list[int | str]) -> np.ndarray[Any, Any]:
    """An input of a graph: random integers, or a log-mel in dB; what a graph leaves open is GEMM's, or one clip."""
    rng, sizes = np.random.default_rng(0), [size if isinstance(size, int) else GEMM.get(size, 1) for size in shape]
    types = {"tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    if kind in types:
        limits = np.iinfo(types[kind])
        return np.asarray(rng.integers(limits.min, limits.max, sizes, types[kind], endpoint=True))
    return np.asarray(rng.normal(-40, 20, sizes), np.float32)


def open_bundle(contender: Contender) -> Callable[[], tuple[dict[str, Any], dict[str, Task]]]:
    """The same for a model of ours."""
    bundle = read_bundle(Path(contender.path))
    info = bundle.info
    backend = open_backend(bundle, contender.precision, contender.backend, threads=contender.threads)
    log_mels = np.asarray(draw("tensor(float)", [contender.batch, info.frames, info.front_end.n_mels]))
    backend.infer(log_mels[:1])

    def make_tasks() -> tuple[dict[str, Any], dict[str, Task]]:
        hop_s, hop = listen_to(backend, info, contender)
        log_mel, samples = LogMel(info.front_end), noise((info.frames - 1) * info.front_end.hop)
        tasks: dict[str, Task] = {
            "model": lambda: backend.infer(log_mels[:1]),
            "audio": lambda: backend.infer(log_mel(samples)[None]),
            "hop": hop,
        }
        if contender.batch > 1:
            tasks["batch"] = lambda: backend.infer(log_mels)
        return {"runs_on": runs_on(backend), "hop_s": hop_s}, tasks

    return make_tasks


def runs_on(backend: Backend) -> str:
    """What runs a model, and for an engine, where."""
    if isinstance(backend, OrtBackend):
        return ON_CPU
    from htsat_edge.runtime.models.backends.trt import open_device

    return f"TensorRT on {open_device().gpu}"


def listen_to(backend: Backend, info: ModelInfo, contender: Contender) -> tuple[float, Task]:
    """A detector that has heard a clip already: the hop in seconds, and what takes the next one."""
    detector = Detector(info, backend, RATE_HZ, Settings(hop_s=contender.hop_s))
    hop_s = detector.grid.hop_steps * info.step_s
    hop = noise(round(hop_s * RATE_HZ))
    for _ in range(round(info.steps / detector.grid.hop_steps) + 1):
        detector.push(hop)
    return hop_s, lambda: detector.push(hop)


def noise(samples: int) -> FloatArray:
    """Of -20 dBFS."""
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


def peak_mb() -> float:
    """The most memory that this process has had."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux's rusage begins with what the parent had
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    sys.exit(main())
