"""The compiler against a fake TensorRT of each version (tests/fakes); NVIDIA's own is in test_build_rtx.py."""

import json

import onnx
import pytest

from htsat_edge.export.engine import build, choose_graph, load_graph
from htsat_edge.runtime.common.progress import Phases
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
    assert "python -m htsat_edge.export.to_onnx writes one that 8.6 knows" in err
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
