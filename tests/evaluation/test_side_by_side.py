"""Models side by side."""

import csv
import json

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.latency import HeardRecording, Report
from htsat_edge.evaluation.side_by_side import clip_figures, main, scene_figures
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

INFO = load_bundle(BUNDLED).info
DOG, RAIN, WIND = "Dog", "Rain", "Wind"


def test_accuracy_is_balanced_and_among_all_labels_of_the_model():
    scores = np.array([[0.9, 0.1, 0.0], [0.8, 0.1, 0.9], [0.7, 0.2, 0.1], [0.6, 0.7, 0.1]], np.float32)
    found = clip_figures(scores, [DOG, DOG, DOG, RAIN], [DOG, RAIN, WIND])
    assert found["balanced accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["clip mAP"] == 1


def test_scenes_count_only_the_labels_that_are_asked_for():
    sounds = (Occurrence(1.0, 3.0, DOG), Occurrence(5.0, 7.0, RAIN))
    reports = [Report(e.label, e.onset_s, e.onset_s + 1.5, e) for e in (sounds[0], Occurrence(8.0, 9.0, WIND))]
    heard, scenes = [HeardRecording(20.0, None, [reports], [[]])], [Labelled(BUNDLED, events=sounds)]
    dogs = scene_figures(INFO, heard, scenes, [DOG])
    assert (dogs.event_f1.value, dogs.segment_f1.value, dogs.recall.share) == (1, 1, 1)
    assert (dogs.false_alarms_per_hour, dogs.latency_median_s) == (0, 1.5)
    every = scene_figures(INFO, heard, scenes, [DOG, RAIN, WIND])
    assert every.event_f1.value == 0.5  # of those that sound
    assert (every.recall.share, every.false_alarms_per_hour) == (0.5, 180)


def write(folder, rows):
    folder.mkdir()
    for number, row in enumerate(rows):
        row["file"] = f"{number}.wav"
        soundfile.write(folder / row["file"], np.random.default_rng(number).normal(0, 0.05, 3 * 32_000), 32_000)
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["file", "class", "onset", "offset", "split"])
        table.writeheader()
        table.writerows(rows)
    return folder / "manifest.csv"


def test_the_command_plays_the_same_to_all_once(tmp_path, capsys):
    held = [(DOG, "val"), (RAIN, "test"), ("Insect", "val"), ("Train", "test"), (WIND, "train"), ("background", "test")]
    clips = write(tmp_path / "clips", [{"class": label, "split": split} for label, split in held])
    scenes = write(tmp_path / "scenes", [{"class": DOG, "onset": 0.5, "offset": 1.5}])
    out = tmp_path / "table.json"
    arguments = ["--clips", clips, "--scenes", scenes, "--cache", tmp_path / "cache", "--json", out]
    assert main([str(argument) for argument in [BUNDLED, *arguments]]) == 0
    (rows,) = json.loads(out.read_text()).values()
    assert "scenes, all its classes, event F1" not in rows
    assert {"2 recordings, balanced accuracy", f"scenes, {len(INFO.labels)} classes, event F1"} < set(rows)
    assert "2 recordings of other sounds that raise an event" in rows
    assert "0.02 h of ambience, false events an hour" in rows
    assert [*(tmp_path / "cache").iterdir()]
    assert "balanced accuracy" in capsys.readouterr().out
    assert main([str(argument) for argument in [BUNDLED, *arguments, "--split", "test"]]) == 0
    (rows,) = json.loads(out.read_text()).values()
    assert {"1 recordings, clip mAP", "1 recordings of other sounds that raise an event"} < set(rows)


def test_a_split_governs_more_ambience_as_well(tmp_path):
    clips = write(tmp_path / "clips", [{"class": DOG, "split": split} for split in ("val", "test")])
    quiet = write(tmp_path / "quiet", [{"class": "background", "split": split} for split in ("val", "val", "test")])
    out = tmp_path / "table.json"
    for split, hours in (([], "0.05"), (["--split", "test"], "0.02")):
        arguments = ["--clips", clips, "--quiet", quiet, "--cache", tmp_path / "cache", "--json", out, *split]
        assert main([str(argument) for argument in [BUNDLED, *arguments]]) == 0
        (rows,) = json.loads(out.read_text()).values()
        assert f"{hours} h of ambience, false events an hour" in rows


def test_scenes_without_times_are_one_line(tmp_path, capsys):
    clips = write(tmp_path / "clips", [{"class": DOG, "split": "val"}])
    assert main([str(BUNDLED), "--clips", str(clips), "--scenes", str(clips)]) == 2
    assert "--scenes: needs labels that say when" in capsys.readouterr().err
