"""The export as a user runs it."""

import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from htsat_edge.calibration.plain import plain
from htsat_edge.export import to_onnx
from htsat_edge.export.cpu_graph import build_for_cpu
from htsat_edge.export.graph import build
from htsat_edge.export.to_onnx import main
from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.runtime.commands import cli
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle

ROOT = Path(__file__).parent.parent.parent


def export(capsys, arguments, *more, **changes):
    checkpoint, *options = [*{**arguments, **{f"--{key}": value for key, value in changes.items()}}.items()]
    try:
        # One graph is quick; where a test wants the other one, it says --cpu.
        status = main([str(checkpoint[1]), *[str(x) for option in options for x in option], "--no-cpu", *more])
    except SystemExit as error:  # argparse
        status = error.code
    return status, *capsys.readouterr()


def test_the_script_runs_as_the_readme_says(arguments):
    checkpoint, *options = arguments.items()
    command = [sys.executable, "export/to_onnx.py", checkpoint[1], *[x for option in options for x in option]]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "of torch's for 1, 2 and 5 windows at once" in result.stdout
    assert "thresholds: 0.5 for all 10 classes; --thresholds or --groups gives others\n" in result.stdout
    tried, live = result.stdout.splitlines()[-2:]
    assert tried == f"next: htsat-edge detect RECORDING --bundle {arguments['--out']}"
    assert live.startswith(f"live: `model: {{bundle: {arguments['--out']}}}` in the daemon's configuration")
    assert (arguments["--out"] / "fp32.onnx").is_file()
    assert (arguments["--out"] / "cpu-fp32.onnx").is_file()


def test_a_bundle_says_where_it_comes_from(capsys, arguments):
    assert export(capsys, arguments, "--name", "farm")[0] == 0
    info = load_bundle(arguments["--out"]).info
    assert (info.name, info.frames, info.steps, info.step_s) == ("farm", 1024, 32, 0.32)
    assert info.labels == [f"class {i}" for i in range(10)]
    assert len(info.provenance["checkpoint_sha256"]) == 64
    differences = info.provenance["largest_difference_from_torch_by_batch"]["fp32.onnx"]
    assert set(differences) == {"1", "2", "5"}
    assert max(differences.values()) < 1e-4
    assert not list(arguments["--out"].parent.glob(".*"))


def test_frames_of_the_reference(capsys, arguments):
    assert export(capsys, arguments, "--frames", "1001")[0] == 0
    info = load_bundle(arguments["--out"]).info
    assert (info.frames, info.step_s) == (1001, 0.3125)


def test_with_front_end_adds_a_graph_that_takes_audio(capsys, arguments):
    assert export(capsys, arguments, "--with-front-end")[0] == 0
    model = onnx.load(arguments["--out"] / "fp32-audio.onnx")
    assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [0, 1023 * 320]


def test_a_bundle_for_a_cpu_is_used_there(capsys, arguments, farmyard):
    status, out, _ = export(capsys, arguments, "--cpu")
    assert status == 0
    assert "cpu-fp32.onnx: " in out
    bundle = load_bundle(arguments["--out"])
    assert bundle.precisions() == ["cpu-fp32", "fp32"]
    assert bundle.recommended() == "cpu-fp32"
    assert set(bundle.info.provenance["largest_difference_from_torch_by_batch"]) == {"cpu-fp32.onnx", "fp32.onnx"}
    outputs = []
    for name in bundle.precisions():
        assert cli.main(["detect", str(farmyard), "--json", "--bundle", str(bundle.path), "--precision", name]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0].count("start") > 0
    assert outputs[0] == outputs[1]


def test_thresholds_travel_into_the_bundle(capsys, arguments, tmp_path):
    file = tmp_path / "thresholds.json"
    file.write_text(json.dumps({"thresholds": {"class 1": 0.3}, "median_steps": {"class 1": 3}}))
    status, out, _ = export(capsys, arguments, thresholds=file)
    assert status == 0
    assert "thresholds: 0.3 for 1 of 10 classes; 0.5 for the rest\n" in out
    assert load_bundle(arguments["--out"]).info.median_steps == {"class 1": 3}


def test_the_tree_of_labels_travels_into_the_bundle(capsys, arguments, tmp_path):
    assert export(capsys, arguments)[0] == 0
    assert "parents" not in json.loads((arguments["--out"] / "model.json").read_text())
    rows = [f"class {i},{'class 0; class 9' if i == 1 else ''}\n" for i in range(10)]
    labels = write(tmp_path / "tree.csv", "label,parents\n" + "".join(rows))
    assert export(capsys, arguments, labels=labels)[0] == 0
    assert load_bundle(arguments["--out"]).info.parents == {"class 1": ["class 0", "class 9"]}


def test_the_weights_to_fine_tune_from_are_those_of_the_checkpoint(capsys, arguments, tiny_network):
    out = arguments["--out"]
    assert export(capsys, arguments, "--with-weights")[0] == 0
    again = load_network(out / "weights.safetensors", tiny_network.config)
    for name, value in again.state_dict().items():
        if name in tiny_network.state_dict():
            torch.testing.assert_close(value, tiny_network.state_dict()[name], rtol=1e-3, atol=1e-4)
    assert export(capsys, arguments)[0] == 0
    assert not (out / "weights.safetensors").exists()  # it would be another model's


def test_weights_in_half_precision_are_those_to_fine_tune_from(capsys, arguments, tiny_network, tiny_weights, tmp_path):
    """The graph is the one of the saved weights to the bit, in fewer bytes."""
    out = arguments["--out"]
    arguments["checkpoint"] = tmp_path / "float.pt"
    weights = {name: x * 1.001 if x.is_floating_point() else x for name, x in tiny_weights.items()}
    torch.save(weights, arguments["checkpoint"])
    assert export(capsys, arguments, "--cpu")[0] == 0
    whole = {path.name: path.stat().st_size for path in out.glob("*.onnx")}
    assert export(capsys, arguments, "--cpu", "--half-weights", "--with-weights")[0] == 0
    again = load_network(out / "weights.safetensors", tiny_network.config)
    for name, make in {"fp32.onnx": build, "cpu-fp32.onnx": build_for_cpu}.items():
        assert (out / name).stat().st_size < 0.55 * whole[name]
        made, found = make(again, 1024), plain(onnx.load(out / name))
        assert list(found.graph.node) == list(made.graph.node)
        assert sorted(x.SerializeToString() for x in found.graph.initializer) == sorted(
            x.SerializeToString() for x in made.graph.initializer
        )


def test_weights_that_are_too_large_for_half_precision(capsys, arguments, tiny_weights, tmp_path):
    path = tmp_path / "large.pt"
    torch.save({**tiny_weights, "norm.weight": tiny_weights["norm.weight"] * 1e6}, path)
    message = "large.pt: norm.weight: too large for half precision; export it without --half-weights"
    refused(capsys, {**arguments, "checkpoint": path}, message, "--half-weights")


def test_a_new_model_leaves_nothing_of_the_old_but_what_somebody_wrote(capsys, arguments):
    out = arguments["--out"]
    export(capsys, arguments)
    for name in ("int8.onnx", "accuracy.json", "MODEL_CARD.md"):
        (out / name).write_text("of the old model")
    (out / "engines").mkdir()
    (out / "notes").mkdir()
    assert export(capsys, arguments, "--frames", "1001")[0] == 0
    assert sorted(file.name for file in out.iterdir()) == ["MODEL_CARD.md", "fp32.onnx", "model.json", "notes"]
    open_backend(load_bundle(arguments["--out"])).infer(np.zeros((2, 1001, 64), np.float32))


def test_a_wrong_graph_is_not_written(capsys, arguments, monkeypatch):
    """Plant a fault: a graph whose mask is missing."""

    def build_without_mask(network, frames):
        broken = copy.deepcopy(network)
        for name, buffer in broken.named_buffers():
            if name.endswith(".mask"):
                buffer.zero_()
        return build(broken, frames)

    monkeypatch.setattr(to_onnx, "build", build_without_mask)
    status, out, err = export(capsys, arguments)
    assert (status, len(out.splitlines()), ": took " in out) == (1, 1, True)  # and no graph is named
    assert "differs from torch by" in err
    assert not arguments["--out"].exists()


def test_a_graph_that_is_no_number_at_one_batch_size_is_not_written(capsys, arguments, monkeypatch):
    original = to_onnx.difference
    monkeypatch.setattr(to_onnx, "difference", lambda *a: np.nan if len(a[2]) == 2 else original(*a))
    status, out, err = export(capsys, arguments)
    assert (status, len(out.splitlines()), ": took " in out) == (1, 1, True)  # and no graph is named
    assert "differs from torch by nan" in err
    assert not arguments["--out"].exists()


def refused(capsys, arguments, message, *more, **changes):
    status, out, err = export(capsys, arguments, *more, **changes)
    assert (status, "next: " in out) == (2, False)
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (arguments["--out"] / "model.json").exists()
    assert not list(arguments["--out"].parent.glob(".replacing.*"))


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.usefixtures("unwritable")
def test_what_cannot_be_written_is_known_before_the_checkpoint_is_read(capsys, arguments, tmp_path):
    refused(capsys, {**arguments, "checkpoint": tmp_path / "absent"}, f"{tmp_path}: cannot be written: Permission")


def test_bad_input_is_one_line_and_writes_nothing(capsys, arguments, tmp_path):
    refused(capsys, arguments, "is not between 64 and 1024", "--frames", "1025")
    refused(capsys, arguments, "no such file", network=tmp_path / "absent.yaml")
    refused(
        capsys,
        arguments,
        "embed_dims: unknown key, meant embed_dim?",
        network=write(tmp_path / "n.yaml", "embed_dims: 3"),
    )
    refused(capsys, arguments, "want 4 positive numbers", network=write(tmp_path / "n.yaml", "depths: [2]"))
    refused(capsys, arguments, "is not YAML", network=write(tmp_path / "n.yaml", "a: [1"))
    refused(capsys, arguments, "is not YAML", network=write(tmp_path / "n.yaml", "embed_dim: 2026-13-45"))
    refused(capsys, arguments, "wants keys (embed_dim, depths, heads, ", network=write(tmp_path / "n.yaml", "false"))
    refused(capsys, arguments, "row 2 has no label", labels=write(tmp_path / "l.csv", "x,label\n1,a\n2\n"))
    refused(capsys, arguments, "is not CSV", labels=write(tmp_path / "l.csv", "label\n" + "x" * 200_000))
    refused(
        capsys, arguments, "has 2 labels, but the network has 10", labels=write(tmp_path / "l.csv", "label\na\nb\n")
    )
    refused(capsys, arguments, "has no column of labels; it has 'a'", labels=write(tmp_path / "l.csv", "a\nb\n"))
    refused(capsys, arguments, "listed twice", labels=write(tmp_path / "l.csv", "label\n" + "a\n" * 10))
    refused(capsys, arguments, "groups: audoset: no such file, meant audioset?", "--groups", "audoset")
    refused(
        capsys,
        arguments,
        "'class 11' is no class of this model, meant class 1?",
        groups=write(tmp_path / "g.yaml", "Eleven: [class 11]"),
    )
    refused(
        capsys, arguments, "owl: no such label", thresholds=write(tmp_path / "t.json", '{"thresholds": {"owl": 0.5}}')
    )
    refused(capsys, {**arguments, "checkpoint": tmp_path / "absent.ckpt"}, "no such file")
    said = f"no such file; run `python -m htsat_edge.htsat.evaluate {tmp_path} --data FOLDER` first"
    refused(capsys, arguments, said, thresholds=tmp_path / "thresholds.json")
    refused(
        capsys,
        arguments,
        "looks like {embed_dim: 16",
        network=ROOT / "configs/networks/audioset.yaml",
        labels=ROOT / "configs/labels/audioset.csv",
    )


def test_a_folder_of_something_else_is_left_alone(capsys, arguments):
    arguments["--out"].mkdir()
    (arguments["--out"] / "thesis.tex").write_text("precious")
    refused(capsys, arguments, "exists and is no bundle")
    assert (arguments["--out"] / "thesis.tex").read_text() == "precious"


def test_a_link_to_a_bundle_stays_one(capsys, arguments, tmp_path):
    export(capsys, arguments)
    (tmp_path / "link").symlink_to(arguments["--out"])
    assert export(capsys, arguments, "--frames", "1001", out=tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert load_bundle(arguments["--out"]).info.frames == 1001


def test_the_old_bundle_survives_when_the_new_cannot_take_its_place(capsys, arguments, monkeypatch):
    export(capsys, arguments)
    replace = Path.replace

    def failing(self, target):
        if self.parent.name == "new":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    status, _, err = export(capsys, arguments, "--frames", "1001")
    assert status == 2
    assert "No space left on device" in err
    assert load_bundle(arguments["--out"]).info.frames == 1024
    assert not list(arguments["--out"].parent.glob(".*"))


@pytest.mark.parametrize("frames", ["64", "501"])
def test_short_windows_can_be_detected_with(capsys, arguments, frames, farmyard, tmp_path):
    from htsat_edge.runtime.commands.cli import main as htsat_edge

    assert export(capsys, arguments, "--frames", frames)[0] == 0
    samples, rate = soundfile.read(farmyard, frames=6 * 32_000)
    soundfile.write(tmp_path / "yard.flac", samples, rate)
    assert htsat_edge(["detect", str(tmp_path / "yard.flac"), "--bundle", str(arguments["--out"]), "--json"]) == 0


def test_a_label_file_from_a_spreadsheet(capsys, arguments, tmp_path):
    """It begins with a byte order mark."""
    file = tmp_path / "labels.csv"
    file.write_bytes(b"\xef\xbb\xbf" + arguments["--labels"].read_bytes())
    assert export(capsys, arguments, labels=file)[0] == 0


def test_where_nothing_can_be_written(capsys, arguments):
    refused(capsys, arguments, "cannot be written", out="/proc/nowhere/bundle")


def test_rows_in_another_order_than_their_numbers(capsys, arguments, tmp_path):
    rows = sorted((f"{9 - i},class {i}\n" for i in range(10)), reverse=True)
    status, out, _ = export(capsys, arguments, labels=write(tmp_path / "l.csv", "index,label\n" + "".join(rows)))
    assert status == 0
    assert "l.csv: its rows were put in the order of the column 'index'" in out
    assert load_bundle(arguments["--out"]).info.labels == [f"class {9 - i}" for i in range(10)]


def test_an_averaged_copy_and_another_place(capsys, arguments, tiny_weights, tmp_path):
    averaged = {key: value * 0.9 if value.is_floating_point() else value for key, value in tiny_weights.items()}
    path = tmp_path / "both.pt"
    torch.save({"model": tiny_weights, "model_ema": averaged}, path)
    expected = {
        (): tiny_weights,
        ("--ema",): averaged,
        ("--at", "model_ema"): averaged,
        ("--at", "model"): tiny_weights,
    }
    for options, weights in expected.items():
        status, out, _ = export(capsys, {**arguments, "checkpoint": path}, "--with-weights", *options)
        assert status == 0
        where = "model_ema, an averaged copy (EMA)" if weights is averaged else "model"
        assert out.splitlines()[0].startswith(f"{path}: took {len(tiny_weights)} tensors from {where}")
        saved = load_file(arguments["--out"] / "weights.safetensors")
        torch.testing.assert_close(saved["norm.bias"].float(), weights["norm.bias"], rtol=1e-3, atol=1e-4)
    refused(capsys, {**arguments, "checkpoint": path, "--out": tmp_path / "new"}, "only at 'model'", "--at", "net")


def test_labels_that_the_checkpoint_itself_contradicts(capsys, arguments, tiny_weights, tmp_path):
    path = tmp_path / "named.pt"
    torch.save({"model": tiny_weights, "class_names": [f"Class_{9 - i}" for i in range(10)]}, path)
    message = "'Class_9' is output 9 here, but output 0 in class_names of the checkpoint itself"
    refused(capsys, {**arguments, "checkpoint": path}, message)


def test_a_folder_of_transformers_is_hashed_by_its_weights(capsys, arguments, tiny_weights, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(tiny_weights, folder / "model.safetensors")
    assert export(capsys, {**arguments, "checkpoint": folder})[0] == 0
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert load_bundle(arguments["--out"]).info.provenance["checkpoint_sha256"] == digest
