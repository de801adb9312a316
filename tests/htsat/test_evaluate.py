import json
import re

import numpy as np
import pytest

from htsat_edge.htsat.evaluate import count_rises, f_score, intervals, main, raise_over_quiet, resample_groups, tune
from htsat_edge.htsat.figures import Outputs
from htsat_edge.htsat.scenes import Scene
from htsat_edge.htsat.train import main as train


def test_f_score_of_a_worked_example():
    """Two hits, one false alarm, two missed: precision 2/3, recall 1/2."""
    found = np.array([[True], [True], [True], [False], [False]])
    active = np.array([[True], [True], [False], [True], [True]])
    assert f_score(found, active) == pytest.approx(1.5 * (2 / 3) * 0.5 / (0.5 * (2 / 3) + 0.5))


def test_thresholds_separate_what_can_be_separated():
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((50, 8, 2)) < 0.3, 4, axis=1)
    framewise = np.where(active, [0.8, 0.4], [0.5, 0.12]).astype(np.float32)
    thresholds, medians = tune(framewise, active, trust=[1, 1])
    assert 0.5 < thresholds[0] <= 0.8
    assert 0.12 < thresholds[1] <= 0.4
    assert medians == [1, 1]


def test_a_flickering_class_gets_a_median():
    active = np.zeros((20, 32, 1), bool)
    active[:, 8:24] = True
    framewise = np.where(active, 0.9, 0.05).astype(np.float32)
    framewise[:, 2::7] = 0.95  # single steps, inside and outside
    _, medians = tune(framewise, active, trust=[1])
    assert medians[0] > 1


def test_without_trust_every_class_has_the_same_threshold():
    rng = np.random.default_rng(0)
    active = rng.random((50, 32, 3)) < 0.3
    thresholds, medians = tune(
        (active * 0.5 + rng.random(active.shape) * 0.4).astype(np.float32), active, trust=[0, 0, 0]
    )
    assert len(set(thresholds)) == 1
    assert len(set(medians)) == 1


def test_thresholds_rise_over_room_tone_but_not_out_of_reach():
    quiet = np.zeros((2, 32, 3), np.float32)
    quiet[1, 5] = [0.1, 0.623, 0.97]
    raised = raise_over_quiet([0.3, 0.5, 0.4], quiet, allowed=0)
    assert raised == pytest.approx([0.3, 0.63, 0.9])
    assert count_rises(quiet, raised) == [0, 0, 1]


def test_a_few_rises_may_be_allowed():
    quiet = np.zeros((3, 32, 1), np.float32)
    quiet[:, 7, 0] = [0.4, 0.5, 0.6]
    for allowed, threshold in enumerate([0.61, 0.51, 0.41, 0.3]):
        assert raise_over_quiet([0.3], quiet, allowed) == [threshold]


def test_rises_are_counted_in_each_window():
    framewise = np.zeros((2, 32, 1), np.float32)
    framewise[0, [0, 1, 2, 9]] = 0.8
    framewise[1, 31] = 0.8
    assert count_rises(framewise, [0.5]) == [3]


def test_groups_are_drawn_whole():
    clipwise = np.arange(6, dtype=np.float32).reshape(6, 1)
    outputs = Outputs(clipwise, np.zeros(6, np.intp), np.zeros((1, 32, 1)), np.zeros((1, 32, 1), bool))
    for drawn in resample_groups(outputs, ["x", "x", "x", "y", "z", "z"]):
        counts = [int((drawn.clipwise == value).sum()) for value in range(6)]
        assert counts[0] == counts[1] == counts[2]
        assert counts[4] == counts[5]
        assert counts[0] + counts[3] + counts[4] == 3


def test_intervals_hold_nine_of_ten_resamples_and_skip_what_is_not_known():
    drawn = np.column_stack([np.linspace(0, 1, 101), np.full(101, np.nan)])
    mean, (known, unknown) = intervals(np.array([0.4, np.nan]), drawn)
    assert (known.value, known.low, known.high) == pytest.approx((0.4, 0.05, 0.95))
    assert unknown.value is None
    assert str(unknown) == "–"
    assert mean.value == pytest.approx(0.4)


def test_the_command_writes_what_the_export_takes_and_a_page(config, corpus, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    capsys.readouterr()
    assert main([str(run), "--data", str(corpus)]) == 0
    assert "clip_ap" in capsys.readouterr().out
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


def test_hours_are_kept_apart(config, corpus, tmp_path, monkeypatch):
    """Each hour has scores of its own: the first two raise the threshold, the others rise above it."""
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    scores = {1: [0.415], 4: [0.435, 0, 0.465], 2: [0.5, 0.5], 3: [0.6, 0, 0.6, 0, 0.6]}
    asked = []

    def tone(front_end, count, seed, backgrounds=()):
        asked.append((seed, len(backgrounds)))
        return [Scene(np.full((1024, 64), seed, np.float32), np.zeros((32, 1)), (), 10.24)]

    def score(network, log_mels):
        framewise = np.zeros((len(log_mels), 32, 1), np.float32)
        if len(np.unique(log_mels[0])) == 1:
            rising = scores[int(log_mels[0][0, 0])]
            framewise[0, : len(rising), 0] = rising
        return framewise, framewise[:, 0]

    monkeypatch.setattr("htsat_edge.htsat.evaluate.room_tone", tone)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.score_windows", score)
    monkeypatch.setattr("htsat_edge.htsat.evaluate.tune", lambda framewise, active, trust: ([0.2], [1]))
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
