"""What a bench finds out, and the arithmetic on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Kind = Literal["bundle", "peer", "gemm"]
ON_CPU = "onnxruntime"
GEMM = {"m": 1024, "k": 1024, "n": 1024}
"""The product that tells how fast the machine multiplies, (m, k) by (k, n).

The model's second matrices are constants, made ready beforehand; this one is made ready in each run, which costs a few
per cent.
"""


class Result(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Contender(Result):
    """What is timed, in a process of its own."""

    name: str
    kind: Kind
    path: str = Field("", exclude=True)
    """Of the bundle, or of the ONNX file; it stays on this machine."""
    precision: str | None = None
    """Of the bundle's graph or engine."""
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "onnxruntime"
    threads: int = 1
    """Of onnxruntime."""
    hop_s: float | None = None
    """From one run of the model to the next, as `htsat-edge detect` takes it."""
    parameters: int | None = None
    """Of a peer."""
    batch: int = 1
    """Clips that are also scored at once, one of each source."""


class Timing(Result):
    """Some runs of one thing, in milliseconds. Of few runs p99 is the slowest."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    spread_ms: float
    """Half of what lies between the tenth and the ninetieth of a hundred runs."""


class Measured(Result):
    """What was found out about one contender."""

    contender: Contender
    runs_on: str
    """ON_CPU, or TensorRT and the GPU."""
    startup_s: float
    """From the start of its process to its first scores."""
    peak_mb: float
    """Of its process: Python, libraries, model and all, with `batch` clips at once; a GPU's own memory is not in it."""
    model: Timing
    """Log-mel of one clip to scores."""
    audio: Timing | None
    """Samples of one clip to scores, at once."""
    hop: Timing | None
    """The samples of one hop to events, as a detector does it without end: resampled from 48 kHz, each frame once."""
    batch: Timing | None
    """The log-mels of `contender.batch` clips at once."""
    hop_s: float | None
    real_time_factor: float | None
    """Of one source: the share of the time that its detection takes."""
    sources: int | None
    """How many sources this machine could hear, with these threads and nothing else to do."""
    gemm_share: float | None
    """How much of the machine's rate of multiplying the model reaches, at its precision and with its threads."""


class Gemm(Result):
    """How fast the machine multiplies two large matrices, with onnxruntime's own product; None where it could not."""

    threads: int
    fp32_gflops: float | None
    int8_gflops: float | None
    """Unsigned times signed."""


class Device(Result):
    """What it was measured on."""

    processor: str
    """As it calls itself, or the board that it is on."""
    cores: int
    """That the process may run on."""
    memory_gb: float | None
    machine: str
    """x86_64, or JetPack, L4T and power mode."""
    clock_mhz: dict[str, float]
    """The first core's median over the bench, and its highest, where the system tells."""
    governor: str | None
    load: float | None
    """How many processes wanted to run in the minute before."""
    watts: float | None
    """The whole board's, on average over the bench; None where nothing measures it."""


class Bench(Result):
    """All of it."""

    bundle: str
    began: AwareDatetime
    device: Device
    versions: dict[str, str]
    runs: int
    macs: int | None
    """Multiply-adds of a clip; None where model.json does not tell the network."""
    gemm: list[Gemm]
    measured: list[Measured]
    not_run: dict[str, str]
    """By contender: why."""


class Network(BaseModel):
    """What of a network's size its multiply-adds depend on, as model.json has it."""

    embed_dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    classes: int


def capacity(model: Timing, hop: Timing, hop_s: float, batched: Timing | None, batch: int) -> int:
    """How many sources fill the time, if each brings a clip every `hop_s` seconds."""
    clip_ms = model.p50_ms if batched is None else batched.p50_ms / batch
    around_ms = max(hop.p50_ms - model.p50_ms, 0)
    return int(1000 * hop_s / (clip_ms + around_ms))


def share(macs: int, model: Timing, precision: str, gemm: Gemm) -> float | None:
    """How much of the machine's rate of multiplying a model reaches."""
    rate = gemm.int8_gflops if "int8" in precision else gemm.fp32_gflops
    return None if rate is None else 2e-6 * macs / model.p50_ms / rate


def timing(seconds: Sequence[float]) -> Timing:
    """The figures of some runs."""
    low, p50, p90, p99 = (float(x) for x in np.percentile(np.multiply(seconds, 1000), [10, 50, 90, 99]))
    digits = 4
    return Timing(
        runs=len(seconds),
        p50_ms=round(p50, digits),
        p90_ms=round(p90, digits),
        p99_ms=round(p99, digits),
        spread_ms=round((p90 - low) / 2, digits),
    )


def multiply_adds(network: Network) -> int:
    """Of HTS-AT on one clip: its linear layers, attention and head (sections 2.1 to 2.3)."""
    tokens, channels = 64 * 64, network.embed_dim
    total = tokens * 16 * channels  # patches of 4 x 4
    for i, depth in enumerate(network.depths):
        linear = 12 * tokens * channels**2  # query, key, value, projection, and twice four of the MLP
        attention = 2 * tokens * 64 * channels  # each token with the 64 of its window
        total += depth * (linear + attention)
        if i < len(network.depths) - 1:
            total += 2 * tokens * channels**2  # four tokens of C channels become one of 2 C
            tokens, channels = tokens // 4, 2 * channels
    return total + 32 * 2 * channels * 3 * network.classes  # steps, frequency bands, and three steps each looks at
