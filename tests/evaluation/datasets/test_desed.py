"""DESED: strong and weak labels, splits by folder, names that stand in several splits."""

import shutil

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

STRONG = "filename\tonset\toffset\tevent_label\n"


def test_desed(layouts, tmp_path):
    found = read_dataset([layouts.desed(tmp_path)])
    audio = tmp_path / "audio"
    assert (found.name, found.missing, found.left_out) == ("desed", 0, {"no label": 1})
    assert found.recordings == [
        Labelled(audio / place, frozenset(labels), events, split)
        for place, labels, events, split in [
            ("eval/public/Ye1_30.000_40.000.wav", ["Frying"], (Occurrence(0.1, 0.5, "Frying"),), "test"),
            ("train/synthetic21_train/soundscapes/0.wav", ["Dog"], (Occurrence(0.05, 0.3, "Dog"),), "train"),
            ("train/synthetic21_train/soundscapes/1.wav", ["Blender"], (Occurrence(0.1, 0.4, "Blender"),), "train"),
            ("train/weak/Yw1_0.000_10.000.wav", ["Dog", "Speech"], None, "train"),
            ("train/weak/Yw2_0.000_10.000.wav", ["Cat"], None, "train"),
            ("validation/synthetic21_validation/soundscapes/0.wav", ["Cat"], (Occurrence(0.3, 0.5, "Cat"),), "val"),
            ("validation/validation/Yv1_30.000_40.000.wav", ["Speech"], (Occurrence(0.0, 0.25, "Speech"),), "val"),
            ("validation/validation/Yv2_30.000_40.000.wav", [], (), "val"),
        ]
    ]
    assert len(found.classes) == 10
    assert found.classes["Dog"] == ["Dog", "Bark", "Yip", "Howl", "Bow-wow", "Growling"]


def test_a_table_and_its_audio(layouts, tmp_path):
    layouts.desed(tmp_path)
    table = tmp_path / "metadata" / "validation" / "validation.tsv"
    by_folder = read_dataset([tmp_path]).recordings[-2:]
    assert read_dataset([table, tmp_path / "audio"]).recordings == by_folder
    assert read_dataset([table, tmp_path / "audio" / "validation"]).recordings == by_folder
    assert read_dataset([table]).recordings == by_folder


def test_the_baselines_copies_at_16_khz(layouts, tmp_path):
    """Beside the original, or in its place."""
    before = read_dataset([layouts.desed(tmp_path)])
    weak = tmp_path / "audio" / "train" / "weak"
    shutil.copytree(weak, weak.with_name("weak_16k"))
    assert read_dataset([tmp_path]).recordings == before.recordings
    shutil.rmtree(weak)
    found = {r.path for r in read_dataset([tmp_path]).recordings}
    assert {r.path for r in before.recordings} ^ found == {
        folder / f"Yw{i}_0.000_10.000.wav" for i in (1, 2) for folder in (weak, weak.with_name("weak_16k"))
    }


def test_recordings_of_another_split_are_not_taken(layouts, tmp_path):
    """Scenes of training and of validation are both named 0.wav."""
    shutil.rmtree(layouts.desed(tmp_path) / "audio" / "train" / "synthetic21_train")
    found = read_dataset([tmp_path])
    assert found.missing == 2
    assert [(r.labels, r.split) for r in found.recordings if r.path.name == "0.wav"] == [(frozenset(["Cat"]), "val")]


@pytest.mark.parametrize("name", ["audioset_strong.tsv", "zz_strong.tsv"])
def test_strong_labels_of_a_recording_that_has_weak_ones(layouts, tmp_path, name):
    table = layouts.desed(tmp_path) / "metadata" / "train" / name
    table.write_text(STRONG + "Yw1_0.000_10.000.wav\t0.1\t0.4\tDog\n")
    found = [r for r in read_dataset([tmp_path]).recordings if r.path.name == "Yw1_0.000_10.000.wav"]
    assert [(r.labels, r.events) for r in found] == [(frozenset(["Dog"]), (Occurrence(0.1, 0.4, "Dog"),))]
    table.with_name("other_strong.tsv").write_text(STRONG + "Yw1_0.000_10.000.wav\t0.2\t0.4\tDog\n")
    with pytest.raises(HtsatEdgeError, match=r"_strong.tsv: Yw1.* has other labels than .*_strong.tsv: Yw1"):
        read_dataset([tmp_path])


def test_parts_of_a_table_that_is_there_are_not_read(layouts, tmp_path):
    before = read_dataset([layouts.desed(tmp_path)])
    part = tmp_path / "metadata" / "validation" / "test_dcase2018.tsv"
    part.write_text(STRONG + "Yv1_30.000_40.000.wav\t0.0\t0.3\tSpeech\n")
    assert read_dataset([tmp_path]) == before


BAD = {
    "a typo": ("0.wav\t0.1\t0.3\tDgo\n", r"row 1 has class 'Dgo', which is none of DESED's, meant Dog\?"),
    "no times": ("0.wav\t\t\tDog\n", "row 1 has onset '' and offset ''"),
    "no class": ("0.wav\t0.1\t0.3\t\n", "row 1 has no class"),
    "backwards": ("0.wav\t0.3\t0.1\tDog\n", "row 1 has onset '0.3' and offset '0.1'"),
}


@pytest.mark.parametrize(("rows", "message"), BAD.values(), ids=BAD)
def test_bad_rows(layouts, tmp_path, rows, message):
    (layouts.desed(tmp_path) / "metadata" / "eval" / "public.tsv").write_text(STRONG + rows)
    with pytest.raises(HtsatEdgeError, match=r"public.tsv: " + message):
        read_dataset([tmp_path], "desed")


def test_what_is_not_there(layouts, tmp_path):
    layouts.desed(tmp_path)
    with pytest.raises(HtsatEdgeError, match=r"want DESED's TSV files \(filename, onset, offset, event_label, or "):
        read_dataset([tmp_path / "audio"], "desed")
    shutil.rmtree(tmp_path / "audio" / "eval")
    table = tmp_path / "metadata" / "eval" / "public.tsv"
    with pytest.raises(HtsatEdgeError, match=r"public.tsv: none of its 1 recordings is in .*audio"):
        read_dataset([table, tmp_path / "audio"])
    table.write_text("filename,onset\n")
    with pytest.raises(
        HtsatEdgeError, match="want the columns filename, onset, offset, event_label; its first line has"
    ):
        read_dataset([table, tmp_path / "audio"], "desed")


def test_tables_of_other_classes_are_none_of_deseds(layouts, tmp_path):
    """Others write the same columns."""
    layouts.record(tmp_path / "a.wav")
    table = layouts.write(tmp_path / "labels.tsv", STRONG + "a.wav\t0.1\t0.3\tDog\na.wav\t0.1\t0.3\tTractor\n")
    assert read_dataset([table]).name == "manifest"
    assert read_dataset([table]).labels == ["Dog", "Tractor"]


def test_tables_in_its_form_say_where_nothing_sounds(layouts, tmp_path):
    """By a row with nothing but the file, as DESED's own do."""
    for name in ("a.wav", "b.wav", "Dog/c.wav"):
        layouts.record(tmp_path / name)
    rows = "a.wav\t0.1\t0.3\tTractor; old\nb.wav\t\t\t\n"
    layouts.write(tmp_path / "events.tsv", STRONG + rows)
    found = read_dataset([tmp_path])  # the table says more than the folder
    assert found.name == "manifest"
    assert [(r.path.name, r.labels, r.events) for r in found.recordings] == [
        ("a.wav", {"Tractor; old"}, (Occurrence(0.1, 0.3, "Tractor; old"),)),
        ("b.wav", frozenset(), ()),
    ]
    for bad, message in [
        ("a.wav\t0.1\t0.3\t\n", "row 1 has no class"),
        ("a.wav\t0.1\t\tDog\n", "row 1 has onset '0.1'"),
    ]:
        layouts.write(tmp_path / "events.tsv", STRONG + bad + rows.splitlines()[1])
        with pytest.raises(HtsatEdgeError, match=message):
            read_dataset([tmp_path])


def test_paths_are_not_deseds(layouts, tmp_path):
    """What `scan` finds may have no other classes than the ten, and is still what the model calls so."""
    layouts.record(tmp_path / "x" / "a.wav")
    layouts.write(tmp_path / "desed.tsv", STRONG + "x/a.wav\t0.1\t0.3\tDog\n")
    found = read_dataset([tmp_path])
    assert (found.name, found.classes, found.labels) == ("manifest", None, ["Dog"])
