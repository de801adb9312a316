"""A folder for each class, as people really have it."""

import unicodedata
from pathlib import Path

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def classes(found):
    """Of each recording by its name."""
    return {recording.path.name: "+".join(sorted(recording.labels)) for recording in found.recordings}


def test_a_recording_lies_at_any_depth_and_may_be_of_any_kind(tmp_path):
    """Of these, the trainer saw the first alone."""
    touch(
        tmp_path, "Dog/a.wav", "Dog/day 1/b.wav", "Dog/day 1/morning/c.FLAC", "Cat/d.m4a", "Cat/x/e.opus", "Cat/f.mp4"
    )
    found = read_dataset([tmp_path])
    assert found.name == "folders"
    assert classes(found) == {f"{n}.{s}": label for n, s, label in [
        ("a", "wav", "Dog"), ("b", "wav", "Dog"), ("c", "FLAC", "Dog"), ("d", "m4a", "Cat"), ("e", "opus", "Cat"),
        ("f", "mp4", "Cat")]}  # fmt: skip
    assert found.recordings[-1] == Labelled(
        tmp_path / "Dog" / "day 1" / "morning" / "c.FLAC", frozenset(["Dog"]), group="Dog/day 1/morning/c.FLAC"
    )
    assert (found.left_out, found.missing) == ({}, 0)


def test_what_systems_write_is_skipped(tmp_path):
    junk = ["Dog/._a.wav", "Dog/.DS_Store", "Dog/Thumbs.db", "__MACOSX/Dog/._a.wav", ".git/x.wav", "Dog/.trash/old.wav"]
    touch(tmp_path, "Dog/a.wav", "Cat/b.wav", "Cat/desktop.ini", *junk)
    found = read_dataset([tmp_path])
    assert classes(found) == {"a.wav": "Dog", "b.wav": "Cat"}
    assert found.left_out == {}


def test_what_has_no_class_and_what_may_be_a_recording_is_counted(tmp_path):
    touch(tmp_path, "Dog/a.wav", "loose.wav", "other.mp3", "README", "Dog/notes.txt", "Dog/b.ape", "Dog/cover.jpg")
    found = read_dataset([tmp_path])
    assert classes(found) == {"a.wav": "Dog"}
    assert found.left_out == {"no label": 2, "of an unknown kind of file": 1}
    assert found.report() == [
        "1 recording, 1 class (Dog); no splits; left out: 1 of an unknown kind of file, 2 no label",
        f"  of an unknown kind of file, the first: {tmp_path}/Dog/b.ape",
        f"  no label, the first: {tmp_path}/loose.wav",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"),
        ("Dog", "Dog "),
        ("alarm clock", "alarm_clock"),
        ("Alarm-Clock", "alarm clock"),
        (unicodedata.normalize("NFC", "Käuzchen"), unicodedata.normalize("NFD", "Käuzchen")),
        ("Straße", "STRASSE"),
        ("Background", None),
    ],
)
def test_nearly_equal_classes_are_refused_with_both_names(one, other, tmp_path):
    """They were learned as two."""
    touch(tmp_path, f"{one}/a.wav", "Piano/c.wav", *([f"{other}/b.wav"] if other else []))
    with pytest.raises(HtsatEdgeError, match="are nearly equal; give them one name") as caught:
        read_dataset([tmp_path])
    assert repr(one) in str(caught.value)
    assert repr(other or "background") in str(caught.value)


def test_nearly_equal_classes_in_two_splits(tmp_path):
    touch(tmp_path, "train/Dog/a.wav", "test/dog/b.wav", "train/Cat/c.wav")
    with pytest.raises(HtsatEdgeError, match=r"'dog'.*'Dog'.* are nearly equal"):
        read_dataset([tmp_path])


def test_a_name_is_taken_without_spaces_and_composed(tmp_path):
    touch(tmp_path, f"{unicodedata.normalize('NFD', 'Käuzchen')} /a.wav", "background/b.wav")
    kauz, nothing = sorted(read_dataset([tmp_path]).recordings, key=lambda recording: recording.path.name)
    assert kauz.labels == {unicodedata.normalize("NFC", "Käuzchen")}
    assert (nothing.labels, nothing.events) == (frozenset(), ())


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        ("train val test", "train val test"),
        ("Training Validation Testing", "train val test"),
        ("train dev eval", "train val test"),
        ("development evaluation", "train test"),
        ("train valid", "train val"),
    ],
)
def test_folders_named_like_splits_are_splits(folders, splits, tmp_path):
    for folder in folders.split():
        touch(tmp_path, f"{folder}/Dog/{folder}.wav", f"{folder}/Cat/deep/{folder}2.wav", f"{folder}/loose.wav")
    found = read_dataset([tmp_path])
    assert found.labels == ["Cat", "Dog"]
    for folder, split in zip(folders.split(), splits.split(), strict=True):
        own = [r for r in found.recordings if r.path.relative_to(tmp_path).parts[0] == folder]
        assert [(r.path.name, r.split) for r in own] == [(f"{folder}2.wav", split), (f"{folder}.wav", split)]
    assert found.left_out == {"no label": len(folders.split())}


def test_a_train_may_be_a_class(tmp_path):
    touch(tmp_path, "Train/a.wav", "Car/b.wav", "Bus/c.wav")
    assert read_dataset([tmp_path]).labels == ["Bus", "Car", "Train"]
    touch(tmp_path, "Train/deep/d.wav")
    with pytest.raises(HtsatEdgeError, match="holds 'Train', which is named like a split and holds folders, and 'Bus'"):
        read_dataset([tmp_path])


def test_a_folder_around_all_is_no_class(tmp_path):
    touch(tmp_path, "audio/Dog/a.wav", "audio/Cat/b.wav", "LICENSE")
    assert classes(read_dataset([tmp_path])) == {"a.wav": "Dog", "b.wav": "Cat"}
    touch(tmp_path / "flat", "audio/a.wav", "audio/b.wav")
    found = read_dataset([tmp_path / "flat"])
    assert found.name == "recordings"
    assert [r.labels for r in found.recordings] == [None, None]
    with pytest.raises(HtsatEdgeError, match="holds no folder of recordings for each class"):
        read_dataset([tmp_path / "flat"], "folders")


def test_several_folders_are_one_set(tmp_path):
    touch(tmp_path, "one/Dog/a.wav", "two/Dog/b.wav", "two/Cat/c.wav")
    found = read_dataset([tmp_path / "one", tmp_path / "two"])
    assert classes(found) == {"a.wav": "Dog", "b.wav": "Dog", "c.wav": "Cat"}


def test_several_folders_may_be_of_several_layouts(tmp_path):
    """The one without a manifest was only looked into for the recordings of the other."""
    touch(tmp_path, "one/Dog/a.wav", "one/loose.wav", "two/b.wav", "two/c.wav", "two/d.wav", "three/e.wav")
    (tmp_path / "two" / "manifest.csv").write_text("file,class\nb.wav,Cat\nc.wav,Dog\n")
    found = read_dataset([tmp_path / "one", tmp_path / "two"])
    assert classes(found) == {"a.wav": "Dog", "b.wav": "Cat", "c.wav": "Dog"}
    assert (found.name, found.left_out) == ("folders, manifest", {"no label": 2})
    assert found.firsts == {"no label": f"{tmp_path}/one/loose.wav"}


def test_each_manifest_names_the_recordings_beside_it(tmp_path):
    for name in ("one", "two"):
        touch(tmp_path, f"{name}/0.wav")
        (tmp_path / name / "manifest.csv").write_text("file,class\n0.wav,Dog\n")
    found = read_dataset([tmp_path / "one", tmp_path / "two"])
    assert [recording.path for recording in found.recordings] == [
        tmp_path / "one" / "0.wav",
        tmp_path / "two" / "0.wav",
    ]
    (tmp_path / "two" / "0.wav").unlink()
    with pytest.raises(HtsatEdgeError, match=r"two/manifest\.csv: 1 of 1 recordings are missing"):
        read_dataset([tmp_path / "one", tmp_path / "two"])
    (tmp_path / "two" / "manifest.csv").write_text("file,class\n../one/0.wav,Dog\n")
    with pytest.raises(
        HtsatEdgeError, match=r"two/manifest\.csv: row 1 names .*0\.wav, and so does .*row 1; name it once"
    ):
        read_dataset([tmp_path / "one", tmp_path / "two"])


def test_tables_may_lie_in_another_folder_than_recordings(tmp_path):
    touch(tmp_path, "field days/a.wav", "field days/b.wav")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "manifest.csv").write_text("file,class\na.wav,Cat\nb.wav,Dog\n")
    assert classes(read_dataset([tmp_path / "tables", tmp_path / "field days"])) == {"a.wav": "Cat", "b.wav": "Dog"}


def test_an_empty_folder_of_a_class_and_odd_names_are_refused(tmp_path):
    touch(tmp_path, "Dog/a.wav", "Cat/readme.txt")
    with pytest.raises(HtsatEdgeError, match="Cat: holds no recording; put some into it, or remove it"):
        read_dataset([tmp_path])
    (tmp_path / "Cat" / "readme.txt").unlink()
    (tmp_path / "Cat").rename(tmp_path / "C\nt")
    touch(tmp_path, "C\nt/b.wav")
    with pytest.raises(HtsatEdgeError, match=r"'C\\nt' cannot be a label"):
        read_dataset([tmp_path])


def test_links_are_followed_but_not_round_in_circles(tmp_path):
    touch(tmp_path, "elsewhere/a.wav", "set/Cat/b.wav")
    (tmp_path / "set" / "Dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "Cat" / "again").symlink_to(tmp_path / "set")
    assert classes(read_dataset([tmp_path / "set"])) == {"a.wav": "Dog", "b.wav": "Cat"}


def test_no_file_is_opened_to_be_listed(monkeypatch):
    """Or asked for its size: a tree may be large, and on a slow disk."""
    from htsat_edge.evaluation.datasets import folders
    from htsat_edge.evaluation.datasets.files import Files

    paths = tuple(Path(f"/none/class {i % 50}/{i}.wav") for i in range(20_000))
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(()))
    found = folders.read(Files((Path("/none"),), paths))
    assert (len(found.recordings), len(found.labels)) == (20_000, 50)
