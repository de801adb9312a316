"""What a bundle ships for enrolment: recordings to learn from, evenly, and an hour of background at most."""

import shutil

import numpy as np
import pytest
import soundfile

from htsat_edge.calibration import negatives as script
from htsat_edge.runtime.enrolment.negatives import BACKGROUND, read_negatives
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

RATE = 32_000


@pytest.fixture
def material(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["file,class,group,split"]
    for i in range(4):
        soundfile.write(tmp_path / f"bell-{i}.flac", rng.normal(0, 0.1, RATE), RATE)
        rows.append(f"bell-{i}.flac,Bell,g{i},{'val' if i == 3 else 'train'}")
    (tmp_path / "corpus.csv").write_text("\n".join(rows) + "\n")
    for i in range(3):
        soundfile.write(tmp_path / f"quiet-{i}.flac", rng.normal(0, 0.01, 12 * RATE), RATE)
    quiet = "".join(f"quiet-{i}.flac,background\n" for i in range(3))
    (tmp_path / "quiet.csv").write_text("file,class\n" + quiet)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for name in ("model.json", "fp32.onnx"):
        shutil.copy(BUNDLED / name, bundle / name)
    return tmp_path, bundle


def test_a_bundle_gets_what_sounds_are_told_from(material, capsys, monkeypatch):
    folder, bundle = material
    monkeypatch.setattr(script, "MOST_OF_A_CLASS", 2)
    monkeypatch.setattr(script, "MOST_BACKGROUND_H", 20 / 3600)
    clips = ["--clips", str(folder / "corpus.csv"), "--background", str(folder / "quiet.csv")]
    assert script.main([str(bundle), *clips, "--threads", "1"]) == 0
    assert "2 recordings of 1 classes, 0.0 h of background" in capsys.readouterr().out
    found = read_negatives(load_bundle(bundle))
    assert found.labels == ["Bell", "Bell", BACKGROUND, BACKGROUND]  # the third would be beyond 20 s
    assert found.groups[:2] == ["g0", "g1"]  # g3 is held back
    assert [int((found.recordings == i).sum()) for i in range(4)][2:] == [38, 38]


def test_without_background_nothing_is_written(material, capsys):
    folder, bundle = material
    clips = ["--clips", str(folder / "corpus.csv"), "--background", str(folder / "corpus.csv")]
    assert script.main([str(bundle), *clips]) == 2
    assert "--background: names no recording without a sound" in capsys.readouterr().err
    assert not (bundle / "negatives.npz").exists()
