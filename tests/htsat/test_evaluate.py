import json
import re

import numpy as np
import pytest
import yaml

from htsat_edge.htsat.evaluate import main
from htsat_edge.htsat.scenes import Scene
from htsat_edge.htsat.train import main as train


def test_the_command_writes_what_the_export_takes_and_a_page(config, corpus, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    capsys.readouterr()
    assert main([str(run), "--data", str(corpus)]) == 0
    out = capsys.readouterr().out
    assert "mean average precision, whole recordings" in out
    assert out.splitlines()[-1].startswith("next: python export/to_onnx.py ")
    chosen = json.loads((run / "thresholds.json").read_text())
    assert set(chosen["thresholds"]) == set(chosen["median_steps"]) == {"Speech"}
    (speech,) = json.loads((run / "figures.json").read_text())["classes"]
    assert (speech["recordings"], speech["groups"]) == (1, 1)
    page = (run / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "Speech" in page
    figures = json.loads((run / "figures.json").read_text())
    assert set(figures["rises_in_noise"]) == set(figures["rises_in_ambience"]) == {"Speech"}
    assert not re.search(r'(href|src)="(?!#|data:)|<link|<script|@import', page)  # it stands alone


def test_other_sounds_raise_thresholds_of_trainings_with_them_and_are_counted_for_all(
    config, corpus, tmp_path, monkeypatch, capsys
):
    run, chosen_by = tmp_path / "run", []

    def spy(model, foreign):
        chosen_by.extend(foreign)
        return model.model_copy(update={"thresholds": {"Speech": 0.01}})

    monkeypatch.setattr("htsat_edge.htsat.judging.raise_over_foreign", spy)
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    assert main([str(run), "--data", str(corpus)]) == 0
    figures = json.loads((run / "figures.json").read_text())
    assert chosen_by == []
    assert figures["foreign"]["recordings"] == 4
    assert figures["foreign"]["kinds"]["Fowl"][1] == 1  # what is held of the other class in --data
    training = yaml.safe_load((run / "training.yaml").read_text())
    (run / "training.yaml").write_text(yaml.safe_dump({**training, "negatives": True}))
    assert main([str(run), "--data", str(corpus)]) == 0
    assert {one.recording.split for one in chosen_by} == {"val"}
    figures = json.loads((run / "figures.json").read_text())
    assert figures["classes"][0]["threshold"] == 0.01
    assert (figures["classes"][0]["found"], figures["foreign"]["fired"]) == (1, 4)
    said = "warning: 100 % of other sounds raise an event, reported as Speech 4."
    assert said in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert page.index('<p class="warning">100 % of other sounds') < page.index("At run time")


def test_hours_are_kept_apart(config, corpus, tmp_path, monkeypatch):
    """Each hour has scores of its own: the first two raise the threshold, the others rise above it."""
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    scores = {1: [0.415], 4: [0.435, 0, 0.465], 2: [0.5, 0.5], 3: [0.6, 0, 0.6, 0, 0.6]}
    asked = []

    def tone(front_end, count, seed, backgrounds=()):
        asked.append((seed, len(backgrounds)))
        return [Scene(np.full((1024, 64), seed, np.float32), np.zeros((32, 1)), (), 10.24)]

    def score(network, log_mels, task=None):
        framewise = np.zeros((len(log_mels), 32, 1), np.float32)
        if len(np.unique(log_mels[0])) == 1:
            rising = scores[int(log_mels[0][0, 0])]
            framewise[0, : len(rising), 0] = rising
        return framewise, framewise[:, 0]

    monkeypatch.setattr("htsat_edge.htsat.evaluate.room_tone", tone)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.score_windows", score)
    monkeypatch.setattr("htsat_edge.htsat.judging.tune", lambda framewise, active, trust: ([0.2], [1]))
    assert main([str(run), "--data", str(corpus)]) == 0
    figures = json.loads((run / "figures.json").read_text())
    assert figures["classes"][0]["threshold"] == pytest.approx(0.44)
    assert (figures["rises_in_noise"], figures["rises_in_ambience"]) == ({"Speech": 1}, {"Speech": 3})
    assert asked == [(1, 0), (2, 0), (4, 1), (3, 1)]


def test_without_backgrounds_there_is_no_figure_of_them(config, corpus, tmp_path):
    manifest = corpus / "manifest.csv"
    manifest.write_text(re.sub(r"background.*\n", "", manifest.read_text()))
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    assert main([str(run), "--data", str(corpus)]) == 0
    assert json.loads((run / "figures.json").read_text())["rises_in_ambience"] is None
    assert "recorded backgrounds" not in (run / "report.html").read_text()


def test_what_was_learned_from_is_not_measured_on(config, corpus, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    manifest = corpus / "manifest.csv"
    rest = re.sub(r".*,val\n", "", manifest.read_text())
    manifest.write_text(rest.replace("Speech-train.wav,train", "Speech-train.wav,val"))
    assert main([str(run), "--data", str(corpus)]) == 2
    err = capsys.readouterr().err
    assert "none of its labels has a held recording in --data" in err
    assert len(err.splitlines()) == 1
    assert not (run / "thresholds.json").exists()


def test_a_corpus_that_has_grown_moves_nothing_into_what_is_measured(config, corpus, tmp_path, capsys):
    """Splits that are chosen change with the number of recordings."""
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    manifest = corpus / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("Speech-train.wav,train", "Speech-train.wav,val"))
    assert main([str(run), "--data", str(corpus)]) == 0
    (speech,) = json.loads((run / "figures.json").read_text())["classes"]
    assert speech["recordings"] == 1


def test_a_folder_without_a_run_is_one_line(tmp_path, corpus, capsys):
    assert main([str(tmp_path), "--data", str(corpus)]) == 2
    assert "network.yaml: no such file" in capsys.readouterr().err


@pytest.mark.usefixtures("unwritable")
def test_a_run_that_cannot_be_written_to_is_known_before_recordings_are_read(config, tmp_path, capsys):
    assert train(["--config", str(config), "--data", "absent", "--out", str(tmp_path / "run")]) == 2
    assert f"{tmp_path / 'run'}: cannot be written: Permission denied" in capsys.readouterr().err
    assert main([str(tmp_path), "--data", "absent"]) == 2
    assert f"{tmp_path / 'figures.json'}: cannot be written: Permission denied" in capsys.readouterr().err
