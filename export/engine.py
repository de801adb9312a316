"""Compile graphs with TensorRT: one code base for 8.6 to 11, and for TensorRT for RTX.

The code asks TensorRT's module what it can do, and does not read its version. Below 10 a network is float32, and flags
allow layers in half precision and in 8 bits; from 10 on networks are strongly typed: the graph itself has the types.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.common.progress import Phases
from htsat_edge.runtime.common.text import in_one_line, listed
from htsat_edge.runtime.models.backends.backend import check_shapes, check_types
from htsat_edge.runtime.models.backends.trt import create, logger_of
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.engines import NAMES, Recipe

if TYPE_CHECKING:
    import onnx

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
SOURCES: dict[bool, dict[str, tuple[str, ...]]] = {
    True: {"fp32": ("fp32",), "fp16": ("fp16", "fp32"), "int8": ("int8_fp16", "int8")},
    False: {"fp32": ("fp32",), "fp16": ("fp32",), "int8": ("int8",)},
}
"""By whether networks are strongly typed, and by precision: the graphs to build from, of which the first one is taken
that the bundle has."""
FLAGS: dict[str, tuple[str, ...]] = {"fp32": (), "fp16": ("FP16",), "int8": ("FP16", "INT8")}
"""The builder's flags by precision, where networks are not strongly typed."""


@dataclass(frozen=True)
class Built:
    """The result of a build."""

    engine: bytes
    timing_cache: bytes
    """Measured times of kernels, which make the next build shorter; empty where the flavour has none."""
    seconds: float


def is_typed(trt: ModuleType) -> bool:
    """Return whether networks are strongly typed."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def has_monitor(trt: ModuleType) -> bool:
    """Return whether a build reports its progress."""
    return hasattr(trt, "IProgressMonitor")


def choose_graph(trt: ModuleType, bundle: Bundle, precision: str) -> str:
    """Return the graph of a bundle to build a precision from; raise an HtsatEdgeError where there is none."""
    sources = SOURCES[is_typed(trt)][precision]
    for name in sources:
        if name in bundle.precisions():
            return name
    script = f"calibration.quantize {bundle.path} --clips …" if precision == "int8" else "export.to_onnx"
    raise HtsatEdgeError(
        f"{bundle.path}: has no {sources[-1]}.onnx, which {precision} engines are built from; "
        f"python -m htsat_edge.{script} makes it"
    )


def load_graph(trt: ModuleType, bundle: Bundle, recipe: Recipe) -> onnx.ModelProto:
    """Load the graph of a recipe, in half precision where TensorRT takes the types from the graph.

    Raise an HtsatEdgeError where the file is no graph of the bundle.
    """
    with needing("building", "onnx", "pip install onnx"):
        import onnx
    from htsat_edge.calibration.graphs import is_half, to_half, with_float_ends
    from htsat_edge.calibration.plain import fold_constants

    path = bundle.graph(recipe.graph)
    try:
        bundle.files(recipe.graph)  # onnx' message for one that is missing is long
        model = onnx.load(path)
        tensors = {x.name: x.type.tensor_type for x in [*model.graph.input, *model.graph.output]}
        shapes = {name: [d.dim_value for d in x.shape.dim] for name, x in tensors.items()}
        lengths = {name: [length or "?" for length in shape[1:]] for name, shape in shapes.items()}
        check_shapes(str(path), lengths, bundle.info)
        names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()} | {1: "float32"}
        check_types(str(path), {name: names[x.elem_type] for name, x in tensors.items()})
        check_batch(path, shapes["log_mel"][0], recipe.batch)
        check_operations(path, model)
        model = with_float_ends(model)
        fold_constants(model)  # packed weights (calibration/packing.py) become float32, as the graph computes
        halve = is_typed(trt) and recipe.precision != "fp32" and not is_half(model)
        return to_half(model) if halve else model
    except HtsatEdgeError as error:
        raise HtsatEdgeError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except Exception as error:  # neither protobuf's nor onnx' errors share a class of their own
        raise HtsatEdgeError(
            f"{path}: is not an ONNX file that an engine can be built from: {in_one_line(error)}"
        ) from None


def check_batch(path: Path, fixed: int, batch: tuple[int, int, int]) -> None:
    """Raise an HtsatEdgeError where a graph takes a fixed number of windows, and an engine should take another."""
    if fixed > 0 and batch != (fixed, fixed, fixed):
        raise HtsatEdgeError(
            f"{path}: takes {fixed} window{'s' * (fixed > 1)} at a time and no other number, but --batch is "
            f"{','.join(map(str, batch))}: give --batch {fixed}"
        )


def check_operations(path: Path, model: onnx.ModelProto) -> None:
    """Raise an HtsatEdgeError where a graph has its 8 bits in operations on integers, of which TensorRT knows none."""
    found = {x.op_type for x in model.graph.node if x.op_type.startswith("QLinear") or x.op_type.endswith("Integer")}
    if found:
        raise HtsatEdgeError(
            f"{path}: computes in {listed(sorted(found))}, which TensorRT does not know; quantise with QuantizeLinear "
            "and DequantizeLinear (QDQ) in place of operations on integers, and with ranges that are fixed"
        )


def in_thread(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run calls in another thread, so that this one hears Ctrl-C; the work goes on then, and the process must end."""

    @functools.wraps(work)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        result = Future[Result]()

        def run() -> None:
            try:
                result.set_result(work(*arguments, **options))
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return result.result()

    return call


@in_thread
def build(
    trt: ModuleType,
    model: onnx.ModelProto,
    recipe: Recipe,
    window: tuple[int, int],
    timing_cache: bytes,
    phases: Phases,
) -> Built:
    """Compile a graph whose window is (T, F); raise an HtsatEdgeError that says what TensorRT refuses, and where.

    An interrupt is raised in the caller's thread while TensorRT works on in another one: the process must end then. In
    one thread the interrupt could be lost, since TensorRT catches whatever comes out of the logger and the monitor that
    it calls.
    """
    log = logger_of(trt)
    log.errors.clear()
    builder = create(trt.Builder, log)
    flag = "STRONGLY_TYPED" if is_typed(trt) else "EXPLICIT_BATCH"
    network = builder.create_network(1 << int(getattr(trt.NetworkDefinitionCreationFlag, flag)))
    parse(trt, network, log, model, recipe)
    config = configure(trt, builder, recipe, window)
    if recipe.flavour == "tensorrt":  # TensorRT for RTX measures nothing when it builds
        set_timing_cache(config, timing_cache)
        log.errors.clear()
    begun = time.monotonic()
    if has_monitor(trt):
        config.progress_monitor = monitor(trt, phases)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise HtsatEdgeError(
            f"{NAMES[recipe.flavour]} {trt.__version__} cannot build {recipe.graph}.onnx in {recipe.precision}, with "
            f"{recipe.workspace_mib} MiB for each layer: {log.why()}"
        )
    timing_cache = bytes(config.get_timing_cache().serialize()) if recipe.flavour == "tensorrt" else b""
    return Built(bytes(plan), timing_cache, time.monotonic() - begun)


def configure(trt: ModuleType, builder: Any, recipe: Recipe, window: tuple[int, int]) -> Any:
    """Return the configuration of a build by a recipe, for windows (T, F)."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_mib << 20)
    config.builder_optimization_level = recipe.optimization_level
    if not is_typed(trt):
        for flag in FLAGS[recipe.precision]:
            config.set_flag(getattr(trt.BuilderFlag, flag))
    if recipe.precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)  # it keeps 10 of fp32's 23 bits
    profile = builder.create_optimization_profile()
    profile.set_shape("log_mel", *((batch, *window) for batch in recipe.batch))
    config.add_optimization_profile(profile)
    return config


def set_timing_cache(config: Any, content: bytes) -> None:
    """Give a build the times that were measured before, or an empty cache where they are of another version or GPU."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def parse(trt: ModuleType, network: Any, log: Any, model: onnx.ModelProto, recipe: Recipe) -> None:
    """Read a graph into a network; raise an HtsatEdgeError that names the node which TensorRT refuses."""
    parser, version = trt.OnnxParser(network, log), f"{NAMES[recipe.flavour]} {trt.__version__}"
    by_op: dict[str, list[str]] = defaultdict(list)
    for node in model.graph.node:
        by_op[node.op_type].append(node.name)
    unknown = {op: names for op, names in by_op.items() if not parser.supports_operator(op)}
    if unknown:
        ops = listed(f"{op} ({len(names)} nodes, first {names[0]})" for op, names in sorted(unknown.items()))
        raise HtsatEdgeError(
            f"{recipe.graph}.onnx: {version} does not know {ops}: they are newer than its parser, or a tool's own; "
            "python -m htsat_edge.export.to_onnx writes a graph that 8.6 knows"
        )
    if parser.parse(model.SerializeToString()):
        return
    error = parser.get_error(0)
    at = error.node()
    known = 0 <= at < len(model.graph.node)
    where = f"node {at} {model.graph.node[at].name}, operation {model.graph.node[at].op_type}" if known else "the graph"
    reason = in_one_line(error.desc())
    hint = "was the file edited?"
    if "zero point" in reason.lower():
        hint = "it takes 8 bits with the zero point 0 alone (ActivationSymmetric and WeightSymmetric in onnxruntime)."
    raise HtsatEdgeError(
        f"{recipe.graph}.onnx: {version} refuses {where}: {reason}; {hint} "
        "python -m htsat_edge.export.to_onnx and htsat_edge.calibration.quantize write graphs that it accepts"
    )


def monitor(trt: ModuleType, phases: Phases) -> Any:
    """Return an object that passes TensorRT's progress on to progress bars."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return True  # do not cancel the build

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
