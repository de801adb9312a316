import csv
import json

import numpy as np
import pytest
import torch

from htsat.corpus import Recording
from htsat.evaluate import average_precision, evaluate, f_score, held_scenes, main, tune
from htsat.network import Output
from htsat.scenes import Sound
from htsat.train import main as train
from runtime.features import FrontEnd


class KnowsBands(torch.nn.Module):
    """Stands for a perfect model of sounds that fill one mel band each: band 10 k + 5 for class k."""

    def forward(self, log_mel):
        bands = log_mel[..., [5, 15]] - log_mel.mean(-1, keepdim=True)
        framewise = (bands.unflatten(1, (32, 32)).mean(2) / 10).sigmoid()
        return Output(framewise, framewise, framewise.mean(1), framewise)


def sound(label, band):
    power = np.full((400, 64), 1e-12, np.float32)
    power[:, band] = 1
    return Sound(Recording(path=None, label=label, group=label, split="val"), (power,))


def test_a_perfect_model_has_perfect_figures():
    sounds = [sound("a", 5), sound("b", 15)]
    scenes = held_scenes(sounds, ["a", "b", "c"], FrontEnd(), 20)
    figures, framewise = evaluate(KnowsBands(), sounds, scenes, ["a", "b"])
    assert framewise.shape == (20, 32, 2)
    assert (figures.recordings, figures.recall, figures.clip_ap) == ([1, 1], [1, 1], [1, 1])
    assert figures.summary()["frame_map"] > 0.9


def test_a_class_of_which_nothing_is_held_is_left_out_of_the_means():
    figures, _ = evaluate(
        KnowsBands(), [sound("a", 5)], held_scenes([sound("a", 5)], ["a", "b"], FrontEnd(), 5), ["a", "b"]
    )
    assert figures.recordings == [1, 0]
    assert np.isnan(figures.recall[1])
    assert figures.summary()["accuracy"] == 1


def test_average_precision_of_a_worked_example():
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert np.isnan(average_precision(scores, np.zeros(4, bool)))


def test_f_score_of_a_worked_example():
    """Two hits, one false alarm, two missed: precision 2/3, recall 1/2."""
    found = np.array([[True], [True], [True], [False], [False]])
    active = np.array([[True], [True], [False], [True], [True]])
    assert f_score(found, active) == pytest.approx(1.25 * (2 / 3) * 0.5 / (0.25 * (2 / 3) + 0.5))


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
    assert len(set(thresholds.tolist())) == 1
    assert len(set(medians)) == 1


def test_the_command_writes_what_the_export_takes(config, corpus, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(["--config", str(config), "--data", str(corpus), "--out", str(run)]) == 0
    options = [
        "--config",
        str(config),
        "--data",
        str(corpus),
        "--checkpoint",
        str(run / "model.safetensors"),
        "--out",
        str(run),
    ]
    assert main(options) == 0
    assert "clip_map" in capsys.readouterr().out
    chosen = json.loads((run / "thresholds.json").read_text())
    assert set(chosen["thresholds"]) == set(chosen["median_steps"]) == {"Speech"}
    with (run / "classes.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["recordings"] == "1"
