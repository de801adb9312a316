"""Graphs of others on onnxruntime: in half precision at the edge, with a fixed batch, with shapes not known."""

import shutil

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend, open_best
from htsat_edge.runtime.models.backends.ort import OrtBackend, open_session
from htsat_edge.runtime.models.bundle import Bundle, load_bundle


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return load_bundle(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def save(bundle):
    """Put a changed graph into the bundle; return its path."""

    def save(change):
        model = onnx.load(bundle.graph("fp32"))
        change(model.graph)
        onnx.save(model, bundle.path / "fp32.onnx")
        return bundle.path / "fp32.onnx"

    return save


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(0).normal(-40, 20, (5, 1024, 64)).astype(np.float32)


def with_ends(kind):
    """Give a graph inputs and outputs of another type."""

    def change(graph):
        for value, first in [*((x, True) for x in graph.input), *((x, False) for x in graph.output)]:
            inner, name = f"{value.name}.inner", value.name
            for node in graph.node:
                for names in (node.input, node.output):
                    names[:] = [inner if x == name else x for x in names]
            value.type.tensor_type.elem_type = kind
            if first:
                graph.node.insert(0, helper.make_node("Cast", [name], [inner], to=TensorProto.FLOAT))
            else:
                graph.node.append(helper.make_node("Cast", [inner], [name], to=kind))

    return change


def test_half_inputs_and_outputs_are_taken(bundle, save, windows):
    wanted = OrtBackend(bundle.graph(), bundle.info).infer(windows)
    found = OrtBackend(save(with_ends(TensorProto.FLOAT16)), bundle.info).infer(windows)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=3e-2)


@pytest.mark.parametrize("kind", ["DOUBLE", "INT32", "BFLOAT16"])
def test_other_types_are_one_line(kind, bundle, save):
    path = save(with_ends(getattr(TensorProto, kind)))
    with pytest.raises(HtsatEdgeError) as caught:
        OrtBackend(path, bundle.info)
    message = str(caught.value)
    assert f"{path}: its log_mel is tensor({kind.lower()}), want float32 or float16; convert" in message or (
        kind == "BFLOAT16" and "onnxruntime cannot load it" in message
    )
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_graph_with_a_fixed_batch_scores_any_number_of_windows(batch, threads, bundle, save, windows):
    wanted = OrtBackend(bundle.graph(), bundle.info).infer(windows)

    def fix(graph):
        for value in [*graph.input, *graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = batch

    backend = OrtBackend(save(fix), bundle.info, threads)
    for count in (1, 3, 5):
        found = backend.infer(windows[:count])
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs[:count], atol=1e-5)


def test_lengths_that_the_graph_does_not_say_are_seen_when_it_runs(bundle, save, windows):
    def forget(graph):
        for value in graph.output:
            for dim in value.type.tensor_type.shape.dim:
                dim.dim_param = "unknown"

    path = save(forget)
    assert OrtBackend(path, bundle.info).infer(windows[:1]).framewise.shape == (1, 32, 10)
    fewer = bundle.info.model_copy(update={"labels": bundle.info.labels[:7]})
    with pytest.raises(HtsatEdgeError, match=r"its framewise has the shape \[32, 10\] for a window, but by the frames"):
        OrtBackend(path, fewer)


def test_a_graph_of_an_earlier_export_gives_no_embedding_of_steps(bundle, save, windows, drop_frame_embedding):
    wanted = OrtBackend(bundle.graph(), bundle.info, 2).infer(windows)
    assert wanted.frame_embedding.shape == (5, 32, wanted.embedding.shape[1])
    np.testing.assert_allclose(wanted.frame_embedding.mean(axis=1), wanted.embedding, atol=1e-6)
    found = OrtBackend(save(drop_frame_embedding), bundle.info, 2).infer(windows)  # two windows at a time
    assert found.frame_embedding is None
    for name, ours in found.outputs().items():
        np.testing.assert_array_equal(ours, getattr(wanted, name))


def test_the_embedding_of_steps_has_the_channels_of_the_embedding(bundle, save, drop_frame_embedding):
    def replace(graph):
        drop_frame_embedding(graph)
        graph.node.append(helper.make_node("Identity", ["framewise"], ["frame_embedding"]))
        graph.output.append(helper.make_tensor_value_info("frame_embedding", TensorProto.FLOAT, ["batch", 32, 10]))

    with pytest.raises(HtsatEdgeError, match=r"its frame_embedding has the shape \[32, 10\] .* it must be \[32, 128\]"):
        OrtBackend(save(replace), bundle.info)


def test_the_tensors_of_another_graph_are_named_but_not_all_of_them(bundle, save):
    def rename(graph):
        for i in range(50):
            graph.node.append(helper.make_node("Identity", ["framewise"], [f"more {i}"]))
            graph.output.append(helper.make_tensor_value_info(f"more {i}", TensorProto.FLOAT, None))
        for node in graph.node:
            node.input[:] = ["mel" if name == "log_mel" else name for name in node.input]
        graph.input[0].name = "mel"

    with pytest.raises(HtsatEdgeError) as caught:
        OrtBackend(save(rename), bundle.info)
    assert "not mel, framewise, clipwise and 52 more; is this the model of a bundle?" in str(caught.value)


@pytest.fixture
def rounding(bundle):
    """Put a graph into the bundle that rounds its input to 8 bits, in half precision."""
    model = onnx.version_converter.convert_version(onnx.load(bundle.graph("fp32")), 19)
    for node in model.graph.node:
        node.input[:] = ["log_mel.rounded" if name == "log_mel" else name for name in node.input]
    ends = [
        ("Cast", ["log_mel"], "log_mel.half", {"to": TensorProto.FLOAT16}),
        ("QuantizeLinear", ["log_mel.half", "step", "zero"], "log_mel.integers", {}),
        ("DequantizeLinear", ["log_mel.integers", "step", "zero"], "log_mel.back", {}),
        ("Cast", ["log_mel.back"], "log_mel.rounded", {"to": TensorProto.FLOAT}),
    ]
    for i, (kind, inputs, output, attributes) in enumerate(ends):
        model.graph.node.insert(i, helper.make_node(kind, inputs, [output], **attributes))
    model.graph.initializer.append(numpy_helper.from_array(np.float16(1), "step"))
    model.graph.initializer.append(numpy_helper.from_array(np.int8(0), "zero"))
    onnx.save(model, bundle.path / "int8_fp16.onnx")
    return bundle


@pytest.mark.parametrize("version", ["1.9.0", "1.23.2", "1.29.0"])
def test_what_an_old_onnxruntime_computes_badly_is_refused(version, rounding, monkeypatch, caplog):
    monkeypatch.setattr(onnxruntime, "__version__", version)
    with pytest.raises(HtsatEdgeError) as caught:
        open_backend(rounding, "int8_fp16", "onnxruntime")
    assert str(caught.value) == (
        f"{rounding.path / 'int8_fp16.onnx'}: onnxruntime {version} cannot round half precision to 8 bits on a CPU, "
        "want 1.30 or newer, for Python 3.11 or newer; or take another graph"
    )
    # Where it stands in for an engine, detection goes on with another graph.
    assert open_best(rounding, "int8_fp16", None).name == "onnxruntime, fp32.onnx"
    assert caplog.messages == [f"{caught.value}; fp32.onnx is used"]
    assert open_backend(rounding, "fp32", "onnxruntime").name == "onnxruntime, fp32.onnx"


@pytest.mark.parametrize("version", ["1.30.0", "1.100.1", "2.0.0"])
def test_a_newer_one_takes_it(version, rounding, monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", version)
    assert open_best(rounding, "int8_fp16", None).name == "onnxruntime, int8_fp16.onnx"


def test_a_graph_newer_than_onnxruntime_is_one_line_with_the_version_that_reads_it(bundle, monkeypatch):
    def refuse(*_args, **_options):
        raise RuntimeError(
            "NOT_IMPLEMENTED : Could not find an implementation for QuantizeLinear(23) node with name 'x'"
        )

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    for model, what in ((bundle.graph("fp32"), bundle.graph("fp32")), (b"", "a graph")):
        with pytest.raises(HtsatEdgeError) as caught:
            open_session(model)
        assert str(caught.value) == (
            f"{what}: onnxruntime cannot load it: it is version 1.23.2, want 1.24 or newer, or the graph as "
            "python -m htsat_edge.calibration.quantize writes it now"
        )


@pytest.mark.parametrize(
    ("version", "crashes"), [("1.23.0", True), ("1.29.1", True), ("1.30.0", False), ("1.100.0", False), ("2.0", False)]
)
def test_what_makes_half_precision_faster_is_off_only_where_it_ends_the_process(version, crashes, bundle, monkeypatch):
    given = []
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *_, disabled_optimizers: given.append(disabled_optimizers)
    )
    monkeypatch.setattr(onnxruntime, "__version__", version)
    open_session(bundle.graph("fp32"))
    assert given == [["FuseFp16InitializerToFp32NodeTransformer"] if crashes else None]


@pytest.fixture
def graphs(bundle):
    """A bundle with graphs of the names that are given, none of which onnxruntime can load but fp32."""

    def make(*names):
        for name in names:
            (bundle.path / f"{name}.onnx").write_bytes(b"damaged")
        return bundle

    return make


def test_a_graph_that_loads_is_the_only_one_that_is_looked_at(graphs, monkeypatch, caplog):
    monkeypatch.setattr(Bundle, "recommended", lambda _: pytest.fail("it was asked for"))
    assert open_best(graphs("cpu-fp32"), "fp32", None).name == "onnxruntime, fp32.onnx"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("first", "recommended", "tried"),
    [
        ("fp16", "cpu-int8", ["fp16", "cpu-int8", "cpu-fp32", "fp32"]),
        (None, "cpu-int8", ["cpu-int8", "cpu-fp32", "fp32"]),
        ("cpu-int8", "cpu-int8", ["cpu-int8", "cpu-fp32", "fp32"]),
        ("fp16", "fp32", ["fp16", "fp32"]),
        ("absent", "cpu-fp32", ["cpu-fp32", "fp32"]),
    ],
)
def test_the_next_best_graph_is_used(first, recommended, tried, graphs, monkeypatch, caplog):
    bundle = graphs("fp16", "cpu-int8", "cpu-fp32")
    monkeypatch.setattr(Bundle, "recommended", lambda _: recommended)
    assert open_best(bundle, first, None).name == "onnxruntime, fp32.onnx"
    assert [message.rpartition("; ")[2] for message in caplog.messages] == [
        f"{name}.onnx is used" for name in tried[1:]
    ]
    assert all(f"{name}.onnx: " in message for name, message in zip(tried, caplog.messages, strict=False))


def test_nothing_stands_in_for_full_precision(graphs, monkeypatch, caplog):
    monkeypatch.setattr(Bundle, "recommended", lambda _: pytest.fail("it was asked for"))
    with pytest.raises(HtsatEdgeError, match=r"/fp32.onnx: onnxruntime cannot load it"):
        open_best(graphs("fp32", "cpu-fp32"), "fp32", None)
    assert caplog.messages == []


def test_too_many_threads_are_refused_before_any_graph_is_tried(graphs, caplog):
    with pytest.raises(HtsatEdgeError, match=r"^1000000 threads: "):
        open_best(graphs("cpu-int8", "cpu-fp32"), "cpu-int8", 10**6)
    assert caplog.messages == []
