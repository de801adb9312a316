"""Manifests, good and bad."""

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.manifests import read_labelled, read_manifest
from htsat_edge.evaluation.labels import Labelled, Occurrence
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
    assert read_labelled(path) == (
        [
            Labelled(tmp_path / "a.wav", frozenset(LABELS), dogs, group="a.wav"),
            Labelled(tmp_path / "b.wav", frozenset(), (), group="b.wav"),
        ],
        0,
    )


def test_when_it_is_known_whether(tmp_path):
    path = write(tmp_path, "file,class\na.wav,Dog\na.wav,Rain\nb.wav,Rain\n")
    assert read_labelled(path)[0] == [
        Labelled(tmp_path / "a.wav", frozenset(LABELS), group="a.wav"),
        Labelled(tmp_path / "b.wav", frozenset(["Rain"]), group="b.wav"),
    ]


def test_when_nothing_is_known(tmp_path):
    assert read_labelled(write(tmp_path, "file\na.wav\n"))[0] == [Labelled(tmp_path / "a.wav", group="a.wav")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\nx.wav,Dog\na.wav,Dog\ny.wav,Dog\n", r"2 of 3 recordings are missing, first .*x\.wav"),
        (
            "file,class,onset,offset\na.wav,Dog,2,1\n",
            "row 1 has onset '2' and offset '1', want seconds, with the offset after",
        ),
        ("file,class,onset,offset\na.wav,Dog,x,1\n", "onset 'x'"),
        ("file,class,onset,offset\na.wav,Dog,-1,1\n", "onset '-1'"),
        ("file,class,onset,offset\na.wav,Dog,0,nan\n", "offset 'nan'"),
        ("file,class,onset,offset\na.wav,Dog,0,1\na.wav,Rain,,\n", r"a\.wav has an onset and an offset in some of"),
        ("file,class,onset,offset\na.wav,Dog,3,\n", "row 1 has onset '3' and offset ''"),
        ("file,class\na.wav\n", "row 1 has no class; give it as background"),
        ("file,class,split\na.wav,Dog,val\nb.wav,Dog,\n", "row 2 has no split, but others have; give all or none"),
        ("file,class\n", "names no recording"),
        ("file,class,split\na.wav,Dog,held\n", "row 1 has split 'held', want one of train, val, test"),
        ("file,class,split\na.wav,Dog,train\na.wav,Rain,val\n", r"recording .*a\.wav has the splits train and val"),
        ("file,class,onset,offset\na.wav,background,0,\n", "row 1 has onset '0' and offset ''"),
        (
            "file,class,onset,offset\na.wav,background,,\na.wav,Dog,0,1\n",
            "offset in some of its rows; give all or none",
        ),
    ],
)
def test_bad_manifests_are_one_line(text, message, tmp_path):
    with pytest.raises(HtsatEdgeError, match=message) as error:
        read_labelled(write(tmp_path, text))[0]
    assert "\n" not in str(error.value)
    assert "list.csv" in str(error.value)


def test_a_split_that_agrees_with_its_folder_and_a_duration_beside_an_offset(tmp_path):
    """An offset says when an event ends, whatever the duration is of."""
    text = "file,class,onset,offset,duration,split\ntrain/a.wav,Dog,1,2,9,training\ntest/b.wav,Dog,1,2,9,test\n"
    rows = read_manifest(write(tmp_path, text, files=()))
    assert [(row.split, row.span_s) for row in rows] == [("train", (1, 2)), ("test", (1, 2))]
    with pytest.raises(HtsatEdgeError, match=r"row 2 has split 'train', but its file lies in test: test/b\.wav"):
        read_manifest(write(tmp_path, text.replace("9,test", "9,train"), files=()))
    (row,) = read_manifest(write(tmp_path, "file,class,onset,duration\na.wav,Dog,1,2\n"))
    assert row.span_s == (1, 3)


def test_a_class_may_be_called_train(tmp_path):
    """Beside folders of other classes, a folder Train is one of trains, and not what is learned from."""
    text = "file,class,split\nTrain/a.wav,Train,val\nRain/b.wav,Rain,train\n"
    assert [row.split for row in read_manifest(write(tmp_path, text, files=()))] == ["val", "train"]


def test_a_row_has_all_that_a_manifest_says(tmp_path):
    text = "file,class,onset,offset,split,group\nx/a.wav,Dog,1,2.5,train,kennel\nb.wav,background,,,test,\n"
    dog, background = read_manifest(write(tmp_path, text, files=()))
    assert (dog.path, dog.labels, dog.span_s) == (tmp_path / "x" / "a.wav", ("Dog",), (1, 2.5))
    assert (dog.split, dog.group) == ("train", "kennel")
    assert (background.labels, background.span_s) == ((), None)
    assert (background.split, background.group) == ("test", "b.wav")


def test_a_manifest_may_say_nothing_but_the_file(tmp_path):
    path = write(tmp_path, "file\na.wav\n")
    (row,) = read_manifest(path)
    assert (row.labels, row.span_s, row.split, row.group) == (None, None, "", "a.wav")
    assert read_manifest(path, classes=True) == [row]
    path.write_text("file,sample_rate\na.wav,8000\n")
    assert len(read_manifest(path)) == 1
    with pytest.raises(HtsatEdgeError, match="no column of classes; its columns are file, sample_rate; known are file"):
        read_manifest(path, classes=True)


def test_files_of_one_name_in_two_folders_are_two_recordings(tmp_path):
    path = write(tmp_path, "file,class,split\nx/a.wav,Dog,train\ny/a.wav,Dog,val\n", files=())
    assert [row.split for row in read_manifest(path)] == ["train", "val"]


@pytest.mark.parametrize("name", ["/nas/night/x/a.wav", "D:\\night\\x\\a.wav", "night/x/a", "../x/a.wav"])
def test_recordings_that_have_moved(name, tmp_path):
    """They are found in a folder that is named, by as many of their folders as are still there."""
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables", f"file,class\n{name},Dog\n", files=())
    for file in ("x/a.wav", "a.wav"):
        (tmp_path / "disk" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / file).touch()
    (found,) = read_dataset([path, tmp_path / "disk"]).recordings
    assert found.path == tmp_path / "disk" / "x" / "a.wav"
    with pytest.raises(HtsatEdgeError, match="1 of 1 recordings are missing"):
        read_dataset([path])
