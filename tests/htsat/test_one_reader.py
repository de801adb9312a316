"""accuracy.py and htsat.train read every layout through one reader: the same recordings, classes and splits."""

import importlib.util
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest

from htsat_edge.calibration.material import read_material
from htsat_edge.evaluation.datasets import LAYOUTS, read_dataset
from htsat_edge.evaluation.datasets.checking import leave_out_damaged
from htsat_edge.evaluation.datasets.splits import TESTED
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.htsat.sources import read_clips
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

BUILDERS = Path(__file__).parents[1] / "evaluation" / "datasets" / "layouts.py"


@pytest.fixture(scope="session")
def layouts():
    spec = importlib.util.spec_from_file_location("layouts", BUILDERS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folders(layouts, folder):
    """Folders of classes in splits, with what lies about there."""
    for split, count in (("train", 6), ("valid", 2), ("test", 3)):
        for i in range(count):
            layouts.record(folder / split / "Dog" / f"{i}.wav", seed=i)
            layouts.record(folder / split / "background" / "day" / f"{i}.wav", seed=50 + i)
        layouts.record(folder / split / "loose.wav")
    for name in ("._0.wav", ".DS_Store"):
        layouts.write(folder / "train" / "Dog" / name, "Mac")
    return folder


def manifest(layouts, folder):
    """A manifest with several classes in a cell; one of its recordings is missing, and one is silent."""
    rows = [f"{i};{'Dog|Rain' if i % 4 == 0 else 'Dog'};s{i // 2}" for i in range(20)]
    for i in range(19):
        layouts.record(folder / "audio" / f"{i}.wav", seed=i)
    (folder / "audio" / "7.wav").write_bytes(b"RIFF....WAVE")
    layouts.write(folder / "metadata.csv", "\n".join(["FileName;Labels;Speaker", *rows, ""]))
    return folder


CASES = {
    "esc50": "20 recordings, 3 classes (dog, rain, rooster); no splits, 5 folds",
    "urbansound8k": "40 recordings, 2 classes (dog_bark, siren); no splits, 10 folds",
    "speech-commands": "15 recordings, 2 classes (no, yes), 1 of background; 11 train, 2 val, 2 test",
    "fsd50k": "8 recordings, 8 classes; 3 train, 2 val, 3 test",
    "audioset": "3 recordings, 7 classes; 2 train, 1 test; left out: 2 missing",
    "desed": "8 recordings, 5 classes (Blender, Cat, Dog, Frying, Speech), 1 of background; 4 train, 3 val, 1 test; "
    "left out: 1 no label",
    "label-studio": "3 recordings, 2 classes (Cat, Dog), 1 of background; no splits; left out: 1 skipped by the "
    "annotator, 1 no label",
    "kaleidoscope": "3 recordings, 2 classes (Robin, Wren), 1 of background; no splits; left out: 1 no label",
    "raven": "2 recordings, 2 classes (Robin, Wren), 1 of background; no splits; left out: 1 no label",
    "audacity": "3 recordings, 2 classes (Cat, Dog), 1 of background; no splits; left out: 1 no label",
    "textgrid": '2 recordings, 2 classes (Dog "Rex" barks, Robin), 1 of background; no splits; left out: 1 no label',
    "folders": "22 recordings, 1 class (Dog), 11 of background; 12 train, 4 val, 6 test; left out: 3 no label",
    "manifest": "18 recordings, 2 classes (Dog, Rain); no splits; left out: 1 not decodable, 1 missing",
}


@pytest.mark.parametrize(("name", "line"), CASES.items())
def test_both_read_the_same(name, line, layouts, tmp_path, capsys):
    own = {"folders": folders, "manifest": manifest}.get(name)
    folder = tmp_path / "as it was unpacked"
    if own:
        own(layouts, folder)
    else:
        layouts.ALL[name](folder)
    found = leave_out_damaged(read_dataset([folder]))
    assert found.name == name
    assert f"{folder}: {found.summary()}" == f"{folder}: {line}"
    info = load_bundle(BUNDLED).info.model_copy(update={"labels": list(found.classes or found.labels)})
    if name == "desed":  # weakly labelled recordings cannot be measured on beside the others, and are learned from
        assert {r.events is None for r in found.recordings if r.split == "train"} == {True, False}
    measured = read_material(Namespace(clips=[folder], dataset=None, fold=None), info)
    said = capsys.readouterr().out
    assert said.splitlines() == [f"{folder}: {line}", *found.report()[1:]]
    clips = read_clips([folder])
    assert capsys.readouterr().out == said
    splits = Counter(recording.split for recording in found.recordings)
    tested = splits["test"] if name in TESTED else 0
    assert len(measured.recordings) == (tested or splits["val"] + splits["test"] + splits[""])
    assert len(clips) == splits["train"] + splits["val"] + splits[""]
    if splits["val"]:
        assert sum(clip.held for clip in clips) == splits["val"]


def test_scenes_are_mixed_of_parts_with_one_class(layouts, tmp_path, capsys):
    folder = manifest(layouts, tmp_path / "set")
    parts = read_corpora([folder])
    line, first, more = capsys.readouterr().out.splitlines()
    assert line == f"{folder}: {CASES['manifest']}"
    assert first.startswith(f"  not decodable, the first: {folder}/audio/7.wav: ")
    assert more == "  5 recordings more left out: several classes at once, without times"
    assert len(parts) == 13
    assert {part.label for part in parts} == {"Dog"}
    assert {part.group for part in parts if part.held}.isdisjoint(part.group for part in parts if not part.held)


@pytest.mark.parametrize(("fold", "held"), [(1, 4), (5, 4)])
def test_a_fold_is_held_by_one_and_measured_by_the_other(fold, held, layouts, tmp_path):
    folder = layouts.esc50(tmp_path / "ESC-50-master")
    info = load_bundle(BUNDLED).info.model_copy(update={"labels": ["dog", "rain", "rooster"]})
    measured = read_material(Namespace(clips=[folder], dataset=None, fold=fold), info)
    parts = read_corpora([folder], fold=fold)
    assert {r.path for r in measured.recordings} == {part.path for part in parts if part.held}
    assert (len(measured.recordings), len(parts)) == (held, 20)


def test_every_layout_with_labels_is_read():
    assert set(CASES) == set(LAYOUTS) - {"recordings"}
