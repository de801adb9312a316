"""A corpus and a training file, both as small as can be."""

import csv
from dataclasses import replace

import pytest
import soundfile
import yaml

from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.htsat.negatives import load_negatives


def load_few(front_end, labels):
    """The first few sounds of other classes, which take no time to play, and a background."""
    shipped = load_negatives(front_end, labels)
    places = [i for split in ("val", "test") for i in _first(shipped.recordings, split)]
    few = {name: [getattr(shipped, name)[i] for i in places] for name in ("recordings", "codes", "peaks_db")}
    return replace(shipped, **few)


def _first(recordings, split):
    own = [i for i, recording in enumerate(recordings) if recording.split == split]
    backgrounds = [i for i in own if recordings[i].label == BACKGROUND]
    return [*(i for i in own if i not in backgrounds)][:3] + backgrounds[:1]


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
    monkeypatch.setattr("htsat_edge.htsat.judging.RESAMPLES", 5)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.load_negatives", load_few)
    network = {"embed_dim": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "classes": 1, "frequency_bias": True}
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(network))
    content = {
        "network": "network.yaml",
        "labels": ["Speech"],
        "auxiliary": ["Fowl"],
        "steps": 3,
        "batch": 2,
        "negatives": False,
    }
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
