"""Cross-validation, on a set in ESC-50's layout."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from htsat_edge.htsat.clips import LabelledClip
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.evaluate import main as evaluate
from htsat_edge.htsat.folds import main, t_interval
from htsat_edge.htsat.settings import RunFolder, read_training
from htsat_edge.htsat.sources import choose
from htsat_edge.htsat.train import main as train
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.fixture
def esc(tmp_path):
    """Two classes, a tone and noise, in three folds."""
    rng = np.random.default_rng(0)
    rows = []
    (tmp_path / "ESC" / "meta").mkdir(parents=True)
    (tmp_path / "ESC" / "audio").mkdir()
    for fold in (1, 2, 3):
        for target, name in enumerate(["tone", "noise"]):
            file = f"{fold}-{fold}{target}-A-{target}.wav"
            rows.append(
                {"filename": file, "fold": fold, "target": target, "category": name, "src_file": f"{fold}{target}"}
            )
            noise = 0.1 * rng.standard_normal(16_000)
            tone = 0.3 * np.sin(np.arange(16_000) * 0.2)
            soundfile.write(tmp_path / "ESC" / "audio" / file, noise if target else tone, 32_000)
    with (tmp_path / "ESC" / "meta" / "esc50.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "ESC"


@pytest.fixture
def clips_config(config, tmp_path):
    network = yaml.safe_load((tmp_path / "network.yaml").read_text())
    (tmp_path / "network.yaml").write_text(yaml.safe_dump({**network, "loss": "ce"}))
    content = {"network": "network.yaml", "examples": "clips", "steps": 2, "batch": 4, "optimiser": "adamw"}
    config.write_text(yaml.safe_dump(content))
    return config


def run(config, esc, out, *options):
    return main(["--config", str(config), "--data", str(esc), "--out", str(out), *options])


def test_each_fold_is_held_in_turn_and_what_is_done_is_not_done_again(clips_config, esc, tmp_path, capsys):
    out = tmp_path / "runs"
    assert run(clips_config, esc, out) == 0
    printed = capsys.readouterr().out
    assert "accuracy 0." in printed
    assert "clip_ap" in printed
    assert ", mean of 3 folds" in printed
    figures = [json.loads((out / f"fold-{fold}" / "figures.json").read_text()) for fold in (1, 2, 3)]
    assert [f["recordings"] for f in figures] == [2, 2, 2]
    for fold in (1, 2, 3):
        with (out / f"fold-{fold}" / "held.csv").open() as file:
            assert {row["file"][0] for row in csv.DictReader(file)} == {str(fold)}
    wrote = [(out / f"fold-{fold}" / "model.safetensors").stat().st_mtime_ns for fold in (1, 2, 3)]
    (out / "fold-2" / "figures.json").unlink()
    assert run(clips_config, esc, out) == 0
    assert capsys.readouterr().out.count("accuracy 0.") == 2  # of fold 2, and the mean
    assert wrote == [(out / f"fold-{fold}" / "model.safetensors").stat().st_mtime_ns for fold in (1, 2, 3)]
    assert json.loads((out / "fold-2" / "figures.json").read_text()) == figures[1]


def test_folds_with_other_settings_are_refused(clips_config, esc, tmp_path, capsys):
    out = tmp_path / "runs"
    options = ["--config", str(clips_config), "--data", str(esc), "--fold", "1", "--out", str(out / "fold-1")]
    assert train(options) == 0
    (out / "fold-1" / "figures.json").write_text("{}")
    clips_config.write_text(clips_config.read_text() + "seed: 2\n")
    assert run(clips_config, esc, out) == 2
    assert "holds a training with other settings" in capsys.readouterr().err


def test_a_fold_of_another_training_is_refused_whatever_its_settings(clips_config, esc, tmp_path, capsys):
    """Its settings are the same; the network, or the recordings, are not."""
    out = tmp_path / "runs"
    assert run(clips_config, esc, out) == 0
    for file in out.glob("fold-*/state.pt"):
        file.unlink()
    soundfile.write(esc / "audio" / "1-10-A-0.wav", 0.1 * np.ones(20_000), 32_000)
    capsys.readouterr()
    assert run(clips_config, esc, out) == 2
    assert "fold-1: holds a training with other settings, recordings or weights" in capsys.readouterr().err


def test_a_set_without_folds_is_one_line(clips_config, corpus, tmp_path, capsys):
    assert run(clips_config, corpus, tmp_path / "runs") == 2
    assert "--data: has no folds; htsat_edge.htsat.train trains on one split" in capsys.readouterr().err


def test_a_training_on_scenes_can_be_measured_on_whole_clips(config, clips_config, esc, tmp_path):
    network = NetworkConfig(**yaml.safe_load((tmp_path / "network.yaml").read_text()))
    assert network.loss == "ce"
    config.write_text(yaml.safe_dump({"network": "network.yaml", "steps": 2, "batch": 2}))
    out = tmp_path / "run"
    data = ["--data", str(esc), "--fold", "3"]
    assert train(["--config", str(config), *data, "--out", str(out)]) == 0
    assert evaluate([str(out), *data, "--examples", "clips"]) == 0
    figures = json.loads((out / "figures.json").read_text())
    assert (figures["examples"], figures["recordings"]) == ("clips", 2)
    assert "training.yaml" in {path.name for path in out.iterdir()}


def test_a_training_on_timed_scenes_can_be_measured_on_whole_clips(config, esc, tmp_path):
    """Parts with times are held; the clips that they lie in have none."""
    rows = ["file,class,onset,offset,group,split"]
    for number, (split, name) in enumerate((s, n) for s in ("train", "val") for n in ("tone", "noise")):
        file = f"{1 + (split == 'val')}-{1 + (split == 'val')}{number % 2}-A-{number % 2}.wav"
        rows.append(f"{file},{name},0.05,0.4,g{number},{split}")
    (esc / "audio" / "manifest.csv").write_text("\n".join(rows) + "\n")
    config.write_text(yaml.safe_dump({"network": "network.yaml", "steps": 2, "batch": 2}))
    out, data = tmp_path / "run", ["--data", str(esc / "audio" / "manifest.csv")]
    assert train(["--config", str(config), *data, "--out", str(out)]) == 0
    assert evaluate([str(out), *data, "--examples", "clips"]) == 0
    assert json.loads((out / "figures.json").read_text())["recordings"] == 2


def test_whole_clips_are_known_by_group_and_file(tmp_path):
    """The held rows name a class and an onset, which a whole clip has not."""
    folder = RunFolder(tmp_path)
    folder.held.write_text("class,group,file,onset\nDog,g,a.wav,1.5\nCat,g,a.wav,3.0\n")
    clips = [LabelledClip(Path(f), frozenset({"Cat", "Dog"}), g, "val") for f, g in (("a.wav", "g"), ("a.wav", "h"))]
    assert folder.still_held(clips, whole=True) == clips[:1]
    assert folder.still_held(clips) == []


def test_the_clips_to_validate_on_are_bounded_and_always_the_same():
    clips = [LabelledClip(Path(f"{i}.wav"), frozenset({"Cat"}), str(i), "val") for i in range(100)]
    assert choose(clips, None) == choose(clips, 100) == clips
    chosen = choose(clips, 10)
    assert len({clip.path for clip in chosen}) == 10
    assert chosen == choose(clips, 10)


def test_two_averages_are_refused_together(clips_config):
    clips_config.write_text(clips_config.read_text() + "average_last: 0.5\n")
    assert read_training(clips_config)[0].average_last == 0.5
    clips_config.write_text(clips_config.read_text() + "ema: 0.9\n")
    with pytest.raises(HtsatEdgeError, match="ema and average_last: each is an average"):
        read_training(clips_config)


def test_the_interval_is_students():
    """The worked example of five values 1 to 5: t(0.95, 4) = 2.1318, standard error sqrt(2.5 / 5)."""
    found = t_interval([1, 2, 3, 4, 5])
    half = 2.1318 * (2.5 / 5) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-3)
    assert t_interval([0.5]).low is None
