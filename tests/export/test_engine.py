"""The compiler against a fake TensorRT of each version (tests/fakes); NVIDIA's own is in test_build_rtx.py."""

import json

import onnx
import onnx.numpy_helper
import pytest

from htsat_edge.calibration.graphs import to_half
from htsat_edge.calibration.packing import pack
from htsat_edge.export.engine import build, choose_graph, load_graph
from htsat_edge.runtime.common.progress import Phases
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.trt import load_tensorrt
from htsat_edge.runtime.models.engines import Recipe, read_manifests

VERSIONS = ("8.6.1", "10.3.0", "10.13.2", "10.16.1", "11.4.0")


def compiled(bundle, precision, timing_cache=b"", batch=(1, 1, 8), workspace_mib=64, optimization_level=3):
    """Build without validation; return the options that the fake builder got, the graph, and the timing cache."""
    trt = load_tensorrt("tensorrt")
    graph = choose_graph(trt, bundle, precision)
    recipe = Recipe(
        flavour="tensorrt",
        tensorrt=trt.__version__,
        gpu=None,
        precision=precision,
        graph=graph,
        graph_sha256=bundle.sha256(graph),
        batch=batch,
        workspace_mib=workspace_mib,
        optimization_level=optimization_level,
    )
    built = build(trt, load_graph(trt, bundle, recipe), recipe, (1024, 64), timing_cache, Phases(""))
    options, _, model = built.engine[len(trt.MAGIC) + 32 :].partition(b"\n")
    return json.loads(options), onnx.load_from_string(model), built.timing_cache


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_version_gets_its_flags(version, precision, bundled, fake_tensorrt):
    fake_tensorrt(version)
    found, model, _ = compiled(bundled, precision, batch=(1, 2, 3), workspace_mib=77, optimization_level=1)
    assert found["profile"] == [[1, 1024, 64], [2, 1024, 64], [3, 1024, 64]]
    assert (found["pools"], found["level"]) == ({"WORKSPACE": 77 * 2**20}, 1)
    tf32 = [] if precision == "fp32" else ["TF32"]
    if version == "8.6.1":
        assert found["network"] == ["EXPLICIT_BATCH"]
        assert found["flags"] == {"fp32": [], "fp16": ["FP16"], "int8": ["FP16", "INT8"]}[precision] + tf32
    else:
        assert found["network"] == ["STRONGLY_TYPED"]
        assert found["flags"] == tf32
    types = {x.data_type for x in model.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in types) == (version != "8.6.1" and precision != "fp32")
    assert (onnx.TensorProto.INT8 in types) == (precision == "int8")


def test_the_timing_cache_grows_with_each_build(bundle, fake_tensorrt):
    fake_tensorrt("10.3.0")
    cache = b""
    for _ in range(3):
        *_, cache = compiled(bundle, "fp32", cache)
    assert cache == b"10.3.0 Orin 111"  # the fake adds a 1 in each build
    for useless in (b"garbage", b"8.6.1 Orin 1"):
        *_, cache = compiled(bundle, "fp32", useless)
        assert cache == b"10.3.0 Orin 1"


def test_an_operation_that_the_parser_does_not_know_is_named(bundle, build_trt, fake_tensorrt):
    model = onnx.load(bundle.path / "fp32.onnx")
    for node in model.graph.node:
        if node.op_type == "Erf":
            node.op_type = "Gelu"
    onnx.save(model, bundle.path / "fp32.onnx")
    fake_tensorrt("8.6.1")
    status, _, err = build_trt(bundle, "--precision", "fp32")
    assert status == 2
    assert "fp32.onnx: TensorRT 8.6.1 does not know Gelu (9 nodes, first layers.0.blocks.0.mlp.gelu.erf)" in err
    assert "python -m htsat_edge.export.to_onnx writes a graph that 8.6 knows" in err
    assert read_manifests(bundle) == []


def test_a_node_that_the_parser_refuses_is_named(bundle, build_trt, fake_tensorrt):
    model = onnx.load(bundle.path / "fp32.onnx")
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.attribute.append(onnx.helper.make_attribute("refuse", 1))
    onnx.save(model, bundle.path / "fp32.onnx")
    fake_tensorrt("10.3.0")
    status, _, err = build_trt(bundle, "--precision", "fp32")
    assert status == 2
    assert f"{node.name}, operation Softmax: Assertion failed: attribute refuse; was the file edited?" in err
    assert len(err.splitlines()) == 1


def test_a_file_that_is_not_a_graph(bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    (bundle.path / "fp32.onnx").write_bytes(b"no graph")
    status, _, err = build_trt(bundle, "--precision", "fp32")
    assert status == 2
    assert "fp32.onnx: is not an ONNX file that an engine can be built from" in err


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_graph_of_something_else(precision, bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    x, y = (onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    for model in (onnx.helper.make_model(graph), onnx.ModelProto()):
        onnx.save(model, bundle.path / "fp32.onnx")
        status, _, err = build_trt(bundle, "--precision", precision)
        assert status == 2
        assert "fp32.onnx: want the input log_mel and the outputs" in err
        assert len(err.splitlines()) == 1


def rewrite(bundle, change, name="fp32"):
    model = onnx.load(bundle.path / f"{name}.onnx")
    change(model.graph)
    onnx.save(model, bundle.path / f"{name}.onnx")


def refused(bundle, build_trt, *arguments):
    status, _, err = build_trt(bundle, *arguments)
    assert (status, len(err.splitlines()), read_manifests(bundle)) == (2, 1, [])
    return err


def test_a_graph_in_half_precision_stays_as_it_is_with_casts_at_its_ends(bundle, fake_tensorrt):
    half = to_half(onnx.load(bundle.path / "fp32.onnx"))
    ends = [*half.graph.input, *half.graph.output]
    for value in ends:
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    casts = {"log_mel": onnx.TensorProto.FLOAT, **dict.fromkeys(Scores._fields, onnx.TensorProto.FLOAT16)}
    renamed = {name: f"{name}.inner" for name in casts}
    for node in half.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for name, to in casts.items():
        source, target = (name, renamed[name]) if name == "log_mel" else (renamed[name], name)
        node = onnx.helper.make_node("Cast", [source], [target], name=f"{name}.end", to=to)
        half.graph.node.insert(0 if name == "log_mel" else len(half.graph.node), node)
    onnx.save(half, bundle.path / "fp16.onnx")
    fake_tensorrt("10.3.0")
    _, model, _ = compiled(bundle, "fp16")
    assert {x.type.tensor_type.elem_type for x in [*model.graph.input, *model.graph.output]} == {onnx.TensorProto.FLOAT}
    assert len(model.graph.node) == len(half.graph.node) + len(ends)
    onnx.checker.check_model(model, full_check=True)


def test_other_types_are_one_line(bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")

    def widen(graph):
        graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE

    rewrite(bundle, widen)
    assert "fp32.onnx: its log_mel is double, want float32 or float16" in refused(bundle, build_trt)


def test_a_graph_with_a_fixed_batch_is_told_the_option(bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")

    def fix(graph):
        for value in [*graph.input, *graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = 1

    rewrite(bundle, fix)
    err = refused(bundle, build_trt, "--precision", "fp32")
    assert "fp32.onnx: takes 1 window at a time and no other number, but --batch is 1,1,8: give --batch 1" in err
    assert build_trt(bundle, "--precision", "fp32", "--batch", "1")[0] == 0
    assert read_manifests(bundle)[0].recipe.batch == (1, 1, 1)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_operations_on_integers_are_one_line(precision, bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")

    def to_integers(graph):
        next(node for node in graph.node if node.op_type == "MatMul").op_type = "MatMulInteger"

    rewrite(bundle, to_integers)
    err = refused(bundle, build_trt, "--precision", precision)
    assert "fp32.onnx: computes in MatMulInteger, which TensorRT does not know; quantise with QuantizeLinear" in err


def test_weights_outside_the_file_are_read_or_missed(bundle, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    path = bundle.path / "fp32.onnx"
    whole = compiled(bundle, "fp32")[1].graph.initializer
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights")
    found = compiled(bundle, "fp32")[1].graph.initializer
    assert [onnx.numpy_helper.to_array(x).tobytes() for x in found] == [
        onnx.numpy_helper.to_array(x).tobytes() for x in whole
    ]
    (bundle.path / "weights").unlink()
    assert "fp32.onnx: its weights are in weights, which is missing; copy it" in refused(bundle, build_trt)


def constants(graph):
    return {x.name: (x.data_type, list(x.dims), onnx.numpy_helper.to_array(x).tobytes()) for x in graph.initializer}


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_packed_weights_reach_tensorrt_as_plain_ones(version, bundle, bundled, fake_tensorrt):
    fake_tensorrt(version)
    for there, precision, name in ((bundle, "fp32", "fp32"), (bundle, "fp16", "fp32"), (bundled, "int8", "int8")):
        plain = compiled(there, precision)[1].graph
        onnx.save(pack(onnx.load(there.graph(name))), there.graph(name))
        found = compiled(there, precision)[1].graph
        assert list(found.node) == list(plain.node)
        assert constants(found) == constants(plain)


def test_another_tools_graph_has_no_calibration_of_ours(bundled, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    model = onnx.load(bundled.path / "int8.onnx")
    model.producer_name = "another tool"
    onnx.save(model, bundled.path / "int8.onnx")
    assert build_trt(bundled, "--precision", "int8")[0] == 0
    assert read_manifests(bundled)[0].calibration_sha256 is None
