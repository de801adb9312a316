"""The trainer, from a folder of recordings to a model that exports."""

import csv

import numpy as np
import pytest
import torch
import yaml

from htsat.checkpoint import load_network
from htsat.config import NetworkConfig, read_network
from htsat.network import Output
from htsat.settings import TrainConfig
from htsat.train import learning_rate_factor, loss_of, main


def run(config, corpus, out):
    return main(["--config", str(config), "--data", str(corpus), "--out", str(out)])


def test_a_model_is_trained_and_loads(config, corpus, tmp_path):
    assert run(config, corpus, tmp_path / "run") == 0
    network = load_network(tmp_path / "run" / "model.safetensors", read_network(tmp_path / "network.yaml"))
    assert network.tscam_conv.out_channels == 1  # the auxiliary class is gone
    assert (tmp_path / "run" / "labels.csv").read_text() == "label\nSpeech\n"
    with (tmp_path / "run" / "curve.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "3"
    assert np.isfinite(float(row["loss"]))


def test_the_same_seed_trains_the_same_weights(config, corpus, tmp_path):
    for name in ("a", "b"):
        run(config, corpus, tmp_path / name)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["Speech", "Fowl"]}, "2 labels, but the network has 1 classes"),
        ({"labels": ["Owl"]}, "has no training recording of Owl"),
        ({"stepps": 3}, "stepps: unknown key, meant steps?"),
        ({"steps": 0}, "steps: Input should be greater than 0, not 0"),
    ],
)
def test_bad_configurations_are_one_line(change, message, config, corpus, tmp_path, capsys):
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}))
    assert run(config, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",val", ",validation", "row 2 has split 'validation', want train or val"),
        (",val", ",train", "has no recording of split val"),
        ("Fowl-train.wav", "absent.wav", "absent.wav: no such file"),
        ("file,", "path,", "has no column 'file' in its header"),
    ],
)
def test_a_bad_manifest_is_one_line(old, new, message, config, corpus, tmp_path, capsys):
    manifest = corpus / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(old, new))
    assert run(config, corpus, tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_folder_without_manifest_is_one_line(config, tmp_path, capsys):
    assert run(config, tmp_path, tmp_path / "run") == 2
    assert "manifest.csv: no such file" in capsys.readouterr().err


def test_the_clip_loss_leaves_out_short_events():
    """A class that sounds in two of 32 steps is no matter of the clip; one that is absent or fills it is."""
    logits = torch.zeros(1, 32, 3)
    target = torch.zeros(1, 32, 3)
    target[:, :2, 0] = 1
    target[:, :, 1] = 1
    output = Output(logits, logits.sigmoid(), logits.mean(1), logits)
    steps = loss_of(output, target, 0)
    both = loss_of(output, target, 1)
    assert both - steps == pytest.approx(np.log(2) * 2 / 3)


def test_learning_rate_warms_up_and_falls_to_nothing():
    factors = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] < 0.1
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert np.argmax(factors) < 30
    assert 0 < factors[-1] < 0.01


def test_the_shipped_configuration_is_whole():
    from pathlib import Path

    folder = Path(__file__).parent.parent.parent / "configs"
    config = TrainConfig.model_validate(yaml.safe_load((folder / "train.yaml").read_text()))
    network = read_network(folder / config.network)
    assert isinstance(network, NetworkConfig)
    assert network.classes == len(config.labels)
    with (folder / "labels" / "bundled.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == config.labels
