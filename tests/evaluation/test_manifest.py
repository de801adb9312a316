"""Manifests, good and bad."""

import pytest

from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.evaluation.manifest import read_labelled, read_manifest
from htsat_edge.runtime.common.errors import HtsatEdgeError

LABELS = ["Dog", "Rain"]


def write(folder, text, files=("a.wav", "b.wav")):
    for name in files:
        (folder / name).touch()
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_when_it_is_known_when(tmp_path):
    path = write(
        tmp_path, "file,class,onset,offset\na.wav,Dog,1,2.5\na.wav,Rain,0,3\nb.wav,background,,\na.wav,Dog,4,5\n"
    )
    dogs = Occurrence(1, 2.5, "Dog"), Occurrence(0, 3, "Rain"), Occurrence(4, 5, "Dog")
    assert read_labelled(path, LABELS) == [
        Labelled(tmp_path / "a.wav", frozenset(LABELS), dogs),
        Labelled(tmp_path / "b.wav", frozenset(), ()),
    ]


def test_when_it_is_known_whether(tmp_path):
    path = write(tmp_path, "file,class\na.wav,Dog\na.wav,Rain\nb.wav,Rain\n")
    assert read_labelled(path, LABELS) == [
        Labelled(tmp_path / "a.wav", frozenset(LABELS)),
        Labelled(tmp_path / "b.wav", frozenset(["Rain"])),
    ]


def test_when_nothing_is_known(tmp_path):
    assert read_labelled(write(tmp_path, "file\na.wav\n"), LABELS) == [Labelled(tmp_path / "a.wav")]


def test_what_was_learned_from_is_not_measured_on(tmp_path):
    path = write(tmp_path, "file,class,split\na.wav,Dog,train\nb.wav,Rain,val\n")
    assert [r.path.name for r in read_labelled(path, LABELS)] == ["b.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\na.wav,Dgo\n", r"row 1 has class 'Dgo', which is no label of the model, meant Dog\?"),
        ("file,class\na.wav,Piano\n", "no label of the model; leave such rows out"),
        ("file,class\nx.wav,Dog\na.wav,Dog\ny.wav,Dog\n", r"2 of 3 recordings are missing, first .*x\.wav"),
        (
            "file,class,onset,offset\na.wav,Dog,2,1\n",
            "row 1 has onset '2' and offset '1', want seconds, with the offset after",
        ),
        ("file,class,onset,offset\na.wav,Dog,x,1\n", "onset 'x'"),
        ("file,class,onset,offset\na.wav,Dog,-1,1\n", "onset '-1'"),
        ("file,class,onset,offset\na.wav,Dog,0,nan\n", "offset 'nan'"),
        ("file,class,onset,offset\na.wav,Dog,0,1\na.wav,Rain,,\n", r"a\.wav has an onset and an offset in some of"),
        ("file,class,onset,offset\na.wav,Dog,0,1\nb.wav,Rain,,\n", r"b\.wav has no onset and offset, but others have"),
        ("file,class,onset,offset\na.wav,Dog,3,\n", "row 1 has onset '3' and offset ''"),
        ("file,class\na.wav\n", "row 1 has no class; give it as background"),
        (
            "file,class,onset,offset\na.wav,Dog,3,5\na.wav,Rain,0,9\na.wav,Dog,4,6\n",
            "Dog from 4 s begins before the one from 3 s ends, at 5 s; make one event of them",
        ),
        ("file,class,split\na.wav,Dog,val\nb.wav,Dog,\n", "row 2 has no split, but others have; give all or none"),
        ("file,class,split\na.wav,Dog,train\n", "names no recording to measure on"),
        ("file,class,split\na.wav,Dog,Train\n", "row 1 has split 'Train', want one of train, val, test"),
        ("file,class,split\na.wav,Dog,train\na.wav,Rain,val\n", r"recording .*a\.wav has the splits train and val"),
        (
            "file,class,split,group\na.wav,Dog,train,one day\nb.wav,Dog,val,one day\n",
            "group 'one day' has the splits train and val; give it one",
        ),
        ("file,class,onset,offset\na.wav,background,0,\n", "row 1 has onset '0' and offset ''"),
        (
            "file,class,onset,offset\na.wav,background,,\na.wav,Dog,0,1\n",
            "offset in some of its rows; give all or none",
        ),
    ],
)
def test_bad_manifests_are_one_line(text, message, tmp_path):
    with pytest.raises(HtsatEdgeError, match=message) as error:
        read_labelled(write(tmp_path, text), LABELS)
    assert "\n" not in str(error.value)
    assert "list.csv" in str(error.value)


@pytest.mark.parametrize("split", ["val", "test", ""])
def test_every_other_split_is_measured_on(split, tmp_path):
    path = write(tmp_path, f"file,class,split\na.wav,Dog,{split}\n")
    assert len(read_labelled(path, LABELS)) == 1


def test_a_row_has_all_that_a_manifest_says(tmp_path):
    text = "file,class,onset,offset,split,group\nx/a.wav,Dog,1,2.5,train,kennel\nb.wav,background,,,test,\n"
    dog, background = read_manifest(write(tmp_path, text, files=()))
    assert (dog.path, dog.label, dog.span_s) == (tmp_path / "x" / "a.wav", "Dog", (1, 2.5))
    assert (dog.split, dog.group, dog.held_back) == ("train", "kennel", False)
    assert (background.label, background.span_s) == ("background", None)
    assert (background.split, background.group, background.held_back) == ("test", "b.wav", True)


def test_a_manifest_may_say_nothing_but_the_file(tmp_path):
    path = write(tmp_path, "file\na.wav\n")
    (row,) = read_manifest(path)
    assert (row.label, row.span_s, row.split, row.group, row.held_back) == (None, None, "", "a.wav", False)
    with pytest.raises(HtsatEdgeError, match="has no column 'class' in its header"):
        read_manifest(path, classes=True)


def test_files_of_one_name_in_two_folders_are_two_recordings(tmp_path):
    path = write(tmp_path, "file,class,split\nx/a.wav,Dog,train\ny/a.wav,Dog,val\n", files=())
    assert [row.split for row in read_manifest(path)] == ["train", "val"]
