"""Manifests of labels, good and bad."""

from pathlib import Path

import pytest
from htsat_edge.evaluation.labels import Labelled, Occurrence, join, read_manifest, refuse_mixed
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
    assert read_manifest(path, LABELS) == [
        Labelled(tmp_path / "a.wav", frozenset(LABELS), dogs),
        Labelled(tmp_path / "b.wav", frozenset(), ()),
    ]


def test_when_it_is_known_whether(tmp_path):
    path = write(tmp_path, "file,class\na.wav,Dog\na.wav,Rain\nb.wav,Rain\n")
    assert read_manifest(path, LABELS) == [
        Labelled(tmp_path / "a.wav", frozenset(LABELS)),
        Labelled(tmp_path / "b.wav", frozenset(["Rain"])),
    ]


def test_when_nothing_is_known(tmp_path):
    assert read_manifest(write(tmp_path, "file\na.wav\n"), LABELS) == [Labelled(tmp_path / "a.wav")]


def test_what_was_learned_from_is_not_measured_on(tmp_path):
    path = write(tmp_path, "file,class,split\na.wav,Dog,train\nb.wav,Rain,val\n")
    assert [r.path.name for r in read_manifest(path, LABELS)] == ["b.wav"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\na.wav,Dgo\n", r"row 1 has class 'Dgo', which is no label of the model, meant Dog\?"),
        ("file,class\na.wav,Piano\n", "no label of the model; leave such rows out"),
        ("file,class\nx.wav,Dog\na.wav,Dog\ny.wav,Dog\n", r"2 of 3 recordings are missing, first .*x\.wav"),
        (
            "file,class,onset,offset\na.wav,Dog,2,1\n",
            "row 1 has onset '2' and offset '1', want seconds, the offset after",
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
    ],
)
def test_bad_manifests_are_one_line(text, message, tmp_path):
    with pytest.raises(HtsatEdgeError, match=message) as error:
        read_manifest(write(tmp_path, text), LABELS)
    assert "\n" not in str(error.value)
    assert "list.csv" in str(error.value)


@pytest.mark.parametrize("split", ["val", "test", ""])
def test_every_other_split_is_measured_on(split, tmp_path):
    path = write(tmp_path, f"file,class,split\na.wav,Dog,{split}\n")
    assert len(read_manifest(path, LABELS)) == 1


def test_what_is_known_must_be_known_of_all():
    timed = Labelled(Path("a"), frozenset(["Dog"]), (Occurrence(0, 1, "Dog"),))
    nothing, untimed, unlabelled = (
        Labelled(Path("b"), frozenset(), ()),
        Labelled(Path("c"), frozenset()),
        Labelled(Path("d")),
    )
    refuse_mixed("--clips", [timed, nothing])
    refuse_mixed("--clips", [untimed, nothing])
    refuse_mixed("--clips", [unlabelled, unlabelled])
    with pytest.raises(HtsatEdgeError, match="--clips: c has no onset and offset, but others have"):
        refuse_mixed("--clips", [timed, untimed])
    with pytest.raises(HtsatEdgeError, match="--clips: d has no class, but others have"):
        refuse_mixed("--clips", [timed, unlabelled])


def test_joined_events():
    events = [Occurrence(*e) for e in [(4, 5, "a"), (0, 2, "a"), (1, 3, "a"), (3.1, 3.5, "a"), (2.5, 2.6, "b")]]
    assert join(events) == [(0, 3, "a"), (2.5, 2.6, "b"), (3.1, 3.5, "a"), (4, 5, "a")]
    assert join(events, pause_s=0.2) == [(0, 3.5, "a"), (2.5, 2.6, "b"), (4, 5, "a")]
    assert join([Occurrence(0, 9, "a"), Occurrence(1, 2, "a")]) == [(0, 9, "a")]
