"""Names of classes that are too much alike, and those that only look so."""

import pytest

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.datasets.names import as_label, is_near, refuse_near, split_labels
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError


@pytest.mark.parametrize("file", sorted((CONFIGS / "labels").glob("*.csv")), ids=lambda path: path.stem)
def test_no_two_labels_of_a_published_network_are_near(file):
    refuse_near((row["label"], str(file)) for row in read_csv(file, ["label"]))


@pytest.mark.parametrize("file", sorted((CONFIGS / "labels").glob("*.csv")), ids=lambda path: path.stem)
def test_every_label_of_a_published_network_is_one_class(file):
    for row in read_csv(file, ["label"]):
        label = row["label"]
        assert as_label("x", label) == label
        assert split_labels(label, several=False) == [label]
        assert split_labels(f"{label};Other", several=True) == [label, "Other"]
        assert split_labels(f"Other, {label}", several=True) == ["Other", label]


def test_what_is_near():
    assert is_near("alarm_clock", ["Dog", "Alarm Clock"])
    assert is_near("Cattle_bovinae", ["Dog", "Cattle, bovinae"])  # a folder, as people name it
    assert is_near("Ambulance siren", ["Ambulance (siren)"])
    assert not is_near("Alarm", ["Dog", "Alarm clock"])
    assert not is_near("C", ["C#"])
    with pytest.raises(HtsatEdgeError, match=r"classes 'Dog' \(here\) and 'dog' \(there\) are nearly equal"):
        refuse_near([("Dog", "here"), ("Cat", "here"), ("Dog", "there"), ("dog", "there")])
