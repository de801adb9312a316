"""Training files."""

import csv
from pathlib import Path

import yaml

from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.htsat.settings import TrainConfig

ROOT = Path(__file__).parent.parent.parent


def test_phases_say_how_many_events_a_scene_holds():
    phases = [{"share": 0.5, "events": [4, 8]}, {"share": 0.5, "events": [0, 4]}]
    config = TrainConfig(network="x", steps=10, phases=phases)
    assert [config.events_at(step) for step in (0, 4, 5, 9)] == [(4, 8), (4, 8), (0, 4), (0, 4)]


def test_the_shipped_configuration_is_whole():
    folder = ROOT / "configs"
    config = TrainConfig.model_validate(yaml.safe_load((folder / "train.yaml").read_text()))
    network = read_network(folder / config.network)
    assert isinstance(network, NetworkConfig)
    assert network.classes == len(config.labels)
    with (folder / "labels" / "bundled.csv").open() as file:
        assert [row["label"] for row in csv.DictReader(file)] == config.labels
