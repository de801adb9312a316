"""What runs a model: two verbs, `infer` and `close`. Each library is imported only where it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import MODEL_FILE, Bundle, ModelInfo

if TYPE_CHECKING:
    from htsat_edge.runtime.models.engines import Flavour

Kind = Literal["auto", "onnxruntime", "tensorrt"]
logger = logging.getLogger(__name__)


class Scores(NamedTuple):
    """What the model says of clips."""

    framewise: FloatArray
    """(B, steps, C), in [0, 1]."""
    clipwise: FloatArray
    """(B, C)."""
    embedding: FloatArray
    """(B, channels)."""


OUTPUTS = list(Scores._fields)


class Backend(Protocol):
    """A loaded model. Call it from one thread only."""

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score clips, log_mel (B, T, F) in dB. The result is the caller's to keep."""
        ...

    def close(self) -> None:
        """Release what the model holds."""
        ...


def open_backend(
    bundle: Bundle,
    precision: str | None = None,
    kind: Kind = "auto",
    build: bool = False,
    threads: int | None = None,
) -> Backend:
    """Load a bundle's model: an engine that was proven on this machine, else a graph on onnxruntime.

    Without a `precision` it is the one that was measured to be the best here. `build` is for programs that never end:
    where no engine fits, onnxruntime runs the model at once, an engine is built in the background and then takes over;
    and should the GPU fail, onnxruntime takes over again. `threads` are onnxruntime's, by default one for each core.
    An HtsatEdgeError says what cannot be; with `auto`, why no engine is used is logged, if one could be expected.
    """
    if kind == "onnxruntime":
        return open_ort(bundle, precision, threads)
    from htsat_edge.runtime.models.backends.trt import installed_flavour, open_engine
    from htsat_edge.runtime.models.engines import PRECISIONS, NoEngine, how_to_build, read_passports

    installed = installed_flavour()
    flavour = installed or "tensorrt"  # of which loading says how to install it
    try:
        engine = open_engine(bundle, flavour, precision)
    except HtsatEdgeError as error:
        reason = error
    else:
        return engine if not build else open_standby(bundle, precision, flavour, engine, threads)
    can_build = isinstance(reason, NoEngine) and precision in (None, *PRECISIONS)
    told = f"{reason}; {how_to_build(bundle, precision)}" if can_build else str(reason)
    if not build and kind == "tensorrt":
        raise HtsatEdgeError(told)
    if build and can_build:
        logger.warning("%s; it is built in the background, and until then onnxruntime runs the model", reason)
        return open_standby(bundle, precision, flavour, None, threads)
    if (build and installed) or read_passports(bundle):
        logger.warning("%s", told)
    return open_ort(bundle, precision, threads)


def open_ort(bundle: Bundle, precision: str | None, threads: int | None) -> Backend:
    """A graph on onnxruntime."""
    from htsat_edge.runtime.models.backends.ort import OrtBackend

    chosen = precision or bundle.recommended()
    try:
        return OrtBackend(bundle.graph(chosen), bundle.info, threads)
    except HtsatEdgeError as error:
        if precision is not None or chosen == "fp32":
            raise
        # The graphs for a CPU have ops that an old onnxruntime does not know.
        logger.warning("%s; fp32.onnx is used", error)
    return OrtBackend(bundle.graph("fp32"), bundle.info, threads)


def open_standby(
    bundle: Bundle, precision: str | None, flavour: Flavour, engine: Backend | None, threads: int | None
) -> Backend:
    """An engine that gives way to onnxruntime should the GPU fail; without one it is built, and then takes over."""
    from htsat_edge.runtime.models.backends.fallback import Standby, start_build
    from htsat_edge.runtime.models.backends.trt import open_engine

    def on_cpu() -> Backend:
        # The precision is one of engines, which the bundle may have no graph of.
        return open_ort(bundle, precision if precision in bundle.precisions() else None, threads)

    def on_gpu() -> Backend:
        return open_engine(bundle, flavour, precision)

    if engine is not None:
        return Standby(engine, on_cpu, on_gpu, None)
    first = on_cpu()  # before anything is started that would have to be stopped
    return Standby(first, on_cpu, on_gpu, start_build(bundle, flavour, precision))


def check_shapes(what: str, shapes: Mapping[str, Sequence[int]], info: ModelInfo) -> None:
    """The tensors of a model, by name, without the batch axis, must be those that model.json tells of."""
    if not shapes.keys() >= {"log_mel", *OUTPUTS}:
        raise HtsatEdgeError(f"{what}: want the input log_mel and the outputs {', '.join(OUTPUTS)}; is it of a bundle?")
    classes = len(info.labels)
    for name, want in {
        "log_mel": [info.frames, info.front_end.n_mels],
        "framewise": [info.steps, classes],
        "clipwise": [classes],
    }.items():
        if list(shapes[name]) != want:
            raise HtsatEdgeError(
                f"{what}: its {name} is {list(shapes[name])} a clip, but in {MODEL_FILE} frames, steps and the "
                f"{classes} labels say {want}"
            )
