import csv
import json
import random

import pytest

from htsat_edge.configs import CONFIGS
from htsat_edge.htsat.label_file import read_label_file
from htsat_edge.runtime.common.errors import HtsatEdgeError

NAMES = ["Speech", "Male speech, man speaking", "Dog", "Wind"]


@pytest.fixture
def labels(tmp_path):
    """Read the labels of a text."""

    def run(text, name="labels.csv", classes=4):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_label_file(tmp_path / name, classes)

    return run


@pytest.fixture
def refusal(labels, tmp_path):
    """Read labels that are refused; return why."""

    def run(text, name="labels.csv", classes=4):
        with pytest.raises(HtsatEdgeError) as caught:
            labels(text, name, classes)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        return str(caught.value).removeprefix(f"{tmp_path / name}: ")

    return run


@pytest.mark.parametrize(("name", "classes"), [("audioset", 527), ("esc50", 50), ("speech-commands-v2", 35)])
def test_published_lists_in_any_order_of_rows(name, classes, labels):
    """The rows of a table that was sorted by name, or shuffled, still say which output is which."""
    path = CONFIGS / "labels" / f"{name}.csv"
    in_order = read_label_file(path, classes).labels
    header, *rows = path.read_text().splitlines()
    assert [row["label"] for row in csv.DictReader([header, *rows])] == in_order
    for other in (sorted(rows, key=lambda row: row.split(",")[1:]), random.Random(0).sample(rows, classes)):
        found = labels("\n".join([header, *other]), classes=classes)
        assert found.labels == in_order
        assert found.ordered_by == "the column 'index'"


@pytest.mark.parametrize(
    "rows", ["0,Dog,Animal\n1,Wind,\n2,Puppy,Dog; Animal\n", "2,Puppy,Dog;Animal\n0,Dog,Animal\n1,Wind,\n"]
)
def test_what_is_more_general(rows, labels):
    found = labels("index,label,Parents\n" + rows + "3,Animal,\n")
    assert found.labels == ["Dog", "Wind", "Puppy", "Animal"]
    assert found.parents == {"Dog": ["Animal"], "Puppy": ["Dog", "Animal"]}


def test_what_is_more_general_may_be_left_out_but_must_be_there(labels, refusal):
    assert labels("label,parents\nDog,Pet\nPet,\nCat,Pet\nWind,\n").parents == {"Dog": ["Pet"], "Cat": ["Pet"]}
    assert labels("label\nDog\nPet\nCat\nWind\n").parents == {}
    wrong = "the parent 'Pat' of 'Dog' is none of its labels, meant Pet?"
    assert refusal("label,parents\nDog,Pat\nPet,\nCat,\nWind,\n") == wrong
    circle = "label,parents\nDog,Pet\nPet,Cat\nCat,Dog\nWind,\n"
    assert refusal(circle) == "by its parents, 'Dog' lies below itself"


@pytest.mark.parametrize("name", ["label_idx", "class_number", "category_id", "Target ID", "labelid", "number"])
def test_numbers_under_any_usual_name(name, labels):
    assert labels(f"{name},label\n2,Dog\n0,Speech\n1,Cat\n3,Wind\n").labels == ["Speech", "Cat", "Dog", "Wind"]


@pytest.mark.parametrize("numbers", ["2013", "3124"])
def test_an_order_under_an_unknown_name_is_refused(numbers, refusal, labels):
    rows = [f"{label},{number}" for label, number in zip(["Dog", "Speech", "Cat", "Wind"], numbers, strict=True)]
    assert refusal("\n".join(["label,nr", *rows])).startswith(
        "the column 'nr' numbers the rows in another order; call it"
    )
    assert labels("\n".join(["index,label,rank", *(f"{i},{row}" for i, row in enumerate(rows))])).labels[0] == "Dog"
    assert labels("label,nr\nDog,0\nCat,1\nCow,2\nWind,3").labels == ["Dog", "Cat", "Cow", "Wind"]


@pytest.mark.parametrize(
    "text",
    [
        'label\nSpeech\n"Male speech, man speaking"\nDog\nWind\n',
        "Label\nSpeech\nMale speech, man speaking\nDog\nWind\n",
        'index,mid,display_name\n0,/m/1,"Speech"\n1,/m/2,"Male speech, man speaking"\n2,/m/3,"Dog"\n3,/m/4,"Wind"\n',
        "class_id;name\n2;Dog\n0;Speech\n3;Wind\n1;Male speech, man speaking\n",
        "Class ID\tClass Name\n3\tWind\n0\tSpeech\n1\tMale speech, man speaking\n2\tDog\n",
        ",label\n2,Dog\n0,Speech\n3,Wind\n1,'Male speech, man speaking'\n".replace("'", '"'),
        "index,label\n3.0,Dog\n1.0,Speech\n4.0,Wind\n2.0,'Male speech, man speaking'\n".replace("'", '"'),
        "label,name\n2,Dog\n0,Speech\n3,Wind\n1,'Male speech, man speaking'\n".replace("'", '"'),
        "id,display_name\n/m/1,Speech\n/m/2,'Male speech, man speaking'\n/m/3,Dog\n/m/4,Wind\n".replace("'", '"'),
        "fold,target,category\n1,2,Dog\n1,0,Speech\n2,2,Dog\n1,3,Wind\n1,1,'Male speech, man speaking'\n".replace(
            "'", '"'
        ),
        "2,Dog,/m/1\n0,Speech,/m/2\n3,Wind,/m/3\n1,'Male speech, man speaking',/m/4\n".replace("'", '"'),
        '\n{"id2label": {"2": "Dog", "0": "Speech", "3": "Wind", "1": "Male speech, man speaking"}, "depths": [2]}',
        '{"Dog": 2, "Speech": 0, "Wind": 3, "Male speech, man speaking": 1}',
        json.dumps(NAMES),
    ],
)
def test_forms_that_people_have(text, labels):
    assert labels(text).labels == NAMES


@pytest.mark.parametrize(
    "text", ["Speech\nMale speech, man speaking\nDog\nWind", "0 Speech\n2 Dog\n1: Male speech, man speaking\n3\tWind\n"]
)
def test_a_label_a_line(text, labels):
    assert labels(text, "labels.txt").labels == NAMES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,label\n0,a\n0,b\n2,c\n3,d\n", "0 in the column 'index' is both 'a' and 'b'; number the outputs from 0"),
        ("index,label\n0,a\n1,b\n2,c\n4,d\n", "the column 'index' lacks the number 3; number the outputs from 0"),
        ("index,label\n2,a\n3,b\n4,c\n5,d\n", "the column 'index' lacks the number 0"),
        ("index,label\n0,a\n1,b\nx,c\n3,d\n", "row 3 has 'x' in the column 'index', which is no number"),
        ("index,label\n0,a\n1,b\n-1,c\n3,d\n", "row 3 has '-1' in the column 'index', which is no number"),
        ("id,label\n0,a\n1,b\n/m/x,c\n3,d\n", "row 3 has '/m/x' in the column 'id', which is no number"),
        ("index,label\n0,a\n1,b\n2,c\n3,a\n", "listed twice: a"),
        ("index,target,label\n0,1,a\n1,0,b\n2,2,c\n3,3,d\n", "its columns of numbers contradict each other"),
        ("index,label\n0,a\n1,b\n2,c\n", "has 3 labels, but the network has 4 classes"),
        ("index,label\n0,a\n1,\n2,c\n3,d\n", "row 2 has no label"),
        ("index,label\n0,a,b\n1,b\n2,c\n3,d\n", "row 1 has 3 columns, but the header 2; is a quote missing?"),
        (
            "file,sound_type\nx,a\ny,b\n",
            "has no column of labels; it has 'file', 'sound_type', and known are label, display_name",
        ),
        ("", "has no column of labels; it has nothing, and known are"),
        (
            '{"id2label": {"0": "a", "2": "b"}}',
            "holds no labels: want a list of names, or id2label with every number from 0",
        ),
        ("[1, 2]", "holds no labels"),
        ("[", "is not JSON"),
    ],
)
def test_contradictions_are_refused(text, message, refusal):
    assert message in refusal(text)


def test_no_file(tmp_path):
    with pytest.raises(HtsatEdgeError, match="no such file"):
        read_label_file(tmp_path / "absent.csv", 3)
