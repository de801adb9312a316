"""Validate an engine on the device: compare it with fp32.onnx, and measure how long it takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np

from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.evaluation.playback import logits
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.detector import WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends.backend import Backend, Scores, join
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo
from htsat_edge.runtime.models.engines import Latency, Validation
from htsat_edge.runtime.models.settings import Settings

RECORDING = BUNDLED.parent / "check" / "farmyard.ogg"
RUNS = 200
WARM_UP = 50
EMBEDDING_DB = 20.0
"""The least SNR of the embeddings. They suffer more from 8 bits than the scores: 31 dB in the bundled model."""
logger = logging.getLogger(__name__)


def validate(
    bundle: Bundle, open_engine: Callable[[bool], Backend], batch: tuple[int, int, int], budget_db: float, graphs: bool
) -> tuple[Latency, Validation, str | None]:
    """Run an engine on the windows of a real recording, and compare its scores with those of fp32.onnx.

    The engine scores single windows, then the largest batch, and single windows again, since each may be wrong alone.

    Parameters
    ----------
    bundle
        The bundle that the engine was built from.
    open_engine
        Opens the engine; its argument says whether to launch the work as a CUDA graph.
    batch
        The engine's batch sizes: fewest, what it is tuned for, most. The latency is that of the second.
    budget_db
        The least SNR that the logits must have.
    graphs
        Whether to try a CUDA graph, which is used where the scores are equal to the bit and come sooner.

    Returns
    -------
    tuple
        The latency, the comparison, and why the engine must not be used, None if it may.
    """
    windows = cut_windows(bundle.info)
    reference = OrtBackend(bundle.graph("fp32"), bundle.info)
    wanted = join([reference.infer(window[None]) for window in windows])
    reference.close()
    plain = open_engine(False)
    try:
        found = [score(plain, windows, size) for size in (1, batch[2], 1)]
        latency = measure(plain, windows[: batch[1]], batch[1], cuda_graph=False)
    finally:
        plain.close()
    validation, rejection = compare(bundle.info, wanted, found, budget_db)
    if graphs and rejection is None:
        try:
            recorded = open_engine(True)
            try:
                same = all(map(equal, [score(recorded, windows, size) for size in (1, batch[2], 1)], found))
                other = measure(recorded, windows[: batch[1]], batch[1], cuda_graph=True)
            finally:
                recorded.close()
            latency = other if same and other.p50_ms < latency.p50_ms else latency
        except HtsatEdgeError as error:  # not every engine can be recorded
            logger.debug("no CUDA graph: %s", error)
    return latency, validation, rejection


def cut_windows(info: ModelInfo) -> FloatArray:
    """Return the windows (N, T, F) of the recording, as the detector cuts them, an eighth of a window apart."""
    file = AudioFile(RECORDING)
    stream = WindowStream(info, file.sample_rate, Settings(hop_s=info.steps * info.step_s / 8))
    windows = [window for block in file.blocks(file.sample_rate) for window in stream.push(block)]
    return np.stack([window.log_mel for window in [*windows, *stream.flush()]])


def compare(
    info: ModelInfo, wanted: Scores, found: Sequence[Scores], budget_db: float
) -> tuple[Validation, str | None]:
    """Compare the scores of an engine, once for each size of batch, with those of fp32 for the same windows.

    Return the comparison, and why the engine must not be used, None if it may.
    """
    ours, theirs = join(found), join([wanted] * len(found))
    difference = np.abs(ours.framewise - theirs.framewise).max(axis=(0, 1))
    threshold = Settings().rule(info).threshold

    def as_logits(clipwise: FloatArray) -> FloatArray:
        return clipwise if info.loss == "ce" else logits(clipwise)

    snr = min(
        snr_db(logits(theirs.framewise), logits(ours.framewise)),
        snr_db(as_logits(theirs.clipwise), as_logits(ours.clipwise)),
    )
    embedding_snr = snr_db(theirs.embedding, ours.embedding)
    if theirs.frame_embedding is not None and ours.frame_embedding is not None:
        embedding_snr = min(embedding_snr, snr_db(theirs.frame_embedding, ours.frame_embedding))
    rejection = None
    if not all(np.isfinite(output).all() for output in ours.outputs().values()):
        rejection = "some of its scores are not numbers"
    elif snr < budget_db:
        rejection = below_budget("logit", snr, budget_db)
    elif embedding_snr < EMBEDDING_DB:
        rejection = below_budget("embedding", embedding_snr, EMBEDDING_DB)
    return Validation(
        recording=RECORDING.name,
        windows=len(wanted.framewise),
        logit_snr_db=round(snr, 1) if math.isfinite(snr) else None,
        embedding_snr_db=round(embedding_snr, 1) if math.isfinite(embedding_snr) else None,
        budget_db=budget_db,
        largest_difference={
            label: round(float(x), 5) for label, x in zip(info.labels, np.nan_to_num(difference), strict=True)
        },
        decisions_changed=float(np.mean((ours.framewise >= threshold) != (theirs.framewise >= threshold))),
    ), rejection


def below_budget(what: str, snr: float, budget_db: float) -> str:
    """Return why an engine is rejected whose output is too far from that of fp32."""
    return f"its {what} SNR to fp32 is {snr:.1f} dB, want {budget_db:g} dB or more"


def score(backend: Backend, windows: FloatArray, size: int) -> Scores:
    """Return a backend's scores of windows (N, T, F), in batches of `size`."""
    return join([backend.infer(windows[i : i + size]) for i in range(0, len(windows), size)])


def equal(one: Scores, other: Scores) -> bool:
    """Return whether scores are equal to the bit."""
    a, b = one.outputs(), other.outputs()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def measure(backend: Backend, windows: FloatArray, batch: int, cuda_graph: bool) -> Latency:
    """Measure warmed runs one after the other, of windows (batch, T, F), from array to arrays."""
    windows = np.resize(windows, (batch, *windows.shape[1:]))
    times = time_calls(lambda: backend.infer(windows), RUNS, WARM_UP)
    p50, p99 = 1000 * np.percentile(times, [50, 99])
    return Latency(
        p50_ms=round(float(p50), 3),
        p99_ms=round(float(p99), 3),
        runs=RUNS,
        warm_up=WARM_UP,
        batch=batch,
        cuda_graph=cuda_graph,
    )
