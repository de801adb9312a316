"""What runs a model: two verbs, `infer` and `close`. Each library is imported only where it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from runtime.bundle import MODEL_FILE, Bundle, ModelInfo
from runtime.errors import UserError
from runtime.features import FloatArray

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


def open_backend(bundle: Bundle, precision: str | None = None, kind: Kind = "auto", build: bool = False) -> Backend:
    """Load a bundle's model: an engine that was proven on this machine, else a graph on onnxruntime.

    Without a `precision` it is the one that was measured to be the best here. `build` is for programs that never end:
    where no engine fits, onnxruntime runs the model at once, an engine is built in the background and then takes over;
    and should the GPU fail, onnxruntime takes over again. A UserError says what cannot be; with `auto`, why no engine
    is used is a line in the log, if one could be expected.
    """

    def on_cpu() -> Backend:
        from runtime.backends.ort import OrtBackend

        return OrtBackend(bundle.graph(precision or bundle.recommended("onnxruntime")), bundle.info)

    if kind == "onnxruntime":
        return on_cpu()
    from runtime.backends.trt import installed_flavour, open_engine
    from runtime.engines import FOLDER, NoEngine

    found = installed_flavour()
    flavour = found or "tensorrt"  # of which loading says how to install it

    def on_gpu() -> Backend:
        return open_engine(bundle, flavour, precision)

    engine = builder = None
    try:
        engine = on_gpu()
    except UserError as error:
        can_build = build and isinstance(error, NoEngine)
        hint = "; python export/build_trt.py builds one" if isinstance(error, NoEngine) else ""
        if kind == "tensorrt" and not can_build:
            raise UserError(f"{error}{hint}") from None
        if can_build:
            logger.warning("%s; it is built now, and until then onnxruntime runs the model", error)
        elif (bundle.path / FOLDER).is_dir() or (build and found):
            logger.warning("%s%s; onnxruntime runs the model", error, hint)
        if not can_build:
            return on_cpu()
    if not build:
        assert engine is not None
        return engine
    from runtime.backends.standby import Standby, start_build

    if engine is None:
        builder = start_build(bundle, flavour, precision)
    return Standby(engine or on_cpu(), on_cpu, on_gpu, builder)


def check_shapes(what: str, shapes: Mapping[str, Sequence[int]], info: ModelInfo) -> None:
    """The tensors of a model, by name, without the batch axis, must be those that model.json tells of."""
    if not shapes.keys() >= {"log_mel", *OUTPUTS}:
        raise UserError(f"{what}: want the input log_mel and the outputs {', '.join(OUTPUTS)}; is it of a bundle?")
    classes = len(info.labels)
    for name, want in {
        "log_mel": [info.frames, info.front_end.n_mels],
        "framewise": [info.steps, classes],
        "clipwise": [classes],
    }.items():
        if list(shapes[name]) != want:
            raise UserError(
                f"{what}: its {name} is {list(shapes[name])} a clip, but in {MODEL_FILE} frames, steps and the "
                f"{classes} labels say {want}"
            )
