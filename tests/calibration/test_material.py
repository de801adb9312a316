"""The recordings to measure on, and the windows of them that graphs are compared on."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from htsat_edge.calibration.material import probe_windows, read_material, refuse_unreadable, with_classes
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

INFO = load_bundle(BUNDLED).info


def write(path, seconds, level=0.1):
    soundfile.write(path, np.random.default_rng(0).normal(0, level, round(seconds * 32_000)), 32_000)
    return Labelled(path)


def read(*clips, dataset=None, fold=None):
    return read_material(Namespace(clips=list(clips), dataset=dataset, fold=fold), INFO)


def test_manifests_are_read_together_and_must_agree(tmp_path):
    for name, text in {"a": "file,class\na.wav,Dog\n", "b": "file,class\nb.wav,Rain\n", "c": "file\nb.wav\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
        (tmp_path / f"{name}.wav").touch()
    found = read(tmp_path / "a.csv", tmp_path / "b.csv")
    assert [(r.path.name, r.labels) for r in found.recordings] == [("a.wav", {"Dog"}), ("b.wav", {"Rain"})]
    with pytest.raises(HtsatEdgeError, match=r"--clips: b\.wav has no class, but others have"):
        read(tmp_path / "a.csv", tmp_path / "c.csv")


def test_recordings_without_a_manifest_have_no_labels(tmp_path):
    write(tmp_path / "a.wav", 1)
    assert read(tmp_path).recordings == [Labelled(tmp_path / "a.wav")]


def test_a_fold_is_for_esc50_alone():
    with pytest.raises(HtsatEdgeError, match="--fold: is for --dataset esc50 alone"):
        read(Path("x.csv"), fold=1)


def test_a_data_set_with_classes_of_its_own_has_no_thresholds_of_the_model():
    assert with_classes(INFO, None) is INFO
    info = with_classes(INFO, {"Animal": ["Dog", "Sheep"], "Weather": ["Rain"]})
    assert (info.labels, info.thresholds, info.median_steps) == (["Animal", "Weather"], {}, {})
    assert info.step_s == INFO.step_s


def test_labels_may_be_rounded_beyond_the_end_but_not_lie_there(tmp_path):
    path = write(tmp_path / "a.wav", 2).path
    refuse_unreadable(Labelled(path, frozenset(["Dog"]), (Occurrence(1, 2.4, "Dog"),)))
    for onset, offset in ((1, 2.6), (2, 2.1)):
        with pytest.raises(HtsatEdgeError, match=f"lasts 2.000 s, but its labels have Dog from {onset} to {offset} s"):
            refuse_unreadable(Labelled(path, frozenset(["Dog"]), (Occurrence(onset, offset, "Dog"),)))


@pytest.mark.parametrize(("recordings", "seconds", "count"), [(1, 31, 4), (20, 11, 20)])
def test_probes_come_from_all_over_the_material_without_silence(recordings, seconds, count, tmp_path):
    found = [write(tmp_path / f"{i}.wav", seconds) for i in range(recordings)]
    silent = write(tmp_path / "silent.wav", seconds, level=0)
    probes = probe_windows([*found, silent], INFO)
    assert all(probe.shape == (1024, 64) for probe in probes)
    assert len(probes) == count
