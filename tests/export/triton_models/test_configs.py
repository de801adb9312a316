"""The configurations: Triton's own protocol buffers read what was written, and it says what the graph is."""

import shutil

import pytest

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")
pytest.importorskip("google.protobuf", reason="needs protobuf")

from htsat_edge.export.triton_models.configs import (
    PLATFORMS,
    Served,
    events_config,
    from_text,
    graph_config,
    has_mark,
    in_python,
    read_tensors,
    to_text,
)
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import load_bundle


@pytest.fixture(scope="module")
def bundle():
    return load_bundle()


@pytest.fixture(scope="module")
def served(bundle):
    """What is served, by backend."""
    tensors = read_tensors(bundle, "fp32")
    return {name: Served("yard", name, bundle, "fp32", tensors) for name in PLATFORMS}


@pytest.mark.parametrize("backend", PLATFORMS)
@pytest.mark.parametrize("gpu", [False, True])
def test_what_is_written_is_read_back(served, backend, gpu):
    for config in (graph_config(served[backend], gpu), events_config(served[backend], 3, 90)):
        text = to_text(config)
        assert from_text(text) == config
        assert has_mark(text)
        assert to_text(from_text(text)) == text


def test_the_graph_is_described_as_the_backend_gives_it(served, bundle, waveforms):
    import numpy as np

    config = graph_config(served["onnxruntime"], gpu=False)
    backend = OrtBackend(bundle.graph("fp32"), bundle.info)
    (given,) = config.input
    found = backend.infer(np.full((1, *given.dims), -60, np.float32)).outputs()
    assert {one.name: tuple(one.dims) for one in config.output} == {name: x.shape[1:] for name, x in found.items()}
    assert {one.label_filename for one in config.output if one.name == "clipwise"} == {"labels.txt"}
    assert config.platform == "onnxruntime_onnx"
    assert {warm.batch_size: tuple(warm.inputs["log_mel"].dims) for warm in config.model_warmup} == {
        1: (1024, 64),
        8: (1024, 64),
    }
    assert config.parameters["bundle_sha256"].string_value == bundle.sha256("fp32")


def test_a_gpu_waits_for_more_windows_and_a_cpu_does_not(served):
    cpu, gpu = (graph_config(served["onnxruntime"], on) for on in (False, True))
    kinds = {"CPU": cpu, "GPU": gpu}
    for name, config in kinds.items():
        (group,) = config.instance_group
        assert group.Kind.Name(group.kind) == f"KIND_{name}"
    assert cpu.dynamic_batching.max_queue_delay_microseconds == 0 < gpu.dynamic_batching.max_queue_delay_microseconds
    assert cpu.HasField("dynamic_batching")


def test_a_stream_is_a_sequence(served):
    config = events_config(served["onnxruntime"], 3, 90)
    assert config.sequence_batching.max_sequence_idle_microseconds == 90_000_000
    assert config.sequence_batching.oldest.max_candidate_sequences == config.max_batch_size == 3
    assert config.parameters["scored_by"].string_value == "yard"
    assert not config.HasField("dynamic_batching")


def test_half_precision_is_said_but_where_our_code_gives_floats(bundle, tmp_path, served):
    """An int8 graph has float32 at its edges."""
    onnx = pytest.importorskip("onnx")
    shutil.copy(bundle.path / "model.json", tmp_path)
    model = onnx.load(bundle.graph("fp32"))
    for one in [*model.graph.input, *model.graph.output]:
        one.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    names = {one.name for one in model.graph.input}
    for node in model.graph.node:  # a cast behind the input and before each output
        for at, name in enumerate(node.input):
            if name in names:
                node.input[at] = f"{name}_float"
        for at, name in enumerate(node.output):
            if name in {one.name for one in model.graph.output}:
                node.output[at] = f"{name}_float"
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name in {one.name for one in model.graph.output}:
                node.input[at] = f"{name}_float"
    casts = [onnx.helper.make_node("Cast", [name], [f"{name}_float"], to=1) for name in names]
    casts_out = [onnx.helper.make_node("Cast", [f"{one.name}_float"], [one.name], to=10) for one in model.graph.output]
    nodes = [*casts, *model.graph.node, *casts_out]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "half.onnx")
    halved = Served("yard", "onnxruntime", load_bundle(tmp_path), "half", read_tensors(load_bundle(tmp_path), "half"))
    shutil.copy(bundle.graph("fp32"), tmp_path)
    config = graph_config(halved, gpu=False)
    assert {one.data_type for one in [*config.input, *config.output]} == {
        from_text("input{data_type:TYPE_FP16}").input[0].data_type
    }
    assert events_config(halved, 3, 90).parameters["log_mel"].string_value == "float16"
    assert graph_config(in_python(halved), False).input == graph_config(served["python"], False).input


def test_a_graph_of_a_fixed_batch_is_refused(bundle, tmp_path):
    onnx = pytest.importorskip("onnx")
    shutil.copy(bundle.path / "model.json", tmp_path)
    model = onnx.load(bundle.graph("fp32"))
    for one in [*model.graph.input, *model.graph.output]:
        one.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "fp32.onnx")
    with pytest.raises(HtsatEdgeError, match="takes 2 windows, want any number"):
        read_tensors(load_bundle(tmp_path), "fp32")


@pytest.mark.parametrize(
    "text", ["", "name: 'mine'", "no protobuf {", 'parameters { key: "written_by" value { string_value: "me" } }']
)
def test_what_is_not_ours_has_no_mark(text):
    assert not has_mark(text)
