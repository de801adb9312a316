import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import ModelInfo
from htsat_edge.runtime.models.classes import Classes, find_below, name_columns

LABELS = ["Animal", "Pets", "Dog", "Bark", "Growl", "Cat", "Siren", "Alarm"]
PARENTS = {
    "Pets": ["Animal"],
    "Dog": ["Pets"],
    "Bark": ["Dog"],
    "Growl": ["Animal"],
    "Cat": ["Pets"],
    "Siren": ["Alarm"],
}


@pytest.fixture
def info():
    """A model whose labels are a tree: one bark is a Bark, a Dog, a pet and an animal."""
    return ModelInfo(name="tree", front_end={}, frames=1024, steps=32, step_s=0.32, labels=LABELS, parents=PARENTS)


def named(info, groups, reported=None):
    """The pairs of classes of which the first is more specific."""
    columns = name_columns(info, groups)
    names = list(columns)
    below = find_below(info, list(columns.values()), np.array([reported is None or name in reported for name in names]))
    return set() if below is None else {(names[j], names[k]) for j, k in np.argwhere(below)}


def test_groups_stand_behind_what_is_in_none(info):
    columns = name_columns(info, {"Dogs": ["Bark", "Dog", "Bark"], "Noise": ["Siren", "Dog"]})
    assert columns == {
        "Animal": [0],
        "Pets": [1],
        "Growl": [4],
        "Cat": [5],
        "Alarm": [7],
        "Dogs": [2, 3],
        "Noise": [2, 6],
    }
    assert list(columns) == ["Animal", "Pets", "Growl", "Cat", "Alarm", "Dogs", "Noise"]
    assert list(name_columns(info, {})) == LABELS


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"Dogs": ["Dgo"]}, "groups: Dogs: 'Dgo' is no class of this model, meant Dog?"),
        ({"Dogs": []}, "groups: Dogs: want a list of labels"),
        ({"Dogs": "Dog"}, "groups: Dogs: want a list of labels"),
        ({"Dog": ["Bark"]}, "groups: Dog: is a class of the model as well; list it among the group's labels"),
        ({" ": ["Bark"]}, "groups: ' ' is no name that can be printed"),
        ({"Dogs\n": ["Bark"]}, r"groups: 'Dogs\n' is no name that can be printed"),
    ],
)
def test_groups_that_a_model_cannot_have(groups, message, info):
    with pytest.raises(HtsatEdgeError) as raised:
        name_columns(info, groups)
    assert str(raised.value) == message


@st.composite
def merging(draw):
    """The outputs that belong to each class, and scores (n, C_model)."""
    outputs = draw(st.integers(1, 6))
    columns = draw(st.lists(st.lists(st.integers(0, outputs - 1), min_size=1, unique=True), min_size=1, max_size=6))
    rows = draw(st.integers(0, 4))
    score = st.floats(0, 1, width=32)
    flat = draw(st.lists(score, min_size=rows * outputs, max_size=rows * outputs))
    return columns, np.array(flat, np.float32).reshape(rows, outputs)


@given(merging())
def test_a_group_scores_as_its_highest_label(drawn):
    columns, scores = drawn
    count = len(columns)
    classes = Classes(
        [str(k) for k in range(count)], columns, np.full(count, 0.5, np.float32), [1] * count, [0] * count
    )
    before = scores.copy()
    merged = classes.merge(scores)
    assert merged.tolist() == [[max(float(row[k]) for k in own) for own in columns] for row in scores]
    assert merged.dtype == np.float32
    merged[:] = -1  # it is no view of the model's own scores
    np.testing.assert_array_equal(scores, before)


def test_what_lies_below_what(info):
    assert named(info, {}) == {
        *(("Bark", name) for name in ("Dog", "Pets", "Animal")),
        *(("Dog", name) for name in ("Pets", "Animal")),
        *(("Cat", name) for name in ("Pets", "Animal")),
        *((name, "Animal") for name in ("Pets", "Growl")),
        ("Siren", "Alarm"),
    }


def test_a_group_lies_where_all_its_labels_do(info):
    assert named(info, {"Dog": ["Dog", "Bark"]}) == {
        *(("Dog", name) for name in ("Pets", "Animal")),
        *(("Cat", name) for name in ("Pets", "Animal")),
        *((name, "Animal") for name in ("Pets", "Growl")),
        ("Siren", "Alarm"),
    }
    mixed = named(info, {"Dog or siren": ["Dog", "Siren"], "Big": ["Animal", "Bark"]})
    assert ("Dog or siren", "Big") not in mixed
    assert ("Dog or siren", "Alarm") not in mixed
    assert ("Bark", "Big") not in mixed  # it is in it, and no class of its own
    assert {("Pets", "Big"), ("Cat", "Big")} <= mixed
    assert not any((b, a) in mixed for a, b in mixed)


def test_only_what_is_reported_counts(info):
    assert named(info, {}, ["Animal", "Bark", "Alarm"]) == {("Bark", "Animal")}
    assert named(info, {}, ["Bark", "Alarm"]) == set()
    assert named(info.model_copy(update={"parents": {}}), {}) == set()


def test_where_scores_hold_a_label(info):
    columns = name_columns(info, {"Dogs": ["Dog", "Bark"], "Loud": ["Bark", "Siren"]})
    count = len(columns)
    thresholds = np.full(count, 0.5, np.float32)
    thresholds[0] = np.inf
    classes = Classes([*columns], [*columns.values()], thresholds, [1] * count, [0] * count)
    assert classes.labels == ["Animal", "Pets", "Growl", "Cat", "Alarm", "Dogs", "Loud"]
    assert classes.columns_of("Bark", info) == [5, 6]
    assert classes.columns_of("Dogs", info) == [5]
    assert classes.columns_of("Cat", info) == [3]
    assert classes.columns_of("Owl", info) == []
    assert classes.reported == classes.labels[1:]
