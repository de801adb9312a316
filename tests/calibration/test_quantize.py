"""The command as a user meets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from htsat_edge.calibration.material import open_graph
from htsat_edge.calibration.observe import METHODS
from htsat_edge.calibration.packing import pack
from htsat_edge.calibration.plain import plain
from htsat_edge.calibration.quantize import main
from htsat_edge.calibration.structure import find_linears, name_of_logits
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle

ROOT = Path(__file__).parent.parent.parent
GRAPHS = ["cpu-int8", "fp16", "int8", "int8_fp16"]


@pytest.fixture
def bundle(small_bundle, tmp_path):
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


@pytest.fixture
def whole(tiny_bundle, tmp_path):
    """A bundle of a network with shifted windows, too."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def quantize(bundle, recordings, *arguments):
    return main([str(bundle), "--clips", str(recordings), "--count", "8", *map(str, arguments)])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_writes_every_graph_and_how_it_was_made(whole, recordings, capsys, windows):
    bundle = whole
    assert quantize(bundle, recordings, "--method", "minmax") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].endswith(f"python -m htsat_edge.calibration.accuracy {bundle} --clips OTHER_RECORDINGS")
    there = load_bundle(bundle)
    made = there.info.quantization
    assert made is not None
    assert (made.method, made.cpu_method, made.float_layers) == ("minmax", "minmax", [])
    assert sorted(made.logit_snr_db) == GRAPHS
    assert len(made.clips) == 6
    for name in GRAPHS:
        assert f"{name}.onnx" in out
        scores = open_graph(there, name, None).infer(windows[:1])
        assert scores.framewise.shape == (1, 32, 10)
    assert sorted(path.name for path in bundle.iterdir()) == sorted(
        [*(f"{name}.onnx" for name in GRAPHS), "fp32.onnx", "model.json"]
    )
    assert json.loads((bundle / "model.json").read_text())["labels"] == there.info.labels


def test_it_writes_only_what_is_asked_for(bundle, recordings):
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "cpu-int8,int8") == 0
    assert load_bundle(bundle).precisions() == ["cpu-int8", "fp32", "int8"]
    assert load_bundle(bundle).info.quantization.logit_snr_db.keys() == {"cpu-int8", "int8"}


def test_of_packed_graphs_it_makes_the_same_ones_packed(whole, model, cpu_graph, recordings, tmp_path):
    """As export/to_onnx.py --half-weights writes them."""
    packed = Path(shutil.copytree(whole, tmp_path / "packed"))
    for name, graph in {"fp32": model, "cpu-fp32": cpu_graph}.items():
        onnx.save(graph, whole / f"{name}.onnx")
        onnx.save(pack(graph), packed / f"{name}.onnx")
    for folder in (whole, packed):
        assert quantize(folder, recordings, "--method", "minmax") == 0
    ours, theirs = (load_bundle(folder).info.quantization for folder in (packed, whole))
    assert ours.logit_snr_db == theirs.logit_snr_db
    for name in GRAPHS:
        found, wanted = (onnx.load(folder / f"{name}.onnx") for folder in (packed, whole))
        assert found.ByteSize() < 0.9 * wanted.ByteSize()
        again, wanted = plain(found), plain(wanted)
        assert list(again.graph.node) == list(wanted.graph.node)
        values = [{x.name: numpy_helper.to_array(x) for x in model.graph.initializer} for model in (again, wanted)]
        assert values[0].keys() == values[1].keys()
        assert all(np.array_equal(value, values[1][name]) for name, value in values[0].items())


@pytest.fixture
def on_cpu(bundle, small_cpu_graph):
    """The bundle with its graph for a CPU."""
    onnx.save(small_cpu_graph, bundle / "cpu-fp32.onnx")
    return bundle


def test_the_graph_for_a_cpu_is_made_of_the_one_for_a_cpu(whole, cpu_graph, recordings, capsys, windows):
    on_cpu = whole
    onnx.save(cpu_graph, on_cpu / "cpu-fp32.onnx")
    assert quantize(on_cpu, recordings, "--method", "minmax", "--graphs", "int8,cpu-int8") == 0
    assert "made from fp32.onnx" not in capsys.readouterr().out
    there = load_bundle(on_cpu)
    assert there.info.quantization.cpu_fp32_sha256 == there.sha256("cpu-fp32")
    assert there.info.quantization.logit_snr_db["cpu-int8"] >= 30
    model = onnx.load(there.graph("cpu-int8"))
    attention = [node for node in model.graph.node if node.op_type == "Attention"]
    assert len(attention) == 9
    # onnxruntime computes in integers what stands between a pair of these: weights, and biases as 32-bit integers.
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    gemms = [node for node in model.graph.node if node.op_type == "Gemm"]
    made = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    assert all(types[made[gemm.input[1]]] == onnx.TensorProto.INT8 for gemm in gemms)
    assert all(types[made[gemm.input[2]]] == onnx.TensorProto.INT32 for gemm in gemms if len(gemm.input) > 2)
    backend = open_backend(there, "cpu-int8")
    alone = np.concatenate([backend.infer(window[None]).framewise for window in windows])
    np.testing.assert_allclose(backend.infer(windows).framewise, alone, atol=1e-6)


def test_layers_stay_in_float_in_the_graph_for_a_cpu_too(on_cpu, recordings):
    assert quantize(on_cpu, recordings, "--method", "minmax") == 0
    made = load_bundle(on_cpu).info.quantization
    budget = min(snr for name, snr in made.logit_snr_db.items() if name != "fp16") + 1
    assert quantize(on_cpu, recordings, "--method", "minmax", "--graphs", "int8,cpu-int8", "--budget", budget) == 0
    kept = load_bundle(on_cpu).info.quantization.float_layers
    assert kept
    model = onnx.load(on_cpu / "cpu-int8.onnx")
    weights = {tensor.name for tensor in model.graph.initializer}
    floats = {node.input[1] for node in model.graph.node if node.op_type == "Gemm" and node.input[1] in weights}
    assert floats == {linear.weight for linear in find_linears(onnx.load(on_cpu / "fp32.onnx")) if linear.name in kept}


def test_a_damaged_graph_for_a_cpu_is_one_line(on_cpu, recordings, capsys):
    (on_cpu / "cpu-fp32.onnx").write_bytes(b"no graph")
    assert quantize(on_cpu, recordings, "--graphs", "cpu-int8") == 2
    err = capsys.readouterr().err
    assert "cpu-fp32.onnx: onnxruntime cannot load it" in err
    assert len(err.splitlines()) == 1


def test_a_graph_for_a_cpu_of_another_model_is_refused(on_cpu, recordings, capsys):
    model = onnx.load(on_cpu / "cpu-fp32.onnx")
    (weight,) = [x for x in model.graph.initializer if x.name == "layers.2.blocks.0.mlp.fc1.matmul.1"]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    onnx.save(model, on_cpu / "cpu-fp32.onnx")
    before = contents(on_cpu)
    assert quantize(on_cpu, recordings, "--method", "minmax", "--graphs", "cpu-int8") == 2
    error = capsys.readouterr().err
    assert "cpu-fp32.onnx: its layers.2.blocks.0.mlp.fc1.matmul is not that of fp32.onnx" in error
    assert contents(on_cpu) == before


def test_the_same_recordings_give_the_same_files(bundle, recordings, tmp_path):
    again = shutil.copytree(bundle, tmp_path / "again")
    for folder in (bundle, again):
        assert quantize(folder, recordings, "--method", "mse") == 0
    assert contents(bundle) == contents(again)


def test_the_best_method_is_no_worse_than_another(whole, recordings, monkeypatch):
    bundle, reached = whole, []
    monkeypatch.setattr("htsat_edge.calibration.observe.BINS", 512)  # by entropy, 2048 take 16 times as long
    for method in ("minmax", "mse"):
        assert quantize(bundle, recordings, "--method", method, "--graphs", "int8") == 0
        reached.append(load_bundle(bundle).info.quantization.logit_snr_db["int8"])
    assert quantize(bundle, recordings, "--graphs", "int8") == 0
    best = load_bundle(bundle).info.quantization
    assert best.method in METHODS
    assert best.logit_snr_db["int8"] >= max(reached)


def test_a_budget_puts_layers_back_and_says_which(bundle, recordings, capsys):
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "int8") == 0
    reached = load_bundle(bundle).info.quantization.logit_snr_db["int8"]
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "int8", "--budget", reached + 1) == 0
    made = load_bundle(bundle).info.quantization
    assert made.logit_snr_db["int8"] >= reached + 0.9
    assert 0 < len(made.float_layers) <= 13
    assert f"{len(made.float_layers)} of 27 layers stay in floating point" in capsys.readouterr().out
    names = {node.name for node in onnx.load(bundle / "int8.onnx").graph.node}
    assert not any(f"{name}_DequantizeLinear" in names for name in made.float_layers)
    ranking = json.loads((bundle / "sensitivity.json").read_text())["logit_snr_db"]
    assert list(ranking)[: len(made.float_layers)] == made.float_layers


def test_a_budget_that_cannot_be_met_leaves_the_bundle_alone(bundle, recordings, capsys):
    before = contents(bundle)
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "int8", "--budget", 200) == 1
    assert "budget of 200 dB cannot be met" in capsys.readouterr().err
    after = contents(bundle)
    after.pop("sensitivity.json")
    assert after == before


def test_a_full_disk_leaves_the_bundle_alone(bundle, recordings, capsys, monkeypatch):
    before = contents(bundle)
    save, calls = onnx.save, []

    def full(model, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        save(model, path)

    monkeypatch.setattr("htsat_edge.calibration.quantize.onnx.save", full)
    assert quantize(bundle, recordings, "--method", "minmax") == 2
    assert "No space left on device; what was there is as it was" in capsys.readouterr().err
    assert contents(bundle) == before


def test_a_disk_that_fails_when_files_change_places_leaves_the_bundle_alone(bundle, recordings, capsys, monkeypatch):
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "int8") == 0
    before, replace, places = contents(bundle), Path.replace, []

    def fails(path, target):
        if path.name == "int8.onnx" and path.parent.name == "new" and not places:
            places.append(target)
            raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fails)
    assert quantize(bundle, recordings, "--method", "mse") == 2
    assert places
    assert "Input/output error; what was there is as it was" in capsys.readouterr().err
    assert contents(bundle) == before


def test_a_disk_that_fails_for_good_leaves_everything_in_a_folder_that_is_named(
    bundle, recordings, capsys, monkeypatch
):
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "int8") == 0
    before, replace = contents(bundle), Path.replace

    def fails(path, target):
        if path.name == "model.json":
            raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fails)
    assert quantize(bundle, recordings, "--method", "mse") == 2
    (folder,) = bundle.glob(".replacing.*/old")
    assert (
        f"Input/output error; nor could everything be put back: what is missing is in {folder}"
        in capsys.readouterr().err
    )
    there = {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()}
    assert {**there, **contents(folder)} == before


def test_a_budget_holds_for_every_graph(bundle, recordings, capsys):
    assert quantize(bundle, recordings, "--method", "minmax") == 0
    reached = load_bundle(bundle).info.quantization.logit_snr_db
    without = [reached[name] for name in ("int8", "int8_fp16", "cpu-int8")]
    budget = max(min(without) + 0.2, (min(without) + max(without)) / 2)  # which the best of them keeps to as it is
    assert quantize(bundle, recordings, "--method", "minmax", "--budget", budget) == 0
    made = load_bundle(bundle).info.quantization
    assert made.float_layers
    assert min(made.logit_snr_db.values()) >= budget - 0.1


def test_graphs_of_another_calibration_do_not_stay(bundle, recordings, capsys):
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "int8,fp16") == 0
    assert quantize(bundle, recordings, "--method", "mse", "--graphs", "cpu-int8") == 0
    assert "removed, as of an earlier calibration: fp16.onnx, int8.onnx" in capsys.readouterr().out
    assert load_bundle(bundle).precisions() == ["cpu-int8", "fp32"]
    assert load_bundle(bundle).info.quantization.logit_snr_db.keys() == {"cpu-int8"}


def test_what_is_too_great_for_half_precision_is_not_written(bundle, recordings, capsys):
    model = onnx.load(bundle / "fp32.onnx")
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == "layers.1.blocks.0.norm1.1"]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e5), weight.name))
    onnx.save(model, bundle / "fp32.onnx")
    before = contents(bundle)
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "fp16") == 1
    assert "fp16.onnx: its raw outputs are no numbers; the bundle is as it was" in capsys.readouterr().err
    assert contents(bundle) == before


def test_a_bundle_that_cannot_be_opened_is_reported_before_anything_is_read(bundle, capsys):
    (bundle / "fp32.onnx").write_bytes((bundle / "fp32.onnx").read_bytes()[:1000])
    assert quantize(bundle, "nowhere") == 2
    assert "fp32.onnx: onnxruntime cannot load it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", "nowhere"], "nowhere: no such file"),
        (["--clips", "{empty}"], "no recording in"),
        (["--clips", "x", "--graphs", "int8,fp8"], "'fp8' is none of fp16, int8, int8_fp16, cpu-int8"),
        (["--clips", "x", "--count", "0"], "'0' is not a whole number from 1 on"),
        (["--clips", "x", "--count", "3"], "--count 3: want at least 8 windows"),
        (["--clips", "x", "--seed", "-1"], "'-1' is not a whole number from 0 on"),
        (["--clips", "x", "--budget", "nan"], "'nan' is not a number of dB"),
        (["--clips", "x", "--method", "random"], "invalid choice"),
    ],
)
def test_bad_input_is_one_line(arguments, message, bundle, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    arguments = [argument.format(empty=tmp_path / "empty") for argument in arguments]
    try:
        status = main([str(bundle), *arguments])
    except SystemExit as error:
        status = error.code
    assert status == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_it_runs_as_a_script(tmp_path):
    command = [sys.executable, ROOT / "calibration" / "quantize.py", tmp_path / "none", "--clips", tmp_path]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.returncode == 2
    assert (
        found.stderr == f"quantize.py: {tmp_path / 'none'}: no such bundle; "
        "python -m htsat_edge.export.to_onnx makes one from a checkpoint\n"
    )


def test_scores_that_never_change_are_one_line(bundle, recordings, capsys):
    """Those of a network without a head: the weight is zero, and only the bias remains."""
    model = onnx.load(bundle / "fp32.onnx")
    head = next(node for node in model.graph.node if node.output[0] == name_of_logits(model))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nothing"))
    whole = head.output[0]
    head.output[0] = "sounding"
    place = list(model.graph.node).index(head) + 1
    model.graph.node.insert(place, helper.make_node("Mul", ["sounding", "nothing"], [whole], name="silence"))
    onnx.save(model, bundle / "fp32.onnx")
    before = contents(bundle)
    assert quantize(bundle, recordings, "--method", "minmax", "--graphs", "fp16") == 2
    assert "fp32.onnx: gives every window the same scores" in capsys.readouterr().err
    assert contents(bundle) == before
