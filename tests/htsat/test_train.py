"""The trainer, from a folder of recordings to a model that exports."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from htsat_edge.export.to_onnx import main as to_onnx
from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.htsat.config import read_network
from htsat_edge.htsat.corpus import Recording
from htsat_edge.htsat.doubts import CLOSED, LONELY, PLACELESS
from htsat_edge.htsat.network import HTSAT
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.htsat.train import doubts_of, main
from htsat_edge.htsat.training import Training
from htsat_edge.runtime.dsp.log_mel import mel_filters
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle

ROOT = Path(__file__).parent.parent.parent


def run(config, corpus, out, *options):
    return main(["--config", str(config), "--data", str(corpus), "--out", str(out), *map(str, options)])


def change(config, **keys):
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **keys}))


def test_a_model_is_trained_and_loads(config, corpus, tmp_path):
    assert run(config, corpus, tmp_path / "run") == 0
    network = load_network(tmp_path / "run" / "model.safetensors", read_network(tmp_path / "run" / "network.yaml"))
    assert network.tscam_conv.out_channels == 1  # the auxiliary class is gone
    assert (tmp_path / "run" / "labels.csv").read_text() == "label\nSpeech\n"
    with (tmp_path / "run" / "curve.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "3"
    assert np.isfinite(float(row["loss"]))


def test_a_stopped_training_ends_with_the_weights_of_one_run(config, corpus, tmp_path, monkeypatch):
    """Stopped after each of its steps, it is started again as often."""
    change(config, steps=5, validate_every=2)
    assert run(config, corpus, tmp_path / "whole") == 0
    take_step = Training.take_step

    def stop_afterwards(training, *batch):
        take_step(training, *batch)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Training, "take_step", stop_afterwards)
    assert [run(config, corpus, tmp_path / "parts") for _ in range(5)] == [130, 130, 130, 130, 0]
    for name in ("model.safetensors", "network.yaml", "labels.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    whole, parts = (read_curve(tmp_path / name / "curve.csv") for name in ("whole", "parts"))
    assert [row.pop("minutes") for row in whole] != []
    assert [row.pop("minutes") for row in parts] != []
    assert whole == parts
    assert [row["step"] for row in whole] == ["2", "4", "5"]


def test_a_killed_training_goes_on_from_its_last_save(config, corpus, tmp_path, monkeypatch, capsys):
    change(config, steps=5, validate_every=2)
    assert run(config, corpus, tmp_path / "whole") == 0
    take_step = Training.take_step

    def die_at_four(training, *batch):
        if training.step == 3:
            raise MemoryError
        take_step(training, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "take_step", die_at_four)
        with pytest.raises(MemoryError):
            run(config, corpus, tmp_path / "parts")
    assert run(config, corpus, tmp_path / "parts") == 0
    assert "going on from step 2 of 5" in capsys.readouterr().out
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert first == second


def test_ctrl_c_saves_and_names_the_way_on(config, corpus, tmp_path):
    """The real command, with the real signal."""
    change(config, steps=100_000)
    command = [
        sys.executable,
        "-m",
        "htsat_edge.htsat.train",
        "--config",
        config,
        "--data",
        corpus,
        "--out",
        tmp_path / "run",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if "recordings to learn from" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in out
    assert err == ""
    assert (tmp_path / "run" / "state.pt").exists()


@pytest.mark.parametrize("keys", [{"seed": 2}, {"learning_rate": 0.001}, {"auxiliary": []}])
def test_another_training_does_not_go_on_in_its_place(keys, config, corpus, tmp_path, capsys):
    run(config, corpus, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    change(config, **keys)
    assert run(config, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert "holds a training with other settings" in err
    assert len(err.splitlines()) == 1
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_a_finished_training_is_left_alone(config, corpus, tmp_path, capsys):
    run(config, corpus, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert run(config, corpus, tmp_path / "run") == 0
    said = capsys.readouterr().out.splitlines()
    assert f"{tmp_path / 'run'}: is trained" in said
    assert said[-1] == f"next: python -m htsat_edge.htsat.evaluate {tmp_path / 'run'} --data {corpus}"
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [b"damaged", {"weights": 1}, [1, 2]])
def test_a_damaged_save_is_one_line(content, config, corpus, tmp_path, capsys):
    run(config, corpus, tmp_path / "run")
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(content) if isinstance(content, bytes) else torch.save(content, state)
    assert run(config, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert "state.pt: is damaged; delete it to begin anew" in err
    assert len(err.splitlines()) == 1


def test_another_recording_under_the_same_name_is_another_training(config, corpus, tmp_path, capsys):
    run(config, corpus, tmp_path / "run")
    with (corpus / "Speech-train.wav").open("ab") as file:
        file.write(bytes(64))
    assert run(config, corpus, tmp_path / "run") == 2
    assert "holds a training with other settings, recordings or weights" in capsys.readouterr().err


def test_a_loss_that_is_no_number_stops_the_training(config, corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("htsat_edge.htsat.training.loss_of", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    assert run(config, corpus, tmp_path / "run") == 1
    assert "the loss is nan at step 0; lower learning_rate" in capsys.readouterr().err
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_label_of_which_nothing_is_held_is_one_line(config, corpus, tmp_path, capsys):
    manifest = corpus / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("Speech-val.wav,val", "Speech-val.wav,train"))
    assert run(config, corpus, tmp_path / "run") == 2
    assert "holds back no recording of any label" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_the_last_save(config, corpus, tmp_path):
    """The real error, of a process that may not write files as large as a model."""
    change(config, steps=100_000, validate_every=2)
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    limit += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); import htsat_edge.htsat.sources as s; "
    limit += "import htsat_edge.htsat.train as t; s.SCENES = 4; sys.exit(t.main(sys.argv[1:]))"
    command = [sys.executable, "-c", limit, "--config", config, "--data", corpus, "--out", tmp_path / "run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "model.safetensors: cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"labels.csv", "held.csv"}
    assert not [path for path in (tmp_path / "run").iterdir() if path.suffix == ".part"]


def test_a_new_model_leaves_no_thresholds_of_the_old(config, corpus, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thresholds.json").touch()
    run(config, corpus, tmp_path / "run")
    assert not (tmp_path / "run" / "thresholds.json").exists()


def test_fine_tuning_begins_with_the_checkpoints_backbone_and_a_new_head(config, corpus, tmp_path):
    """Frozen, the backbone is what it was at the end; not frozen, it has moved."""
    network = read_network(tmp_path / "network.yaml").model_copy(update={"classes": 7})
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network.model_dump(mode="json")))
    torch.manual_seed(0)
    save_file(HTSAT(network).state_dict(), tmp_path / "trained.safetensors")
    trained = load_file(tmp_path / "trained.safetensors")
    for freeze in (True, False):
        change(config, labels=[], auxiliary=[], freeze=freeze)
        out = tmp_path / f"run-{freeze}"
        assert run(config, corpus, out, "--init", tmp_path / "trained.safetensors") == 0
        assert (out / "labels.csv").read_text() == "label\nFowl\nSpeech\n"
        tuned = load_file(out / "model.safetensors")
        assert tuned["tscam_conv.weight"].shape[0] == 2
        same = [torch.equal(tuned[k], trained[k]) for k in tuned if "tscam" not in k and "num_batches" not in k]
        assert all(same) == freeze


def test_a_frozen_backbone_of_random_weights_is_refused(config, corpus, tmp_path, capsys):
    change(config, freeze=True)
    assert run(config, corpus, tmp_path / "run") == 2
    assert "freeze: true: only the head would learn, on random weights; give --init" in capsys.readouterr().err


def test_the_head_and_the_front_end_of_the_checkpoint_may_be_others(config, corpus, tmp_path):
    """As for Speech Commands at 16 kHz, from the checkpoint for 527 classes at 32 kHz with its own filters."""
    network = read_network(tmp_path / "network.yaml").model_copy(update={"classes": 527})
    torch.manual_seed(0)
    state = HTSAT(network).state_dict() | {"logmel_extractor.melW": torch.from_numpy(mel_filters(network.front_end))}
    torch.save({"state_dict": {f"sed_model.{key}": value for key, value in state.items()}}, tmp_path / "trained.ckpt")
    slow = network.front_end.model_copy(update={"sample_rate": 16_000, "hop": 160})
    other = network.model_copy(update={"classes": 35, "front_end": slow})
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(other.model_dump(mode="json")))
    change(config, labels=[], auxiliary=[], freeze=True)
    assert run(config, corpus, tmp_path / "run", "--init", tmp_path / "trained.ckpt") == 0
    tuned = load_file(tmp_path / "run" / "model.safetensors")
    assert torch.equal(tuned["patch_embed.proj.weight"], state["patch_embed.proj.weight"])
    assert tuned["tscam_conv.weight"].shape[0] == 2
    assert read_network(tmp_path / "run" / "network.yaml").front_end.sample_rate == 16_000


def test_a_fine_tuned_model_exports_and_runs(config, corpus, tmp_path):
    network = read_network(tmp_path / "network.yaml").model_copy(update={"loss": "ce"})
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network.model_dump(mode="json")))
    save_file(HTSAT(network).state_dict(), tmp_path / "trained.safetensors")
    change(config, labels=[], auxiliary=[])
    assert run(config, corpus, tmp_path / "run", "--init", tmp_path / "trained.safetensors") == 0
    options = {"--network": "network.yaml", "--labels": "labels.csv"}
    arguments = [str(part) for name, file in options.items() for part in (name, tmp_path / "run" / file)]
    checkpoint = tmp_path / "run" / "model.safetensors"
    assert to_onnx([str(checkpoint), *arguments, "--out", str(tmp_path / "bundle")]) == 0
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.info.labels == ["Fowl", "Speech"]
    assert bundle.info.loss == "bce"  # whatever the checkpoint's was
    scores = open_backend(bundle).infer(np.full((1, 1024, 64), -60, np.float32))
    assert scores.framewise.shape == (1, 32, 2)


def test_a_training_file_that_was_moved_is_one_line(config, corpus, tmp_path, capsys):
    moved = tmp_path / "elsewhere" / "train.yaml"
    moved.parent.mkdir()
    config.rename(moved)
    assert run(moved, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert err.endswith("train.yaml: network: there is no file network.yaml; it is relative to the training file\n")


def test_init_with_another_network_is_one_line(config, corpus, tmp_path, capsys):
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert run(config, corpus, tmp_path / "run", "--init", tmp_path / "other.safetensors") == 2
    err = capsys.readouterr().err
    assert "holds no HTS-AT" in err
    assert len(err.splitlines()) == 1


def read_curve(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"phases": [{"share": 0.5, "events": [0, 4]}]}, "phases: their shares add up to 0.5, want 1"),
        ({"phases": [{"share": 1, "events": [4, 0]}]}, "events [4, 0]: want the fewest and the most"),
        ({"labels": ["Speech", "Speech"]}, "labels and auxiliary: listed twice: Speech"),
        ({"auxiliary": ["Speech"]}, "labels and auxiliary: listed twice: Speech"),
        ({"labels": ["background"]}, "background cannot be learned"),
        ({"labels": [], "auxiliary": ["Speech", "Fowl"]}, "has no class to learn, only auxiliary ones"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"learning_rate": float("inf")}, "learning_rate: Input should be a finite number"),
        ({"labels": ["Owl"]}, "has no training recording of Owl"),
        ({"stepps": 3}, "stepps: unknown key, meant steps?"),
        ({"steps": 0}, "steps: Input should be greater than 0, not 0"),
        ({"examples": "clips", "mix": {}, "quiet_share": 0.1}, "mix, quiet_share: not with examples: clips"),
        ({"augment": {"mixup": 0.5}}, "augment: not with examples: scenes, which do not use it"),
        ({"examples": "clips", "augment": {"time_masks": [-1, 4]}}, "time_masks [-1, 4]: want how many, and the most"),
        ({"warm_up_steps": 3}, "warm_up_steps 3: want fewer than all 3 steps"),
    ],
)
def test_bad_configurations_are_one_line(keys, message, config, corpus, tmp_path, capsys):
    change(config, **keys)
    assert run(config, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",val", ",maybe", "row 2 has split 'maybe', want one of train, val, test"),
        ("Fowl-train.wav", "absent.wav", "recordings are missing, first"),
        ("file,", "number,", "has no column of files; its columns are number, class, group, split; known are file"),
    ],
)
def test_a_bad_manifest_is_one_line(old, new, message, config, corpus, tmp_path, capsys):
    manifest = corpus / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(old, new))
    assert run(config, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_folder_without_recordings_is_one_line(config, tmp_path, capsys):
    assert run(config, tmp_path, tmp_path / "run") == 2
    assert "no recording in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "classes", "said"),
    [
        ({}, ["a", "b", "background"], []),
        ({"negatives": False}, ["a", "b", "background"], [CLOSED]),
        ({"negatives": False, "labels": ["a"]}, ["a", "b", "background"], []),
        ({}, ["a"], [LONELY, PLACELESS]),
        ({"examples": "clips"}, ["a"], []),
    ],
)
def test_a_closed_world_one_class_and_no_background_are_doubted_beforehand(settings, classes, said):
    config = TrainConfig(network=Path("x"), steps=1, **settings)
    splits = ["train"] * 6 + ["val"] * 2
    recordings = [Recording(Path("x"), label, str(i), split) for label in classes for i, split in enumerate(splits)]
    assert doubts_of(config, recordings) == said
