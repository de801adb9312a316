"""Graphs of other tools in a bundle: fp32.onnx as tools rewrite it, 8-bit graphs as they write them."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from htsat_edge.calibration import accuracy, quantize
from htsat_edge.calibration.explain import explain
from htsat_edge.evaluation.budget import Accuracy, Budget
from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.models.bundle import load_bundle

LOOSE = "class_points: 100\nmacro_points: 100\nlost_percent: 100\nlogit_snr_db: 10\n"
"""The tiny network has learned nothing: its scores differ by chance."""


@pytest.fixture
def bundle(small_bundle, tmp_path):
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def theirs(small_bundle, windows, tmp_path_factory):
    """What onnxruntime's quantiser makes of fp32.onnx, by its format."""

    class Windows(CalibrationDataReader):
        def __init__(self):
            self._rest = iter(windows[:2])

        def get_next(self):
            window = next(self._rest, None)
            return None if window is None else {"log_mel": window[None]}

    folder, made = tmp_path_factory.mktemp("theirs"), {}
    for form in (QuantFormat.QDQ, QuantFormat.QOperator):
        made[form.name] = folder / f"{form.name}.onnx"
        quantize_static(
            small_bundle / "fp32.onnx",
            made[form.name],
            Windows(),
            quant_format=form,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul"],
        )
    return made


def calibrate(bundle, recordings, *arguments):
    return quantize.main([str(bundle), "--clips", str(recordings), "--count", "8", "--method", "minmax", *arguments])


def measure(bundle, recordings, config, *arguments):
    return accuracy.main([str(bundle), "--clips", str(recordings), "--config", str(config), *arguments])


@pytest.fixture
def one(recordings):
    """One recording to measure on: whose a graph is and what is said of it does not depend on how many there are."""
    return recordings / "0.flac"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def config(tmp_path):
    (tmp_path / "budget.yaml").write_text(LOOSE)
    return tmp_path / "budget.yaml"


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_an_8_bit_graph_is_judged_by_its_scores(form, theirs, bundle, one, config, capsys):
    """Where its 8 bits are is no fault by itself: one line of 6475 characters refused NVIDIA's modelopt."""
    shutil.copy(theirs[form], bundle / "int8.onnx")
    assert measure(bundle, one, config) == 0
    out = capsys.readouterr().out
    assert "not made here by quantize.py, and so judged by the scores alone: int8.onnx" in out
    found = read_json(bundle / "accuracy.json", Accuracy).graphs["int8"]
    assert (found.broken, found.size) == ([], theirs[form].stat().st_size)
    assert 15 < found.logit_snr_db < 60


def test_one_that_is_over_budget_is_explained_in_bounds(theirs, bundle, one, config, capsys):
    shutil.copy(theirs["QDQ"], bundle / "int8.onnx")
    config.write_text(LOOSE.replace("snr_db: 10", "snr_db: 90"))
    assert measure(bundle, one, config) == 1
    err = capsys.readouterr().err
    assert "int8: the raw outputs have a signal to noise of" in err
    assert "more are in 8 bits, but only inputs of linear layers may be" in err
    assert len(err.splitlines()) == 1
    assert len(err) < 1500


def test_a_graph_with_a_fixed_batch_is_explained_too(theirs, small_bundle, windows):
    model = onnx.load(small_bundle / "fp32.onnx")
    fixed = onnx.load(theirs["QDQ"])
    for value in [*fixed.graph.input, *fixed.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 3
    budget = Budget()
    free = explain(model, onnx.load(theirs["QDQ"]), ["x"], list(windows[:1]), budget)
    assert explain(model, fixed, ["x"], list(windows[:1]), budget) == free
    assert len(free) >= 1


def test_it_is_not_replaced_and_not_removed(theirs, bundle, recordings, capsys):
    shutil.copy(theirs["QDQ"], bundle / "int8.onnx")
    before = contents(bundle)
    assert calibrate(bundle, recordings) == 2
    assert capsys.readouterr().err == (
        f"quantize.py: {bundle}/int8.onnx: was not written by quantize.py, and would be replaced; move it away, or "
        "leave it out with --graphs\n"
    )
    assert contents(bundle) == before
    assert calibrate(bundle, recordings, "--graphs", "fp16") == 0
    assert contents(bundle)["int8.onnx"] == before["int8.onnx"]
    there = load_bundle(bundle)
    assert (there.is_own("int8"), there.is_own("fp16")) == (False, True)


def test_whose_a_graph_is_where_no_hash_was_kept_is_not_known(bundle, recordings):
    """In bundles of a time before: they are replaced as then."""
    assert calibrate(bundle, recordings, "--graphs", "fp16") == 0
    info = json.loads((bundle / "model.json").read_text())
    assert info["quantization"].pop("sha256").keys() == {"fp16"}
    (bundle / "model.json").write_text(json.dumps(info))
    assert load_bundle(bundle).is_own("fp16") is None
    assert calibrate(bundle, recordings, "--graphs", "fp16") == 0
    assert load_bundle(bundle).is_own("fp16") is True


def test_how_many_layers_are_in_8_bits_is_said(bundle, recordings, capsys):
    path = bundle / "fp32.onnx"
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.name == "layers.1.blocks.0.mlp.fc1.matmul")
    node.op_type, node.domain = "FusedMatMul", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path, save_as_external_data=True, location="weights")
    assert calibrate(bundle, recordings, "--graphs", "int8") == 0
    out = capsys.readouterr().out
    assert "26 of 27 linear layers are in 8 bits, not layers.1.blocks.0.mlp.fc1.matmul" in out
    share = (bundle / "int8.onnx").stat().st_size / load_bundle(bundle).size("fp32")
    assert f"{100 * share:.0f} % of fp32.onnx" in out
    assert share < 0.8  # of a network this small the tables and the rest are much


def unknown_layers(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.name.startswith("layers.") and "attn.weights" not in node.name:
            node.op_type, node.domain = "FusedMatMul", "com.microsoft"


def three_at_a_time(model):
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 3


def no_weights(model):
    tensor = next(x for x in model.graph.initializer if len(x.dims) == 2)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="lost")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unknown_layers, "fp32.onnx: 0 of 27 linear layers can be quantised, not layers.0."),
        (
            three_at_a_time,
            "fp32.onnx: takes 3 windows at a time and no other number; want one that takes 1, or any number",
        ),
        (no_weights, "fp32.onnx: its weights are in lost, which is missing; copy it into"),
    ],
)
def test_what_cannot_be_quantised_is_one_line_and_the_bundle_stays(change, message, bundle, recordings, capsys):
    model = onnx.load(bundle / "fp32.onnx")
    change(model)
    (bundle / "fp32.onnx").write_bytes(model.SerializeToString())
    before = contents(bundle)
    assert calibrate(bundle, recordings) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert len(err) < 500
    assert contents(bundle) == before


def test_a_graph_that_takes_one_window_is_calibrated_and_measured(bundle, recordings, one, config, capsys):
    model = onnx.load(bundle / "fp32.onnx")
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, bundle / "fp32.onnx")
    assert calibrate(bundle, recordings, "--graphs", "int8") == 0
    assert "27 of 27 linear layers are in 8 bits\n" in capsys.readouterr().out
    assert measure(bundle, one, config) == 0
    assert np.isfinite(read_json(bundle / "accuracy.json", Accuracy).graphs["int8"].logit_snr_db)


def test_own_graphs_of_a_time_without_hashes_are_no_foreign_ones(bundle, recordings, config, capsys, monkeypatch):
    """They were said to be, and their inside was not looked at."""
    assert calibrate(bundle, recordings, "--graphs", "int8") == 0
    info = json.loads((bundle / "model.json").read_text())
    assert "int8" in info["quantization"].pop("sha256")
    (bundle / "model.json").write_text(json.dumps(info))
    assert load_bundle(bundle).is_own("int8") is None
    monkeypatch.setattr(accuracy, "explain", lambda *_: ["inside"])
    capsys.readouterr()
    assert measure(bundle, recordings / "0.flac", config, "--precisions", "int8") == 1
    out, err = capsys.readouterr()
    assert "not made here" not in out
    assert err == "accuracy.py: over budget: int8: inside\n"
