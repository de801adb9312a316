"""Weights outside the ONNX file: found without the onnx package, beside onnx as the twin."""

import contextlib
import shutil

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.external import INSIDE, external_files, rounds_half


@pytest.fixture(scope="module")
def outside(tiny_bundle, tmp_path_factory):
    """The tiny bundle with its weights in a file of their own."""
    folder = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("outside") / "bundle")
    model = onnx.load(folder / "fp32.onnx")
    onnx.save(model, folder / "fp32.onnx", save_as_external_data=True, location="fp32.onnx.data")
    return folder


@pytest.fixture
def bundle(outside, tmp_path):
    return load_bundle(shutil.copytree(outside, tmp_path / "bundle"))


def test_a_graph_with_its_weights_outside_scores_the_same(bundle, tiny_bundle):
    assert external_files(bundle.path / "fp32.onnx") == [bundle.path / "fp32.onnx.data"]
    assert (bundle.path / "fp32.onnx").stat().st_size < 200_000
    window = np.random.default_rng(0).normal(-40, 20, (1, 1024, 64)).astype(np.float32)
    ours, whole = (open_backend(b, "fp32").infer(window) for b in (bundle, load_bundle(tiny_bundle)))
    np.testing.assert_array_equal(ours.framewise, whole.framewise)


def test_it_belongs_to_the_hash_and_to_the_size(bundle):
    before, data = bundle.sha256("fp32"), bundle.path / "fp32.onnx.data"
    assert bundle.size("fp32") == data.stat().st_size + (bundle.path / "fp32.onnx").stat().st_size
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    assert bundle.sha256("fp32") != before


def test_a_graph_that_is_whole_has_the_hash_of_its_file():
    assert load_bundle(BUNDLED).is_own("int8") is True
    assert external_files(BUNDLED / "fp32.onnx") == []


@pytest.mark.parametrize("where", ["backend", "hash"])
def test_one_that_is_missing_is_one_line(where, bundle):
    (bundle.path / "fp32.onnx.data").unlink()
    with pytest.raises(HtsatEdgeError) as caught:
        open_backend(bundle, "fp32") if where == "backend" else bundle.sha256("fp32")
    assert str(caught.value) == (
        f"{bundle.path / 'fp32.onnx'}: its weights are in fp32.onnx.data, which is missing; copy it into {bundle.path} "
        "too"
    )


@pytest.mark.parametrize("location", ["../other", "/etc/passwd", "sub/../../other"])
def test_a_file_outside_the_folder_is_refused(location, tmp_path):
    graph = helper.make_graph([], "g", [], [], initializer=[outer(location)])
    (tmp_path / "x.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(HtsatEdgeError, match="which is outside its folder"):
        external_files(tmp_path / "x.onnx")


def test_the_files_of_each_tensor_are_found_also_in_nodes(bundle, tmp_path):
    model = onnx.load(bundle.path / "fp32.onnx")
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["more"], value=weight))
    path = tmp_path / "many" / "fp32.onnx"
    path.parent.mkdir()
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=1000,
        convert_attribute=True,
    )
    there = onnx.load(path, load_external_data=False)
    tensors = [*there.graph.initializer, there.graph.node[0].attribute[0].t]
    wanted = {
        entry.value for x in tensors if uses_external_data(x) for entry in x.external_data if entry.key == "location"
    }
    assert len(wanted) > 50
    assert {path.name for path in external_files(path)} == wanted


def outer(location):
    """A tensor whose content is in a file."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "x")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_weights_in_a_local_function_and_in_sparse_tensors_are_found(tmp_path):
    constant = helper.make_node("Constant", [], ["w"], value=outer("function.data"))
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("local", "F", [], ["w"], [constant], opsets)
    sparse = onnx.SparseTensorProto(values=outer("values.data"), indices=outer("indices.data"), dims=[9])
    graph = helper.make_graph([helper.make_node("F", [], ["y"], domain="local")], "g", [], [])
    graph.sparse_initializer.append(sparse)
    path = tmp_path / "x.onnx"
    onnx.save(helper.make_model(graph, functions=[function]), path)
    names = ["function.data", "indices.data", "values.data"]
    for name in names:
        with pytest.raises(HtsatEdgeError, match="which is missing"):
            external_files(path)
        (tmp_path / name).write_bytes(b"1234")
    assert [file.name for file in external_files(path)] == names


def test_every_field_of_onnx_that_leads_to_a_tensor_is_known():
    leads, found = {}, [onnx.ModelProto.DESCRIPTOR]
    for message in found:  # grows meanwhile
        leads[message.name] = {x.number: x.message_type.name for x in message.fields if x.message_type}
        found += {x.message_type for x in message.fields if x.message_type and x.message_type not in found}
    reach = {"TensorProto"}
    while more := {name for name, fields in leads.items() if reach & {*fields.values()}} - reach:
        reach |= more
    kinds = {"TrainingInfoProto": "training", "SparseTensorProto": "sparse"}
    kind_of = {name: kinds.get(name, name.removesuffix("Proto").lower()) for name in reach}
    wanted = {
        kind_of[name]: {number: kind_of[to] for number, to in leads[name].items() if to in reach}
        for name in reach - {"TensorProto"}
    }
    external = onnx.TensorProto.DESCRIPTOR.fields_by_name["external_data"]
    assert wanted | {"tensor": {external.number: "entry"}} == INSIDE


@given(noise=st.binary(max_size=200), place=st.integers(0, 10**6), cut=st.booleans())
@settings(deadline=None, max_examples=100)
def test_what_is_no_graph_has_none(noise, place, cut, outside):
    """And raises nothing: whoever loads it says what is wrong."""
    content = bytearray((outside / "fp32.onnx").read_bytes())
    place %= len(content)
    content[place : place + len(noise)] = noise
    path = outside / "noise.onnx"
    path.write_bytes(content[:place] if cut else content)
    with contextlib.suppress(HtsatEdgeError):  # the name of the file may be hit: it is missing then, or outside
        assert {x.name for x in external_files(path)} <= {"fp32.onnx.data"}
    path.unlink()


def rounding(kind, raw):
    """A graph that rounds a tensor of a type to 8 bits, its scale stored raw or as numbers."""
    scale = helper.make_tensor("step", kind, [], [0.5])
    if raw:
        scale = numpy_helper.from_array(numpy_helper.to_array(scale), "step")
    zero = numpy_helper.from_array(np.int8(0), "zero")
    node = helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["y"])
    other = helper.make_node("Mul", ["x", "half"], ["z"])
    half = numpy_helper.from_array(np.float16(2), "half")
    return helper.make_model(helper.make_graph([other, node], "g", [], [], initializer=[half, zero, scale]))


@pytest.mark.parametrize("raw", [True, False])
def test_what_rounds_half_precision_is_known(raw, tmp_path):
    path = tmp_path / "x.onnx"
    for kind, wanted in ((onnx.TensorProto.FLOAT16, True), (onnx.TensorProto.FLOAT, False)):
        path.write_bytes(rounding(kind, raw).SerializeToString())
        assert rounds_half(path) is wanted


def test_what_is_no_graph_rounds_nothing(tmp_path):
    whole = rounding(onnx.TensorProto.FLOAT16, raw=True).SerializeToString()
    path = tmp_path / "x.onnx"
    for content in (b"", b"no graph", whole[:-20]):
        path.write_bytes(content)
        assert rounds_half(path) is False
