"""A graph compiled by TensorRT: one code base for 8.6 to 11, and for TensorRT for RTX.

What a version can do is asked of its module, not read from its number. Below 10 a network is float32, and flags allow
layers in half precision and in 8 bits; from 10 on networks are strongly typed: the graph itself says what is what.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.progress import Phases
from htsat_edge.runtime.models.backends.trt import logger_of, made
from htsat_edge.runtime.models.engines import NAMES, Recipe

if TYPE_CHECKING:
    import onnx

SOURCES: dict[bool, dict[str, tuple[str, ...]]] = {
    True: {"fp32": ("fp32",), "fp16": ("fp16", "fp32"), "int8": ("int8_fp16", "int8")},
    False: {"fp32": ("fp32",), "fp16": ("fp32",), "int8": ("int8",)},
}
"""Whether networks are strongly typed; by precision, the graphs to build from, of which the first that is there is."""
FLAGS: dict[str, tuple[str, ...]] = {"fp32": (), "fp16": ("FP16",), "int8": ("FP16", "INT8")}
"""Of the builder, where networks are not strongly typed."""


@dataclass(frozen=True)
class Built:
    """What a build gives."""

    engine: bytes
    timing_cache: bytes
    """Of how fast kernels were, which makes the next build shorter; empty where the flavour has none."""
    seconds: float


def is_typed(trt: ModuleType) -> bool:
    """Whether networks are strongly typed."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def needs_halving(trt: ModuleType, recipe: Recipe) -> bool:
    """Whether the graph must be brought into half precision first."""
    return is_typed(trt) and recipe.precision != "fp32" and not recipe.graph.endswith("fp16")


def has_monitor(trt: ModuleType) -> bool:
    """Whether a build tells how far it is."""
    return hasattr(trt, "IProgressMonitor")


def build(
    trt: ModuleType, model: onnx.ModelProto, recipe: Recipe, clip: tuple[int, int], timing_cache: bytes, phases: Phases
) -> Built:
    """Compile a graph for `clip` (T, F); an HtsatEdgeError says what TensorRT does not take, and where."""
    log = logger_of(trt)
    log.errors.clear()
    builder = made(trt.Builder, log)
    typed = is_typed(trt)
    network = builder.create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        if typed
        else 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    )
    parse(trt, network, log, model, recipe)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    config.builder_optimization_level = recipe.optimization_level
    if not typed:
        for flag in FLAGS[recipe.precision]:
            config.set_flag(getattr(trt.BuilderFlag, flag))
    if recipe.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # it keeps 10 of 23 bits, which is not what fp32 says
    profile = builder.create_optimization_profile()
    profile.set_shape("log_mel", *((batch, *clip) for batch in recipe.batch))
    config.add_optimization_profile(profile)
    if recipe.flavour == "tensorrt":  # the other measures nothing when it builds
        cache = config.create_timing_cache(timing_cache)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            # It is of another version or GPU: an empty one takes its place.
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
        log.errors.clear()
    begun = time.monotonic()
    if has_monitor(trt):
        config.progress_monitor = monitor(trt, phases)
    plan = run(lambda: builder.build_serialized_network(network, config))
    if plan is None:
        raise HtsatEdgeError(
            f"{NAMES[recipe.flavour]} {trt.__version__} cannot build {recipe.graph}.onnx in {recipe.precision}, with "
            f"{recipe.workspace_mib} MiB for each layer: {log.why()}"
        )
    cache = bytes(config.get_timing_cache().serialize()) if recipe.flavour == "tensorrt" else b""
    return Built(bytes(plan), cache, time.monotonic() - begun)


def parse(trt: ModuleType, network: Any, log: Any, model: onnx.ModelProto, recipe: Recipe) -> None:
    """Read a graph into a network; raise with the node that is not taken and the way out."""
    parser, version = trt.OnnxParser(network, log), f"{NAMES[recipe.flavour]} {trt.__version__}"
    by_op: dict[str, list[str]] = defaultdict(list)
    for node in model.graph.node:
        by_op[node.op_type].append(node.name)
    unknown = {op: names for op, names in by_op.items() if not parser.supports_operator(op)}
    if unknown:
        told = ", ".join(f"{op} ({len(names)} nodes, first {names[0]})" for op, names in sorted(unknown.items()))
        raise HtsatEdgeError(
            f"{recipe.graph}.onnx: {version} does not know {told}: the graph is newer than its parser; "
            "export/to_onnx.py writes one that 8.6 knows"
        )
    if parser.parse(model.SerializeToString()):
        return
    error = parser.get_error(0)
    at = error.node()
    known = 0 <= at < len(model.graph.node)
    where = f"node {at} {model.graph.node[at].name}, operation {model.graph.node[at].op_type}" if known else "the graph"
    raise HtsatEdgeError(
        f"{recipe.graph}.onnx: {version} does not take {where}: {' '.join(error.desc().split())}; "
        "export/to_onnx.py and calibration/quantize.py write graphs that it takes: was this one edited?"
    )


def run(work: Callable[[], Any]) -> Any:
    """Build in another thread, so that this one hears Ctrl-C; the build goes on then, and the process must end."""
    result = Future[Any]()

    def build_it() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=build_it, daemon=True).start()
    return result.result()


def monitor(trt: ModuleType, phases: Phases) -> Any:
    """What TensorRT tells its progress."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
