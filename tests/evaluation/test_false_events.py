"""False events, of recordings of other sounds and of ambience."""

import csv
import json

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.false_events import FalseEvents, Played, lengthen, main
from htsat_edge.runtime.models.bundle import BUNDLED


def test_figures_of_a_worked_example():
    others = [Played("Train", 5, ("Engine", "Engine")), Played("Train", 5, ()), Played("Insect", 5, ())]
    others.append(Played("Train", 5, ("Wind", "Engine")))
    found = FalseEvents(others, [Played("background", 60, ("Wind",)), Played("background", 60, ())])
    assert found.share == 0.5
    assert found.macro_share == pytest.approx(1 / 3)  # two of three trains, no insect
    assert found.labels_per_recording == 0.75
    assert found.per_hour == 30
    assert found.labels == {"Engine": 2, "Wind": 1}
    assert [*found.figures().values()] == ["2 of 4 (50 %)", "33 %", "0.75", "30.0", "Engine 2, Wind 1"]
    assert FalseEvents(others, []).figures()["events an hour of ambience"] == "–"


def test_ambience_is_played_forwards_and_backwards():
    np.testing.assert_array_equal(lengthen(np.array([1.0, 2, 3]), 8), [1, 2, 3, 3, 2, 1, 1, 2])
    np.testing.assert_array_equal(lengthen(np.array([1.0, 2, 3]), 2), [1, 2])


@pytest.fixture
def clips(tmp_path):
    """Noise of three classes, one learned from, and ambience."""
    rng, rows = np.random.default_rng(0), []
    for label, split in [("Insect", "val"), ("Train", "train"), ("Rain", "val"), ("background", "val")]:
        soundfile.write(tmp_path / f"{label}.flac", rng.normal(0, 0.05, 32_000), 32_000)
        rows.append({"file": f"{label}.flac", "class": label, "group": label, "split": split})
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return tmp_path / "manifest.csv"


def test_the_command_prints_a_row_a_model(clips, tmp_path, capsys):
    out = tmp_path / "false.json"
    assert main([str(BUNDLED), "--clips", str(clips), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1 recording of 1 other class\n" in printed
    (figures,) = json.loads(out.read_text()).values()
    raised = figures["recordings of other sounds that raise an event"]
    assert raised in ("0 of 1 (0 %)", "1 of 1 (100 %)")
    assert f"recordings of other sounds that raise an event  {raised}" in printed


def test_without_other_sounds_it_is_one_line(clips, capsys):
    clips.write_text(clips.read_text().replace("Insect,", "Rain,").replace("Rain.flac", "Insect.flac", 1))
    assert main([str(BUNDLED), "--clips", str(clips)]) == 2
    assert "hold back no recording" in capsys.readouterr().err


def test_a_class_that_is_nearly_a_label_is_no_other_sound(clips, capsys):
    clips.write_text(clips.read_text().replace("Insect,", "rain,", 1).replace("Rain,Rain,", "Thunder,Thunder,", 1))
    assert main([str(BUNDLED), "--clips", str(clips)]) == 2
    assert "has class 'rain', which is no label of the model, meant Rain?" in capsys.readouterr().err


def test_a_recording_without_a_class_is_one_line(clips, capsys):
    assert main([str(BUNDLED), "--clips", str(clips.parent / "Rain.flac")]) == 2
    assert "--clips: Rain.flac has no class" in capsys.readouterr().err
