"""The command as a user meets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import numpy_helper
from onnxruntime.quantization import QuantType

from htsat_edge.calibration.accuracy import main
from htsat_edge.calibration.graphs import round_weights, to_int8
from htsat_edge.calibration.observe import observe
from htsat_edge.calibration.quantize import main as quantize
from htsat_edge.evaluation.budget import Accuracy
from htsat_edge.runtime.common.config import read_json
from htsat_edge.runtime.models.backends.ort import QUIET_DB
from htsat_edge.runtime.models.bundle import load_bundle

ROOT = Path(__file__).parent.parent.parent
BUDGET = "class_points: 100\nmacro_points: 100\nlost_percent: 100\n"
"""This network has learned nothing: what it gains and loses is chance, and only its inside can be judged."""


@pytest.fixture(scope="module")
def quantised(tiny_bundle, recordings, tmp_path_factory):
    """The tiny network with its 8-bit graphs, and thresholds at which it has events."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("quantised") / "bundle"))
    edit(bundle, lambda info: info.update(thresholds=dict.fromkeys(info["labels"], 0.35)))
    assert quantize([str(bundle), "--clips", str(recordings), "--count", "8", "--method", "minmax"]) == 0
    for name in ("fp16", "int8_fp16"):  # slow on a CPU
        (bundle / f"{name}.onnx").unlink()
    return bundle


@pytest.fixture
def bundle(quantised, tmp_path):
    return Path(shutil.copytree(quantised, tmp_path / "bundle"))


@pytest.fixture
def config(tmp_path):
    (tmp_path / "budget.yaml").write_text(BUDGET)
    return tmp_path / "budget.yaml"


def edit(bundle, change):
    info = json.loads((bundle / "model.json").read_text())
    change(info)
    (bundle / "model.json").write_text(json.dumps(info))


def accuracy(bundle, clips, *arguments):
    paths = clips if isinstance(clips, list) else [clips]
    try:
        return main([str(argument) for argument in (bundle, "--clips", *paths, *arguments)])
    except SystemExit as error:
        return error.code


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def as_if_written(bundle, name, model):
    """Put a graph with a fault into a bundle as if quantize.py had made it so."""
    onnx.save(model, bundle / f"{name}.onnx")
    sha256 = load_bundle(bundle).sha256(name)
    edit(bundle, lambda info: info["quantization"]["sha256"].update({name: sha256}))


def multiply(bundle, constant, factor, name="int8"):
    model = onnx.load(bundle / f"{name}.onnx")
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == constant]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), constant))
    as_if_written(bundle, name, model)


def test_it_measures_every_graph_on_the_whole_path(bundle, clips, config, capsys):
    assert accuracy(bundle, clips, "--config", config) == 0
    out = capsys.readouterr().out
    assert "6 recordings of labels.csv, 1.2 minutes, labels say when each class sounds" in out
    assert "worst class, event F1" in out
    assert f"next: htsat-edge detect RECORDING --bundle {bundle}\nnext: python -m htsat_edge.export.build_trt" in out
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert list(found.graphs) == ["fp32", "int8", "cpu-int8"]
    assert list(bundle.glob(".*")) == []
    for name, measured in found.graphs.items():
        assert measured.sha256 == load_bundle(bundle).sha256(name)
        assert measured.figures.keys() == {"clip_ap", "step_ap", "event_f1", "segment_f1", "psds1", "psds2"}
        assert measured.events > 0
        assert measured.false_events_per_hour > 0
        assert measured.broken == []
    fp32, int8, _ = found.graphs.values()
    assert fp32.logit_snr_db is None
    assert {change.value for change in fp32.changes.values()} == {0}
    assert 30 < int8.logit_snr_db < 70
    assert int8.worst_clip.logit_snr_db < int8.logit_snr_db
    change = int8.changes["step_ap"]
    assert change.low <= change.value <= change.high
    page = (bundle / "accuracy.html").read_text()
    assert page.count("<svg") == 1 + 2 * 2  # the classes; scores and clips of each graph
    assert page.count(">kHz<") == 2
    assert "<script" not in page
    assert 'href="http' not in page


def test_without_labels_there_is_agreement(bundle, recordings, config, capsys):
    files = [recordings / f"{i}.flac" for i in range(2)]
    arguments = ["--precisions", "cpu-int8", "--page", bundle / "page.html", "--config", config]
    assert accuracy(bundle, files, *arguments) == 0
    assert "without labels: agreement with fp32" in capsys.readouterr().out
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert found.labels_say == "none"
    assert list(found.graphs) == ["fp32", "cpu-int8"]
    assert found.graphs["cpu-int8"].figures == {}
    assert (bundle / "page.html").is_file()


def test_a_scale_that_was_planted_is_named(bundle, few, config, capsys):
    multiply(bundle, "layers.1.blocks.0.norm2_scale", 4)
    assert accuracy(bundle, few, "--config", config) == 1
    err = capsys.readouterr().err
    assert err.startswith("accuracy.py: over budget: int8: the 8-bit range of layers.1.blocks.0.norm2 is ")
    assert "dB more noise than the best range, allowed are 9" in err
    assert "cpu-int8" not in err
    assert len(err.splitlines()) == 1
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert found.graphs["int8"].broken
    assert found.recommended["onnxruntime"] != "int8"


def test_weights_that_were_spoilt_are_named(bundle, few, config, capsys):
    multiply(bundle, "layers.2.blocks.1.mlp.fc1.matmul.1_scale", 4)
    assert accuracy(bundle, few, "--config", config, "--precisions", "int8") == 1
    err = capsys.readouterr().err
    assert "int8: the raw outputs have a signal to noise of" in err
    assert "the difference comes from layers.2.blocks.1.mlp.fc1.matmul" in err


def test_a_front_end_in_eight_bits_is_named(bundle, few, config, capsys):
    model = onnx.load(bundle / "int8.onnx")
    for node in model.graph.node:
        if node.name == "bn0.scale":
            node.input[0] = "planted"
    scale = [numpy_helper.from_array(np.float32(0.8), "step"), numpy_helper.from_array(np.int8(0), "zero")]
    model.graph.initializer.extend(scale)
    for kind, names in (("DequantizeLinear", ["bits", "planted"]), ("QuantizeLinear", ["log_mel", "bits"])):
        node = onnx.helper.make_node(kind, [names[0], "step", "zero"], names[1:], kind)
        model.graph.node.insert(0, node)
    as_if_written(bundle, "int8", model)
    assert accuracy(bundle, few, "--config", config, "--precisions", "int8") == 1
    assert "int8: log_mel is in 8 bits, but only inputs of linear layers may be" in capsys.readouterr().err


def test_calibration_on_silence_is_named(bundle, few, config, capsys, linears, model):
    silence = observe(model, linears, np.full((2, 1024, 64), -100, np.float32))
    rounded = round_weights(model, linears, silence)
    graph = to_int8(model, linears, rounded, silence.ranges("minmax", True), QuantType.QInt8)
    as_if_written(bundle, "int8", graph)
    assert accuracy(bundle, few, "--config", config, "--precisions", "int8") == 1
    err = capsys.readouterr().err
    assert "more: was it calibrated on other sounds than these?" in err


def fail_on_sound(path):
    """Make the scores of a graph NaN wherever a window is not quite silent, which is not seen when it is loaded."""
    model = onnx.load(path)
    (last,) = [node for node in model.graph.node if "framewise" in node.output]
    last.output[list(last.output).index("framewise")] = "scores"
    constants = {"threshold": QUIET_DB, "nothing": 0.0}
    model.graph.initializer.extend(numpy_helper.from_array(np.float32(x), name) for name, x in constants.items())
    model.graph.node.extend(
        [
            onnx.helper.make_node("ReduceMax", ["log_mel"], ["loudest"], keepdims=0),
            onnx.helper.make_node("Sub", ["threshold", "loudest"], ["below"]),
            onnx.helper.make_node("Sqrt", ["below"], ["root"]),
            onnx.helper.make_node("Mul", ["root", "nothing"], ["bad"]),
            onnx.helper.make_node("Add", ["scores", "bad"], ["framewise"]),
        ]
    )
    onnx.save(model, path)


def test_scores_that_are_no_numbers_are_never_good(bundle, few, config, capsys):
    fail_on_sound(bundle / "int8.onnx")
    assert accuracy(bundle, few, "--config", config, "--precisions", "int8") == 1
    assert "int8: its scores are not finite numbers" in capsys.readouterr().err
    assert read_json(bundle / "accuracy.json", Accuracy).recommended["onnxruntime"] == "fp32"


def test_a_quiet_room_has_nothing_but_false_events(bundle, recordings, config, capsys):
    quiet = recordings / "quiet.csv"
    quiet.write_text("file,class\n0.flac,background\n1.flac,background\n")
    assert accuracy(bundle, quiet, "--config", config, "--precisions", "int8") == 0
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert found.graphs["int8"].figures == {}
    assert found.graphs["int8"].false_events_per_hour > 0


def test_a_model_of_one_class(bundle, recordings, config):
    edit(bundle, lambda info: info.update(labels=[f"x{i}" for i in range(9)] + ["Dog"], thresholds={}))
    several = [recordings / "one.csv", recordings / "two.csv"]
    for i, path in enumerate(several):
        path.write_text(f"file,class,onset,offset\n{i}.flac,Dog,1,3\n")
    assert accuracy(bundle, several, "--config", config, "--precisions", "int8") == 0
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert found.recordings == 2
    assert found.graphs["int8"].class_figures["Dog"].keys() == {"clip_ap", "step_ap", "event_f1", "segment_f1"}


def test_measuring_with_another_networks_classes(bundle, recordings, clips, config):
    """DESED's ten, ESC-50's fold."""
    labels = ["Speech", "Frying", "Dishes", "Running_water", "Blender", "Electric_shaver_toothbrush"]
    labels += ["Alarm_bell_ringing", "Cat", "Dog", "Vacuum_cleaner"]
    edit(bundle, lambda info: info.update(labels=labels, thresholds={}))
    table = bundle.parent / "public.tsv"
    table.write_text("filename\tonset\toffset\tevent_label\n0.wav\t1\t3\tDog\n1.wav\t0\t4\tCat\n2.wav\t\t\t\n")
    for i in range(3):
        samples, rate = soundfile.read(recordings / f"{i}.flac", frames=10 * 32_000)
        soundfile.write(bundle.parent / f"{i}.wav", samples, rate)
    arguments = ["--dataset", "desed", "--precisions", "int8", "--config", config]
    assert accuracy(bundle, [table, bundle.parent], *arguments) == 0
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert (found.recordings, found.labels_say) == (3, "when")
    assert set(found.graphs["int8"].class_figures) == set(labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--clips", "{empty}"], "no recording in"),
        (["--clips", "{clips}", "--precisions", "fp8"], "has no fp8.onnx; precisions here: cpu-int8, fp32, int8"),
        (["--clips", "{clips}", "--dataset", "esc50"], "want ESC-50's meta/esc50.csv; there is none"),
        (["--clips", "{clips}", "--config", "{bad}"], "logit_snr: unknown key, meant logit_snr_db?"),
        (["--clips", "{clips}", "--fold", "1"], "labels.csv has no fold 1, nor any other"),
        (["--clips", "{clips}", "--page", "{empty}/none/x.html"], "x.html: cannot be written: No such file"),
        (["--clips", "{clips}", "--page", "{empty}"], "empty: is a folder, want the name of a file"),
        (["--clips", "{clips}", "--page", "{bundle}/accuracy.json"], "cannot be both the figures and the page"),
        (["--clips", "{late}"], "0.flac: lasts 12.000 s, but its labels have class 1 from 11 to 13 s"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_bundle_alone(
    arguments, message, bundle, clips, recordings, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text("logit_snr: 3\n")
    late = recordings / "late.csv"
    late.write_text("file,class,onset,offset\n0.flac,class 1,11,13\n")
    before = contents(bundle)
    places = {"bundle": bundle, "empty": tmp_path / "empty", "clips": clips, "bad": tmp_path / "bad.yaml", "late": late}
    try:
        status = main([str(bundle), *(argument.format(**places) for argument in arguments)])
    except SystemExit as error:
        status = error.code
    assert status == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert contents(bundle) == before


def test_the_graphs_for_a_cpu_are_judged_as_the_others(bundle, cpu_graph, recordings, few, config, capsys):
    onnx.save(cpu_graph, bundle / "cpu-fp32.onnx")
    arguments = ["--clips", str(recordings), "--count", "8", "--method", "minmax", "--graphs", "cpu-int8"]
    assert quantize([str(bundle), *arguments]) == 0
    assert accuracy(bundle, few, "--config", config) == 0
    found = read_json(bundle / "accuracy.json", Accuracy)
    assert list(found.graphs) == ["fp32", "cpu-fp32", "cpu-int8"]
    assert found.graphs["cpu-fp32"].logit_snr_db > 100
    assert {change.value for change in found.graphs["cpu-fp32"].changes.values()} == {0}
    multiply(bundle, "layers.2.blocks.0.mlp.gelu_scale", 16, "cpu-int8")  # which fp32.onnx has no tensor of
    assert accuracy(bundle, few, "--config", config) == 1
    assert "; cpu-int8: the 8-bit range of layers.2.blocks.0.mlp.gelu is " in (err := capsys.readouterr().err)
    assert "; cpu-int8: the difference comes from layers.2.blocks.0.mlp.fc2.matmul: " in err
    (bundle / "cpu-fp32.onnx").unlink()
    assert accuracy(bundle, few, "--config", config) == 2
    assert "has no cpu-fp32.onnx" in capsys.readouterr().err
    assert accuracy(bundle, few, "--config", config, "--precisions", "fp32") == 0


def test_a_graph_for_a_cpu_that_answers_otherwise_is_over_budget(bundle, cpu_graph, few, config, capsys):
    onnx.save(cpu_graph, bundle / "cpu-fp32.onnx")
    multiply(bundle, "layers.2.blocks.0.mlp.fc1.matmul.1", 4, "cpu-fp32")
    assert accuracy(bundle, few, "--config", config, "--precisions", "cpu-fp32") == 1
    assert "accuracy.py: over budget: cpu-fp32: the raw outputs have" in capsys.readouterr().err
    assert read_json(bundle / "accuracy.json", Accuracy).recommended["onnxruntime"] == "fp32"
    assert load_bundle(bundle).recommended() == "fp32"


def test_a_graph_that_this_machine_refuses_is_not_recommended(bundle, few, config, monkeypatch, capsys):
    monkeypatch.setattr(f"{main.__module__}.why_refused", lambda path: f"{path}: is old" if path.stem == "int8" else "")
    monkeypatch.setattr(f"{main.__module__}.recommend", lambda graphs, _: " or ".join(graphs))
    assert accuracy(bundle, few, "--config", config) == 0
    assert read_json(bundle / "accuracy.json", Accuracy).recommended == {"onnxruntime": "fp32 or cpu-int8"}
    assert f"not to be chosen here: {bundle / 'int8.onnx'}: is old\n" in capsys.readouterr().out


def test_graphs_of_another_fp32_are_refused(bundle, clips, capsys):
    model = onnx.load(bundle / "fp32.onnx")
    model.doc_string = "another"
    onnx.save(model, bundle / "fp32.onnx")
    assert accuracy(bundle, clips) == 2
    err = capsys.readouterr().err
    assert (
        "fp32.onnx has changed since the other graphs were made from it; run python -m htsat_edge.calibration." in err
    )


@pytest.mark.parametrize("file", ["accuracy.json", "accuracy.html"])
def test_a_full_disk_leaves_the_bundle_alone(file, bundle, recordings, config, capsys, monkeypatch):
    assert accuracy(bundle, recordings / "0.flac", "--precisions", "int8", "--config", config) == 0
    before, write = contents(bundle), Path.write_text

    def full(path, text, **options):
        if path.suffixes[-2:] == [Path(file).suffix, ".part"]:
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    assert accuracy(bundle, recordings / "1.flac", "--precisions", "int8") == 2
    assert "cannot be written: No space left on device; what was there is as it was" in capsys.readouterr().err
    assert contents(bundle) == before


def test_stopped_it_leaves_the_bundle_alone(bundle, clips, monkeypatch):
    before = contents(bundle)

    def stop(path, versions):
        raise KeyboardInterrupt

    monkeypatch.setattr("htsat_edge.calibration.accuracy.play", stop)
    assert accuracy(bundle, clips) == 130
    assert contents(bundle) == before


def test_it_runs_as_a_script(tmp_path):
    command = [sys.executable, ROOT / "calibration" / "accuracy.py", tmp_path / "none", "--clips", tmp_path]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.returncode == 2
    assert (
        found.stderr == f"accuracy.py: {tmp_path / 'none'}: no such bundle; "
        "python -m htsat_edge.export.to_onnx makes one from a checkpoint\n"
    )
