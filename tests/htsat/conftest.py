"""A corpus and a training file, both as small as can be."""

import csv

import pytest
import soundfile
import yaml


@pytest.fixture
def corpus(farmyard, tmp_path):
    """Two classes cut from the farmyard, each in both splits."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    folder = tmp_path / "corpus"
    folder.mkdir()
    spans = {"Speech": (1.2, 5.0), "Fowl": (18.6, 21.7), "background": (0, 1)}
    rows = []
    for label, (onset, offset) in spans.items():
        for split in ("train", "val"):
            name = f"{label}-{split}.wav"
            soundfile.write(folder / name, samples[int(onset * rate) : int(offset * rate)], rate)
            rows.append({"file": name, "class": label, "group": name, "split": split})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr("htsat_edge.htsat.sources.SCENES", 4)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.SCENES", 12)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.HOUR", 3)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.RESAMPLES", 5)
    network = {"embed_dim": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "classes": 1, "frequency_bias": True}
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network))
    content = {"network": "network.yaml", "labels": ["Speech"], "auxiliary": ["Fowl"], "steps": 3, "batch": 2}
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
