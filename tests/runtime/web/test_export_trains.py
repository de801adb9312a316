"""What people say of the demo scene, exported, trains a model."""

import csv
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import yaml

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.models.bundle import BUNDLED
from htsat_edge.runtime.store.export import plan_export, write_folder
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts


@pytest.fixture
def heard(farmyard, tmp_path):
    """Listens to the demo scene twice, with a store and clips; returns the store's path."""
    samples, rate = soundfile.read(farmyard, dtype="int16")
    soundfile.write(tmp_path / "twice.flac", np.concatenate([samples, samples]), rate)
    outputs = {
        "stdout": False,
        "store": {"path": str(tmp_path / "store.db")},
        "clips": {"folder": str(tmp_path / "clips")},
    }
    sources = [{"name": "yard", "file": str(tmp_path / "twice.flac")}]
    (tmp_path / "detector.yaml").write_text(
        yaml.safe_dump({"sources": sources, "detection": {"threshold": 0.3}, "outputs": outputs})
    )
    subprocess.run([sys.executable, "-m", "htsat_edge", "listen", "--config", tmp_path / "detector.yaml"], check=True)
    return tmp_path / "store.db"


@pytest.mark.slow
def test_verdicts_on_the_demo_scene_train_a_model(heard, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from htsat_edge.htsat.train import main

    with StoreReader(heard) as reader:
        events = reader.events(EventFilter(), 100).events
        put_verdicts(heard, [Verdict(event=event.key, decision="correct") for event in events])
        export = plan_export(reader, tmp_path / "clips")
    write_folder(export, tmp_path / "judged")
    assert {row.label for row in export.rows} >= {"Speech", "Dog", "Thunder", "Fowl"}
    config = yaml.safe_load((CONFIGS / "finetune.yaml").read_text())
    config.update(steps=2, batch=2, network=str(CONFIGS / "networks" / "bundled.yaml"))
    (tmp_path / "finetune.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr("htsat_edge.htsat.sources.SCENES", 4)
    options = {"config": "finetune.yaml", "data": "judged", "out": "run"}
    arguments = [text for name, path in options.items() for text in (f"--{name}", str(tmp_path / path))]
    assert main([*arguments, "--init", str(BUNDLED / "weights.safetensors")]) == 0
    with (tmp_path / "run" / "curve.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert np.isfinite(float(row["loss"]))
    labels = (tmp_path / "run" / "labels.csv").read_text().splitlines()
    assert {"Speech", "Dog", "Thunder", "Fowl"} <= {*labels}
