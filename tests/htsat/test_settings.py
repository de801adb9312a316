"""Training files."""

import csv
from pathlib import Path

import pytest
import yaml

from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.settings import RunFolder, TrainConfig, read_training
from htsat_edge.runtime.common.errors import HtsatEdgeError

ROOT = Path(__file__).parent.parent.parent


def test_phases_say_how_many_events_a_scene_holds():
    phases = [{"share": 0.5, "events": [4, 8]}, {"share": 0.5, "events": [0, 4]}]
    config = TrainConfig(network="x", steps=10, phases=phases)
    assert [config.events_at(step) for step in (0, 4, 5, 9)] == [(4, 8), (4, 8), (0, 4), (0, 4)]


@pytest.mark.parametrize("path", [*sorted((ROOT / "configs").glob("train*.yaml")), ROOT / "configs" / "finetune.yaml"])
def test_every_shipped_training_file_is_valid_and_warms_up(path):
    config, network = read_training(path)
    assert config.steps > 100
    assert network.loss == ("ce" if path.stem == "train-esc50" else "bce")


def test_the_settings_of_a_run_are_a_training_file_again(tmp_path):
    for config in (
        TrainConfig(network="x", steps=10),
        TrainConfig(network="x", steps=10, examples="clips", average_last=0.5),
    ):
        folder = RunFolder(tmp_path / config.examples)
        assert folder.read_examples() == "scenes"  # of older trainings, which do not say it
        folder.create(config, NetworkConfig(classes=1), ["Dog"], [], "one")
        assert folder.read_examples() == config.examples
        assert folder.is_of("one")
        with pytest.raises(HtsatEdgeError, match="holds a training with other settings"):
            folder.is_of("two")
        assert read_training(folder.training)[0].average_last == config.average_last


def test_shares_of_the_same_scenes_are_one_at_most():
    with pytest.raises(ValueError, match=r"partial_share and mirrored_share: .* add up to more than 1"):
        TrainConfig(network="x", steps=10, partial_share=0.5, mirrored_share=0.6)


def test_the_shipped_configuration_is_whole():
    folder = ROOT / "configs"
    config = TrainConfig.model_validate(yaml.safe_load((folder / "train.yaml").read_text()))
    network = read_network(folder / config.network)
    assert isinstance(network, NetworkConfig)
    assert network.classes == len(config.labels)
    with (folder / "labels" / "bundled.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == config.labels
