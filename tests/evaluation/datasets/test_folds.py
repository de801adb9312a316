"""ESC-50 and UrbanSound8K: folds, groups, and what contradicts itself."""

import shutil

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.runtime.common.errors import HtsatEdgeError


def splits(dataset):
    return sorted({(recording.fold, recording.split) for recording in dataset.recordings})


def edit(table, old, new):
    text = table.read_text()
    assert text.count(old) == 1
    table.write_text(text.replace(old, new))


def by_name(dataset):
    return {recording.path.name: recording for recording in dataset.recordings}


def test_esc50(layouts, tmp_path):
    found = read_dataset([layouts.esc50(tmp_path)])
    assert (found.name, len(found.recordings), found.missing, found.left_out) == ("esc50", 20, 0, {})
    dog = by_name(found)["2-2000-B-0.wav"]
    assert dog.path == tmp_path / "audio" / "2-2000-B-0.wav"
    assert (dog.labels, dog.events, dog.split, dog.group, dog.fold) == (frozenset(["dog"]), None, "", "2000", "2")
    assert found.labels == ["dog", "rain", "rooster"]


def test_a_fold_is_held(layouts, tmp_path):
    found = read_dataset([layouts.esc50(tmp_path)], fold=2)
    assert splits(found) == [("1", "train"), ("2", "val"), ("3", "train"), ("4", "train"), ("5", "train")]
    with pytest.raises(HtsatEdgeError, match="has no fold 6, only 1, 2, 3, 4, 5"):
        read_dataset([tmp_path], fold=6)


def test_urbansound8k(layouts, tmp_path):
    found = read_dataset([layouts.urbansound8k(tmp_path)], fold=10)
    assert (found.name, len(found.recordings), found.missing) == ("urbansound8k", 40, 0)
    assert splits(found) == sorted([(str(fold), "train") for fold in range(1, 10)] + [("10", "val")])
    siren = by_name(found)["100108-8-0-1.wav"]
    assert siren.path == tmp_path / "audio" / "fold10" / "100108-8-0-1.wav"
    assert (siren.labels, siren.events, siren.group) == (frozenset(["siren"]), None, "100108")
    assert len({recording.group for recording in found.recordings}) == 20


def test_groups_are_of_the_column_else_of_the_name(layouts, tmp_path):
    table = layouts.esc50(tmp_path) / "meta" / "esc50.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    groups = [r.group for r in read_dataset([tmp_path]).recordings]
    assert groups[:3] == ["1000", "1000", "1001"]
    table.write_text("\n".join(",".join(row[:5]) for row in rows) + "\n")
    assert [r.group for r in read_dataset([tmp_path]).recordings] == groups
    for row in rows[1:]:  # names that say nothing
        (tmp_path / "audio" / row[0]).rename(tmp_path / "audio" / f"clip {row[0]}")
        row[0] = f"clip {row[0]}"
    table.write_text("\n".join(map(",".join, rows)) + "\n")
    assert [r.group for r in read_dataset([tmp_path]).recordings] == groups


@pytest.mark.parametrize("name", ["esc50", "urbansound8k"])
def test_converted_and_moved(layouts, tmp_path, name):
    """People convert to FLAC in a folder beside the original, or leave only that, flat."""
    before = read_dataset([layouts.ALL[name](tmp_path)])
    for recording in before.recordings:
        (tmp_path / "audio_16k").mkdir(exist_ok=True)
        shutil.copy(recording.path, tmp_path / "audio_16k" / recording.path.name)
    assert read_dataset([tmp_path]).recordings == before.recordings
    for copy in (tmp_path / "audio_16k").iterdir():
        copy.rename(copy.with_suffix(".flac"))
    assert read_dataset([tmp_path]).recordings == before.recordings
    shutil.rmtree(tmp_path / "audio")
    flat = read_dataset([tmp_path])
    assert [r.path for r in flat.recordings] == [
        tmp_path / "audio_16k" / f"{r.path.stem}.flac" for r in before.recordings
    ]
    assert [(r.labels, r.group, r.fold) for r in flat.recordings] == [
        (r.labels, r.group, r.fold) for r in before.recordings
    ]


def test_the_table_alone(layouts, tmp_path):
    folder = read_dataset([layouts.esc50(tmp_path)])
    assert read_dataset([tmp_path / "meta" / "esc50.csv"]) == folder


def test_another_dialect(layouts, tmp_path):
    """A spreadsheet has saved it with semicolons and capitals."""
    before = read_dataset([layouts.esc50(tmp_path)])
    table = tmp_path / "meta" / "esc50.csv"
    head, rest = table.read_text().replace(",", ";").split("\n", 1)
    table.write_text(head.title() + "\n" + rest, encoding="utf-8-sig")
    assert read_dataset([tmp_path]) == before


def test_missing_ones_are_counted(layouts, tmp_path):
    layouts.esc50(tmp_path)
    (tmp_path / "audio" / "1-1000-A-0.wav").unlink()
    found = read_dataset([tmp_path])
    assert (len(found.recordings), found.missing) == (19, 1)
    shutil.rmtree(tmp_path / "audio")
    layouts.record(tmp_path / "other.wav")
    with pytest.raises(
        HtsatEdgeError, match=r"esc50.csv: none of its 20 recordings is in .*, which holds 1 of other names"
    ):
        read_dataset([tmp_path])


ESC50 = {
    "class with another number": (
        ",1,0,dog,True,1000,B",
        ",1,0,rain,True,1000,B",
        "row 2 has target 0 with category rain, but .*row 1 with dog",
    ),
    "number with another class": (
        "1-1001-A-1.wav,1,1,rooster",
        "x.wav,1,0,rooster",
        "row 3 has target 0 with category rooster, but .*row 1 with dog",
    ),
    "fold": ("1-1000-B-0.wav,1,", "1-1000-B-0.wav,2,", "row 2 has fold 2, but its name 1-1000-B-0.wav has 1"),
    "number": ("1-1000-B-0.wav,1,0", "1-1000-B-0.wav,1,7", "row 2 has target 7, but its name 1-1000-B-0.wav has 0"),
    "recording": ("True,1000,B", "True,1001,B", "row 2 has src_file 1001, but its name 1-1000-B-0.wav has 1000"),
    "twice": ("1-1000-B-0.wav", "1-1000-A-0.wav", "row 2 names 1-1000-A-0.wav, as .*row 1 does"),
    "no class": (",1,0,dog,True,1000,B", ",1,0,,True,1000,B", "row 2 has no category"),
    "no column": (
        "fold,",
        "part,",
        "want the columns filename, fold, category; its first line has filename, part, target",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), ESC50.values(), ids=ESC50)
def test_contradictions_of_esc50(layouts, tmp_path, old, new, message):
    layouts.esc50(tmp_path, folds=1)
    edit(tmp_path / "meta" / "esc50.csv", old, new)
    with pytest.raises(HtsatEdgeError, match=message):
        read_dataset([tmp_path])


def test_contradictions_of_urbansound8k(layouts, tmp_path):
    table = layouts.urbansound8k(tmp_path, folds=2) / "metadata" / "UrbanSound8K.csv"
    good = table.read_text()
    edit(table, "100013-3-0-1.wav,100013,61,65,1,1,3,dog_bark", "100013-3-0-1.wav,100013,61,65,1,2,3,dog_bark")
    with pytest.raises(HtsatEdgeError, match=r"row 2 has fold 2, but 100013-3-0-1.wav lies in .*fold1"):
        read_dataset([tmp_path])
    table.write_text(good)
    edit(table, "100018-8-0-0.wav,100018,60,64,1,1,8,siren", "100018-8-0-0.wav,100018,60,64,1,1,3,siren")
    with pytest.raises(HtsatEdgeError, match=r"row 3 has classid 3, but its name 100018-8-0-0.wav has 8"):
        read_dataset([tmp_path])
    table.write_text(good.replace(",8,siren", ",8,dog_bark", 1))
    with pytest.raises(HtsatEdgeError, match=r"row 3 has class dog_bark with classid 8, but .*row 1 with 3"):
        read_dataset([tmp_path])
