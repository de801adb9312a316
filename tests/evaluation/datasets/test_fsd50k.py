"""FSD50K: splits, labels up to the root, and their names in AudioSet."""

import shutil
from collections import Counter

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.runtime.common.errors import HtsatEdgeError


def test_fsd50k(layouts, tmp_path):
    found = read_dataset([layouts.fsd50k(tmp_path)])
    assert (found.name, found.missing) == ("fsd50k", 0)
    assert Counter(r.split for r in found.recordings) == {"train": 3, "val": 2, "test": 3}
    by_name = {r.path.stem: r for r in found.recordings}
    assert by_name["345111"].path == tmp_path / "FSD50K.dev_audio" / "345111.wav"
    assert (by_name["345111"].labels, by_name["345111"].events) == (frozenset(["Bark", "Dog", "Animal"]), None)
    assert by_name["37199"].path == tmp_path / "FSD50K.eval_audio" / "37199.wav"
    assert by_name["37199"].labels == {"Electric_guitar", "Guitar", "Music"}


def test_names_in_audioset(layouts, tmp_path):
    classes = read_dataset([layouts.fsd50k(tmp_path)]).classes
    assert classes["Electric_guitar"] == ["Electric guitar"]
    assert (classes["Screech"], classes["Human_voice"]) == ([], [])
    assert sorted(classes) == read_dataset([tmp_path]).labels


def test_one_part_alone(layouts, tmp_path):
    shutil.rmtree(layouts.fsd50k(tmp_path) / "FSD50K.dev_audio")
    found = read_dataset([tmp_path])
    assert (Counter(r.split for r in found.recordings), found.missing) == ({"test": 3}, 5)
    (tmp_path / "FSD50K.ground_truth" / "dev.csv").unlink()
    assert read_dataset([tmp_path]).missing == 0
    shutil.rmtree(tmp_path / "FSD50K.eval_audio")
    with pytest.raises(HtsatEdgeError, match=r"eval.csv: none of its 3 recordings is in "):
        read_dataset([tmp_path])


BAD = {
    "fewer mids": ('"Screech","/m/07q8k13"', '"Screech,Dog","/m/07q8k13"', "row 5 has 2 labels and 1 mids"),
    "another mid": (
        '"Screech","/m/07q8k13"',
        '"Screech","/m/0bt9lr"',
        "row 5 has mid /m/0bt9lr with class Screech, but .*row 2 with Dog",
    ),
    "another label": (
        '"Screech","/m/07q8k13"',
        '"Dog","/m/07q8k13"',
        "row 5 has class Dog with mid /m/07q8k13, but .*row 2 with /m/0bt9lr",
    ),
    "a split": ('/m/07q8k13",val', '/m/07q8k13",dev', "row 5 has split 'dev', want train or val"),
    "twice": ("345112,", "345111,", "row 5 names 345111, as .*row 4 does"),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD.values(), ids=BAD)
def test_contradictions(layouts, tmp_path, old, new, message):
    table = layouts.fsd50k(tmp_path) / "FSD50K.ground_truth" / "dev.csv"
    text = table.read_text()
    assert text.count(old) == 1
    table.write_text(text.replace(old, new))
    with pytest.raises(HtsatEdgeError, match=message):
        read_dataset([tmp_path])
