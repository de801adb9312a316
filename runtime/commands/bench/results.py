"""The results of a bench, and the arithmetic on them.

`htsat-edge bench --json` prints a Bench. Suffixes say the unit: `_s` seconds, `_ms` milliseconds, `_mb` megabytes,
`_w` watts. A null is a value that could not be measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from htsat_edge.runtime.common.text import plural

Kind = Literal["bundle", "baseline", "gemm"]
BackendChoice = Literal["auto", "onnxruntime", "tensorrt"]
ON_CPU = "onnxruntime"
GEMM = {"m": 1024, "k": 1024, "n": 1024}
"""The matrix product that measures the machine's rate of multiplying: (m, k) by (k, n).

The model's weights are constants, which onnxruntime packs once, when it loads the graph. Here it packs the second
matrix in each run, which costs a few per cent.
"""


class Result(BaseModel):
    """A part of the results."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Candidate(Result):
    """What is timed, in a process of its own."""

    name: str
    kind: Kind
    """`bundle`: the model; `baseline`: a public model to compare with; `gemm`: a matrix product."""
    path: str = Field("", exclude=True)
    """The bundle or the ONNX file. It is not part of the JSON, which people publish."""
    precision: str | None = None
    """The precision of the bundle's graph or engine."""
    backend: BackendChoice = "onnxruntime"
    threads: int = 1
    """Threads of onnxruntime."""
    hop_s: float | None = None
    """Seconds between model runs; None where there is no stream, as for a baseline."""
    parameters: int | None = None
    """The number of parameters of a baseline."""
    batch: int = 1
    """Windows that are also scored at once, one of each source."""

    @property
    def title(self) -> str:
        """The candidate in words, such as `fp32, 2 threads`."""
        return f"{self.name}, {plural(self.threads, 'thread')}"


class Timing(Result):
    """Several runs of one task. With few runs p99 is the slowest of them."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    spread_ms: float
    """Half of the range from the 10th to the 90th percentile."""


class CandidateResult(Result):
    """What was measured of one candidate."""

    candidate: Candidate
    runs_on: str
    """`onnxruntime`, or TensorRT and the GPU."""
    startup_s: float
    """From the start of its process to its first scores."""
    peak_memory_mb: float
    """The peak of its process: Python, libraries, model and `batch` windows, but not a GPU's own memory."""
    model: Timing
    """From the log-mel of one window to its scores."""
    audio: Timing | None
    """From the samples of one window to its scores, computed at once."""
    hop: Timing | None
    """From the samples of one hop at 48 kHz to events, in a stream that goes on: each frame is computed once."""
    batch: Timing | None
    """From the log-mels of `candidate.batch` windows to their scores, at once."""
    real_time_factor: float | None
    """The time of `hop` divided by `candidate.hop_s`, for one source."""
    sources: int | None
    """How many sources this machine can follow with these threads and no other load."""
    gemm_share: float | None
    """The model's rate of multiplying divided by that of `gemm`, at the same precision and number of threads."""


class Gemm(Result):
    """How fast onnxruntime multiplies two large matrices on this machine; None where it could not."""

    threads: int
    fp32_gflops: float | None
    int8_gflops: float | None
    """Unsigned by signed integers."""


class DeviceInfo(Result):
    """The machine of a bench."""

    processor: str
    """The name of the board, as on a Jetson, or else of the processor."""
    cores: int
    """Cores that the process may run on."""
    memory_gb: float | None
    machine: str
    """JetPack, L4T and power mode on a Jetson, or else the architecture, such as x86_64."""
    clock_mhz: dict[str, float]
    """The first core's `median` clock during the bench, and its `max`, where the system reports them."""
    governor: str | None
    load_before: float | None
    """The load average of the minute before the bench: how many processes wanted to run."""
    power_w: float | None
    """The mean power of the whole board during the bench; None where nothing measures it."""


class Bench(Result):
    """All results of one bench."""

    bundle: str
    """The name of the model."""
    began: AwareDatetime
    device: DeviceInfo
    versions: dict[str, str]
    runs: int
    """Runs of each candidate."""
    multiply_adds_per_window: int | None
    """None where model.json does not have the network's size."""
    gemm: list[Gemm]
    measured: list[CandidateResult]
    not_run: dict[str, str]
    """The reasons why others were not timed, by name."""


class NetworkSize(BaseModel):
    """The part of a network's size, as model.json has it, that decides its multiply-adds."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class Observation:
    """What the process of one candidate reported, before any arithmetic."""

    candidate: Candidate
    startup_s: float
    peak_memory_mb: float
    runs_on: str
    seconds: dict[str, list[float]]
    """The seconds of each run, by task: `model`, `audio`, `hop`, `batch`."""


def summarise(observed: Observation, macs: int | None, gemm: Sequence[Gemm]) -> CandidateResult:
    """Return the figures of one candidate.

    Parameters
    ----------
    observed
        What its process reported.
    macs
        Multiply-adds of one window; None where they are not known.
    gemm
        The machine's rates of multiplying, one of each number of threads.
    """
    candidate, hop_s = observed.candidate, observed.candidate.hop_s
    found = {task: timing(seconds) for task, seconds in observed.seconds.items()}
    model, hop, batch = found["model"], found.get("hop"), found.get("batch")
    own = next((rate for rate in gemm if rate.threads == candidate.threads), None)
    on_cpu = candidate.kind == "bundle" and observed.runs_on == ON_CPU
    return CandidateResult(
        candidate=candidate,
        runs_on=observed.runs_on,
        startup_s=round(observed.startup_s, 3),
        peak_memory_mb=round(observed.peak_memory_mb, 1),
        model=model,
        audio=found.get("audio"),
        hop=hop,
        batch=batch,
        real_time_factor=None if hop is None or hop_s is None else round(hop.p50_ms / 1000 / hop_s, 6),
        sources=None if hop is None or hop_s is None else capacity(model, hop, hop_s, batch, candidate.batch),
        gemm_share=share(macs, model, candidate.precision or "", own) if macs and own and on_cpu else None,
    )


def gemm_rates(observed: Sequence[Observation], threads: Sequence[int]) -> list[Gemm]:
    """Return the machine's rates of multiplying for each number of threads, from the runs of the matrix products."""
    rates = {
        (one.candidate.name, one.candidate.threads): gflops(one.seconds["model"])
        for one in observed
        if one.candidate.kind == "gemm"
    }
    return [
        Gemm(
            threads=count,
            fp32_gflops=rates.get(("gemm-fp32", count)),
            int8_gflops=rates.get(("gemm-int8", count)),
        )
        for count in threads
    ]


def gflops(seconds: Sequence[float]) -> float:
    """Return the rate in GFLOP/s of runs of the product GEMM, two operations a multiply-add."""
    return round(2e-6 * math.prod(GEMM.values()) / timing(seconds).p50_ms, 1)


def capacity(model: Timing, hop: Timing, hop_s: float, batched: Timing | None, batch: int) -> int:
    """Return how many sources fill the time if each brings a window every `hop_s` seconds."""
    window_ms = model.p50_ms if batched is None else batched.p50_ms / batch
    around_ms = max(hop.p50_ms - model.p50_ms, 0)
    return int(1000 * hop_s / (window_ms + around_ms))


def share(macs: int, model: Timing, precision: str, gemm: Gemm) -> float | None:
    """Return a model's rate of multiplying divided by the machine's; None where that was not measured."""
    rate = gemm.int8_gflops if "int8" in precision else gemm.fp32_gflops
    return None if rate is None else round(2e-6 * macs / model.p50_ms / rate, 4)


def timing(seconds: Sequence[float]) -> Timing:
    """Return the percentiles of the seconds that each run took."""
    low, p50, p90, p99 = (float(x) for x in np.percentile(np.multiply(seconds, 1000), [10, 50, 90, 99]))
    digits = 4
    return Timing(
        runs=len(seconds),
        p50_ms=round(p50, digits),
        p90_ms=round(p90, digits),
        p99_ms=round(p99, digits),
        spread_ms=round((p90 - low) / 2, digits),
    )


def multiply_adds(network: NetworkSize) -> int:
    """Return the multiply-adds of HTS-AT on one window: linear layers, attention and head (sections 2.1 to 2.3)."""
    tokens, channels = 64 * 64, network.embed_dim
    total = tokens * 16 * channels  # patches of 4 x 4
    for i, depth in enumerate(network.depths):
        linear = 12 * tokens * channels**2  # query, key, value, projection, and twice four of the MLP
        attention = 2 * tokens * 64 * channels  # each token with the 64 of its attention window
        total += depth * (linear + attention)
        if i < len(network.depths) - 1:
            total += 2 * tokens * channels**2  # four tokens of C channels become one of 2 C
            tokens, channels = tokens // 4, 2 * channels
    return total + 32 * 2 * channels * 3 * network.classes  # steps, frequency bands, and three steps each looks at
