"""What an engine is worth on the device: how far it is from fp32.onnx, and how long it takes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.evaluation.playback import logits
from htsat_edge.evaluation.windows import Listener
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, Settings, make_rule
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import Backend, Scores
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo
from htsat_edge.runtime.models.engines import Check, Latency

MATERIAL = BUNDLED.parent / "check" / "farmyard.ogg"
RUNS = 200
WARM_UP = 50
EMBEDDING_DB = 20.0
"""8 bits cost it more than the scores: 34 dB in the bundled model."""
logger = logging.getLogger(__name__)


def prove(
    bundle: Bundle, open_engine: Callable[[bool], Backend], batch: tuple[int, int, int], budget_db: float, graphs: bool
) -> tuple[Latency, Check, str | None]:
    """Run an engine on the clips of a real recording: how fast, how near to fp32, and why it must not be used, if so.

    `open_engine` is told whether to launch the work as a CUDA graph, which is tried where there are `graphs`, and taken
    where the answers are the same to the bit and come sooner. An engine is asked for single clips, for the largest
    batch, and for single clips again, since each may be wrong alone.
    """
    clips = cut(bundle.info)
    reference = OrtBackend(bundle.graph("fp32"), bundle.info)
    wanted = join([reference.infer(clip[None]) for clip in clips])
    reference.close()
    plain = open_engine(False)
    try:
        found = [answers(plain, clips, size) for size in (1, batch[2], 1)]
        latency = measure(plain, clips[: batch[1]], batch[1], cuda_graph=False)
    finally:
        plain.close()
    check, broken = compare(bundle.info, wanted, found, budget_db)
    if graphs and broken is None:
        try:
            whole = open_engine(True)
            try:
                same = all(map(equal, [answers(whole, clips, size) for size in (1, batch[2], 1)], found))
                other = measure(whole, clips[: batch[1]], batch[1], cuda_graph=True)
            finally:
                whole.close()
            latency = other if same and other.p50_ms < latency.p50_ms else latency
        except HtsatEdgeError as error:  # recording is not for every engine; launching is
            logger.debug("no CUDA graph: %s", error)
    return latency, check, broken


def cut(info: ModelInfo) -> FloatArray:
    """The clips (N, T, F) of the recording, as the detector cuts them."""
    file, listener = AudioFile(MATERIAL), Listener(info)
    detector = Detector(info, listener, file.sample_rate)
    for block in file.blocks(file.sample_rate):
        detector.push(block)
    detector.close()
    return np.stack(listener.clips)


def compare(info: ModelInfo, wanted: Scores, found: Sequence[Scores], budget_db: float) -> tuple[Check, str | None]:
    """The answers of an engine for some clips beside those of fp32, the engine's once for each size of batch."""
    ours, theirs = join(found), join([wanted] * len(found))
    off = np.abs(ours.framewise - theirs.framewise).max(axis=(0, 1))
    threshold = make_rule(info, Settings()).threshold

    def plain(clipwise: FloatArray) -> FloatArray:
        return clipwise if info.loss == "ce" else logits(clipwise)

    snr = min(
        snr_db(logits(theirs.framewise), logits(ours.framewise)), snr_db(plain(theirs.clipwise), plain(ours.clipwise))
    )
    embedding_snr = snr_db(theirs.embedding, ours.embedding)
    broken = None
    if not all(np.isfinite(output).all() for output in ours):
        broken = "it gives scores that are no numbers"
    elif snr < budget_db:
        broken = f"its logits are within {snr:.1f} dB of fp32, want {budget_db:g}"
    elif embedding_snr < EMBEDDING_DB:
        broken = f"its embedding is within {embedding_snr:.1f} dB of that of fp32, want {EMBEDDING_DB:g}"
    return Check(
        material=MATERIAL.name,
        clips=len(wanted.framewise),
        logit_snr_db=round(snr, 1) if math.isfinite(snr) else None,
        embedding_snr_db=round(embedding_snr, 1) if math.isfinite(embedding_snr) else None,
        budget_db=budget_db,
        largest_difference={
            label: round(float(x), 5) for label, x in zip(info.labels, np.nan_to_num(off), strict=True)
        },
        decisions_changed=float(np.mean((ours.framewise >= threshold) != (theirs.framewise >= threshold))),
    ), broken


def answers(backend: Backend, clips: FloatArray, size: int) -> Scores:
    """What a backend gives for clips, so many at a time."""
    return join([backend.infer(clips[i : i + size]) for i in range(0, len(clips), size)])


def join(parts: Sequence[Scores]) -> Scores:
    """One after the other."""
    return Scores(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def equal(one: Scores, other: Scores) -> bool:
    """To the bit."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def measure(backend: Backend, clips: FloatArray, batch: int, cuda_graph: bool) -> Latency:
    """Times of warmed runs one after the other, of clips (batch, T, F), from array to arrays."""
    clips = np.resize(clips, (batch, *clips.shape[1:]))
    times = []
    for _ in range(WARM_UP + RUNS):
        begun = time.perf_counter()
        backend.infer(clips)
        times.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.percentile(times[WARM_UP:], [50, 99])
    return Latency(
        p50_ms=round(float(p50), 3),
        p99_ms=round(float(p99), 3),
        runs=RUNS,
        warm_up=WARM_UP,
        batch=batch,
        cuda_graph=cuda_graph,
    )
