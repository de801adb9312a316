"""The configurations of models on Triton, as its own protocol buffers have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.marks import PROGRAM
from htsat_edge.runtime.models.backends.ort import TYPES, open_session
from htsat_edge.runtime.models.backends.remote import BUNDLE_PARAMETER, PRECISION_PARAMETER
from htsat_edge.runtime.models.bundle import Bundle

ModelConfig = model_config_pb2.ModelConfig
ServerBackend = Literal["onnxruntime", "tensorrt", "python"]
PLATFORMS: dict[ServerBackend, dict[str, str]] = {
    "onnxruntime": {"platform": "onnxruntime_onnx", "backend": "onnxruntime"},
    "tensorrt": {"platform": "tensorrt_plan", "backend": "tensorrt"},
    "python": {"backend": "python"},
}
KINDS = {"float32": model_config_pb2.TYPE_FP32, "float16": model_config_pb2.TYPE_FP16}
AT_ONCE = 8
"""Windows in a request, and in a batch that the server makes of several."""
GPU_DELAY_US = 2000
"""A GPU takes hardly longer for several windows than for one, so that waiting for others pays; a CPU does not."""
MARK, LABELS = "written_by", "labels.txt"


@dataclass(frozen=True)
class Tensor:
    """An input or an output of a graph."""

    name: str
    kind: str
    """`float32` or `float16`."""
    dims: tuple[int, ...]
    """Without the batch."""


@dataclass(frozen=True)
class Served:
    """What a server runs of a bundle."""

    name: str
    """Of the model there."""
    backend: ServerBackend
    bundle: Bundle
    precision: str
    tensors: tuple[Tensor, ...]
    """`log_mel`, and the outputs."""
    at_once: int = AT_ONCE
    plans: Mapping[str, str] | None = None
    """Of TensorRT: the file by compute capability."""

    @property
    def events_name(self) -> str:
        """Name of the model that turns samples into events."""
        return f"{self.name}_events"


def read_tensors(bundle: Bundle, precision: str) -> tuple[Tensor, ...]:
    """Return the input and the outputs of a graph; raise an HtsatEdgeError where it takes no batch of any size."""
    session = open_session(bundle.graph(precision))
    found = [*session.get_inputs(), *session.get_outputs()]
    if isinstance(found[0].shape[0], int):
        raise HtsatEdgeError(
            f"{bundle.graph(precision)}: takes {found[0].shape[0]} windows, want any number; export it anew, with a "
            "batch of no fixed size"
        )
    return tuple(
        Tensor(one.name, TYPES[one.type], tuple(x if isinstance(x, int) else -1 for x in one.shape[1:]))
        for one in found
    )


def graph_config(served: Served, gpu: bool) -> Any:
    """Return the configuration of the model of windows: log-mels in, scores out, batches made by the server."""
    given, *outputs = served.tensors
    config = ModelConfig(
        name=served.name,
        max_batch_size=served.at_once,
        input=[{"name": given.name, "data_type": KINDS[given.kind], "dims": given.dims}],
        output=[{"name": one.name, "data_type": KINDS[one.kind], "dims": one.dims} for one in outputs],
        instance_group=[_instance(gpu)],
        dynamic_batching={"max_queue_delay_microseconds": GPU_DELAY_US if gpu else 0},
        model_warmup=[_warm_up(given, size) for size in dict.fromkeys((1, served.at_once))],
        **PLATFORMS[served.backend],
    )
    next(one for one in config.output if one.name == "clipwise").label_filename = LABELS
    for capability, file in (served.plans or {}).items():
        config.cc_model_filenames[capability] = file
    sha256 = served.bundle.sha256("fp32")
    return _with_parameters(config, {BUNDLE_PARAMETER: sha256, PRECISION_PARAMETER: served.precision})


def events_config(served: Served, streams: int, idle_s: float) -> Any:
    """Return the configuration of the model of streams: samples in, events out, what was heard kept by the server."""
    config = ModelConfig(
        name=served.events_name,
        backend="python",
        max_batch_size=min(streams, served.at_once),
        input=[
            {
                "name": "samples",
                "data_type": model_config_pb2.TYPE_FP32,
                "dims": [-1],
                "allow_ragged_batch": True,  # streams of other rates and blocks are heard together all the same
            },
            {"name": "sample_rate", "data_type": model_config_pb2.TYPE_INT32, "dims": [1]},
        ],
        output=[{"name": "events", "data_type": model_config_pb2.TYPE_STRING, "dims": [1]}],
        instance_group=[_instance(gpu=False)],
        sequence_batching={
            # By default a sequence ends after one second, which is less than many send at a time.
            "max_sequence_idle_microseconds": round(idle_s * 1e6),
            "oldest": {"max_candidate_sequences": streams},
        },
    )
    parameters = {"scored_by": served.name, "at_once": str(served.at_once), "log_mel": served.tensors[0].kind}
    return _with_parameters(config, {BUNDLE_PARAMETER: served.bundle.sha256("fp32"), **parameters})


def in_python(served: Served) -> Served:
    """Return what is served where our own code runs the graph, which gives float32 whatever the graph does."""
    return replace(served, tensors=tuple(replace(one, kind="float32") for one in served.tensors))


def to_text(config: Any) -> str:
    """Return a configuration as config.pbtxt has it."""
    return str(text_format.MessageToString(config))


def from_text(text: str) -> Any:
    """Return the configuration that a config.pbtxt has; raise a text_format.ParseError where it has none."""
    return text_format.Parse(text, ModelConfig())


def has_mark(text: str) -> bool:
    """Return whether a config.pbtxt was written here."""
    try:
        return bool(from_text(text).parameters[MARK].string_value == PROGRAM)
    except text_format.ParseError:
        return False


def _instance(gpu: bool) -> dict[str, Any]:
    group = model_config_pb2.ModelInstanceGroup
    return {"count": 1, "kind": group.KIND_GPU if gpu else group.KIND_CPU}


def _warm_up(given: Tensor, size: int) -> dict[str, Any]:
    tensor = {"data_type": KINDS[given.kind], "dims": given.dims, "zero_data": True}
    return {"name": f"{size} at once", "batch_size": size, "inputs": {given.name: tensor}}


def _with_parameters(config: Any, parameters: Mapping[str, str]) -> Any:
    for name, value in {MARK: PROGRAM, **parameters}.items():
        config.parameters[name].string_value = value
    return config
