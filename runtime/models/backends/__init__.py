"""Backends run a model, with two methods: `infer` and `close`. Each library is imported only where it is used."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import check_threads, load_onnxruntime
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import CPU_FP32, Bundle

if TYPE_CHECKING:
    from htsat_edge.runtime.models.engines import Flavour

Kind = Literal["auto", "onnxruntime", "tensorrt"]
"""What runs a model on this device."""
logger = logging.getLogger(__name__)


def open_backend(
    bundle: Bundle,
    precision: str | None = None,
    kind: Kind = "auto",
    build: bool = False,
    threads: int | None = None,
) -> Backend:
    """Load a bundle's model: an engine that was validated on this machine, else a graph on onnxruntime.

    Parameters
    ----------
    bundle
        The model.
    precision
        `fp32`, `fp16`, `int8` or another graph's name; by default the one that was measured to be the best here.
    kind
        `onnxruntime` or `tensorrt`; `auto` logs why no engine is used, where one could be expected.
    build
        For programs that run without end: where no engine can be used, run onnxruntime at once, build an engine in a
        background process, and switch to it; should the GPU fail, switch back.
    threads
        Of onnxruntime; by default one for each core.

    Raises
    ------
    HtsatEdgeError
        If the model cannot be loaded in this way.
    """
    if kind == "onnxruntime":
        return open_ort(bundle, precision, threads)
    from htsat_edge.runtime.models.backends.trt import installed_flavour, open_engine

    flavour = installed_flavour() or "tensorrt"  # where none is installed, loading this one says how to install it
    try:
        engine = open_engine(bundle, flavour, precision)
    except HtsatEdgeError as error:
        return open_without_engine(bundle, precision, kind, build, threads, error)
    return engine if not build else open_fallback(bundle, precision, flavour, engine, threads)


def open_without_engine(
    bundle: Bundle, precision: str | None, kind: Kind, build: bool, threads: int | None, reason: HtsatEdgeError
) -> Backend:
    """Do what `open_backend` does where no engine can be used for a reason: build one, use onnxruntime, or raise."""
    from htsat_edge.runtime.models.backends import gpu
    from htsat_edge.runtime.models.backends.trt import installed_flavour
    from htsat_edge.runtime.models.engines import PRECISIONS, NoEngine, read_manifests

    installed = installed_flavour()
    can_build = isinstance(reason, NoEngine) and precision in (None, *PRECISIONS)
    message = _with_remedy(bundle, precision, reason)
    if not build and kind == "tensorrt":
        raise HtsatEdgeError(message) from None
    if build and can_build:
        logger.warning("%s; onnxruntime runs the model while an engine is built in the background", reason)
        return open_fallback(bundle, precision, installed or "tensorrt", None, threads)
    engines, there = read_manifests(bundle), gpu.is_there()
    if ((build and installed) or engines) and there:  # else there is nothing to mend
        logger.warning("%s", message)
    elif engines or there:
        logger.info("no engine is used: %s", message)
    return open_ort(bundle, precision, threads)


def why_no_engine(bundle: Bundle, precision: str | None) -> str:
    """Return why no engine can run, where there is one, or a GPU; nothing where there is neither, or where one can."""
    from htsat_edge.runtime.models.backends import gpu
    from htsat_edge.runtime.models.backends.trt import installed_flavour, open_engine
    from htsat_edge.runtime.models.engines import read_manifests

    if not (gpu.is_there() or read_manifests(bundle)):
        return ""
    try:
        open_engine(bundle, installed_flavour() or "tensorrt", precision).close()
    except HtsatEdgeError as error:
        return _with_remedy(bundle, precision, error)
    return ""


def _with_remedy(bundle: Bundle, precision: str | None, reason: HtsatEdgeError) -> str:
    """Return why no engine can be used, and where one could be built, how."""
    from htsat_edge.runtime.models.engines import PRECISIONS, NoEngine, how_to_build

    if isinstance(reason, NoEngine) and precision in (None, *PRECISIONS):
        return f"{reason}; {how_to_build(bundle, precision)}"
    return str(reason)


def open_ort(bundle: Bundle, precision: str | None, threads: int | None) -> Backend:
    """Load a graph on onnxruntime, by default the recommended one, or the next best where that one does not load."""
    from htsat_edge.runtime.models.backends.ort import OrtBackend

    if precision is None:
        return open_best(bundle, None, threads)
    return OrtBackend(bundle.graph(precision), bundle.info, threads)


def open_best(bundle: Bundle, first: str | None, threads: int | None) -> Backend:
    """Load the first graph that onnxruntime can: this one, the recommended one, full precision.

    The graphs for a CPU have ops that an old onnxruntime does not know, and it would compute graphs that round half
    precision badly.
    """
    from htsat_edge.runtime.models.backends.ort import OrtBackend

    load_onnxruntime()  # where that fails, no graph can be used
    if threads is not None:
        check_threads(threads)  # nor with too many
    names = _by_worth(bundle, first)
    name = next(names)
    while name != "fp32":
        try:
            return OrtBackend(bundle.graph(name), bundle.info, threads)
        except HtsatEdgeError as error:
            name = next(names)
            logger.warning("%s; %s.onnx is used", error, name)
    return OrtBackend(bundle.graph(name), bundle.info, threads)


def _by_worth(bundle: Bundle, first: str | None) -> Iterator[str]:
    """Yield the graphs that are there, the best first, fp32 at last; see which one is recommended only when needed."""
    there = {*bundle.precisions(), "fp32"}
    if first in there:
        yield first
    for name in dict.fromkeys((bundle.recommended(), CPU_FP32, "fp32")):
        if name in there and name != first:
            yield name


def open_fallback(
    bundle: Bundle, precision: str | None, flavour: Flavour, engine: Backend | None, threads: int | None
) -> Backend:
    """Wrap an engine so that onnxruntime takes over should the GPU fail; start to build the engine if there is none."""
    from htsat_edge.runtime.models.backends.fallback import FallbackBackend, start_build
    from htsat_edge.runtime.models.backends.trt import open_engine

    def on_cpu() -> Backend:
        # The bundle may have no graph of a precision that engines have, or one that a CPU cannot compute.
        return open_best(bundle, precision, threads)

    def on_gpu() -> Backend:
        return open_engine(bundle, flavour, precision)

    if engine is not None:
        return FallbackBackend(engine, on_cpu, on_gpu, None)
    first = on_cpu()  # before a process is started that a failure here would leave behind
    return FallbackBackend(first, on_cpu, on_gpu, start_build(bundle, flavour, precision))
