"""What a bench finds out, and the arithmetic on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

Kind = Literal["bundle", "peer", "gemm"]
SIDE = 1024
"""Of the matrices whose product tells how fast the machine multiplies."""


class Result(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Contender(Result):
    """What is timed, in a process of its own."""

    name: str
    kind: Kind
    path: str
    """Of the bundle, or of the ONNX file."""
    precision: str | None = None
    """Of the bundle's graph or engine."""
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "onnxruntime"
    threads: int = 1
    """Of onnxruntime."""
    hop_s: float | None = None
    """From one run of the model to the next, as `htsat-edge detect` takes it."""
    parameters: int | None = None
    """Of a peer."""
    sources: int = 1
    """Clips that are also scored at once."""


class Timing(Result):
    """Some runs of one thing, in milliseconds."""

    runs: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    spread_ms: float
    """Half of what lies between the tenth and the ninetieth of a hundred runs: how far another median may be off."""


class Measured(Result):
    """What was found out about one contender."""

    contender: Contender
    runs_on: str
    """onnxruntime, TensorRT."""
    startup_s: float
    """From the start of its process to its first scores."""
    peak_mb: float
    """Of memory, in its process: Python, libraries, model and all."""
    model: Timing
    """Log-mel of one clip to scores."""
    audio: Timing | None
    """Samples of one clip to scores, at once."""
    hop: Timing | None
    """The samples of one hop to events, as a detector does it without end: resampled from 48 kHz, each frame once."""
    batch: Timing | None
    """As many clips at once as there are sources."""
    hop_s: float | None

    @property
    def real_time_factor(self) -> float | None:
        """Of one source: the share of the time that its detection takes."""
        return None if self.hop is None or self.hop_s is None else self.hop.p50_ms / 1000 / self.hop_s

    @property
    def sources(self) -> int | None:
        """How many sources the device could detect in, with these threads and nothing else to do."""
        factor = self.real_time_factor
        if factor is None or self.batch is None:
            return None if factor is None else int(1 / factor)
        assert self.hop_s is not None
        extra_ms = max(self.hop.p50_ms - self.model.p50_ms, 0) if self.hop else 0
        return int(1000 * self.hop_s / (self.batch.p50_ms / self.contender.sources + extra_ms))


class Gemm(Result):
    """What the machine multiplies, with onnxruntime's own matrix product of 1024 × 1024 matrices."""

    threads: int
    fp32_gflops: float
    int8_gflops: float
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
    """The first core's at the end of the bench, and its highest, where the system tells."""
    governor: str | None
    load: float | None
    """How many processes wanted to run in the minute before: above 0.2 somebody else was at work."""
    watts: float | None
    """The whole board's, on average over the bench; None where nothing measures it."""


class Bench(Result):
    """All of it."""

    bundle: str
    device: Device
    versions: dict[str, str]
    runs: int
    macs: int | None
    """Multiply-adds of a clip; None where model.json does not tell the network."""
    gemm: list[Gemm]
    measured: list[Measured]
    not_run: dict[str, str]
    """By contender: why."""

    def share(self, measured: Measured) -> float | None:
        """How much of the machine's multiplying a contender reaches, at its precision and with its threads."""
        gemm = next((gemm for gemm in self.gemm if gemm.threads == measured.contender.threads), None)
        if (
            self.macs is None
            or gemm is None
            or measured.contender.kind != "bundle"
            or measured.runs_on != "onnxruntime"
        ):
            return None
        rate = gemm.int8_gflops if "int8" in (measured.contender.precision or "") else gemm.fp32_gflops
        return 2e-6 * self.macs / measured.model.p50_ms / rate


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


def multiply_adds(embed_dim: int, depths: Sequence[int], classes: int) -> int:
    """Of HTS-AT on one clip: its linear layers, attention and head (sections 2.1 to 2.3)."""
    tokens, channels = 64 * 64, embed_dim
    total = tokens * 16 * channels  # patches of 4 x 4
    for i, depth in enumerate(depths):
        linear = 12 * tokens * channels**2  # query, key, value, projection, and twice four of the MLP
        attention = 2 * tokens * 64 * channels  # each token with the 64 of its window
        total += depth * (linear + attention)
        if i < len(depths) - 1:
            total += 2 * tokens * channels**2  # four tokens of C channels become one of 2 C
            tokens, channels = tokens // 4, 2 * channels
    return total + 32 * 2 * channels * 3 * classes  # steps, frequency bands, and three steps each looks at
