"""Which sounds a model knows, and how one is looked up."""

import csv
import json
import re

import pytest

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.commands.labels import search
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.models.bundle import load_bundle


@pytest.fixture
def labels(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: command("labels", *arguments)


def columns(line):
    return re.split(r"\s{2,}", line.strip())


@pytest.fixture(scope="module")
def audioset():
    """A model of AudioSet's labels, with their tree."""
    with (CONFIGS / "labels" / "audioset.csv").open() as file:
        rows = {row["label"]: [one for one in row["parents"].split(";") if one] for row in csv.DictReader(file)}
    plain = {"labels": [*rows], "parents": rows, "thresholds": {}, "levels": None}
    return load_bundle().info.model_copy(update=plain)


def test_every_sound_is_listed_with_its_threshold_at_each_level(labels):
    status, out, err = labels()
    assert (status, err) == (0, "")
    info = load_bundle().info
    header, *rows = out.splitlines()[: len(info.labels) + 1]
    assert columns(header) == ["sound", "few false alarms", "balanced", "miss little"]
    assert [columns(row)[0] for row in rows] == info.labels
    dog = info.levels.classes["Dog"]
    scores = [f"{own.threshold:.2f}" for own in (dog.few_false_alarms, dog.balanced, dog.miss_little)]
    assert columns(rows[info.labels.index("Dog")]) == ["Dog", *scores]
    assert "22 of the 22 sounds of bundled." in out


def test_sounds_of_ones_own_are_marked_and_a_model_without_thresholds_says_so(labels, tiny_bundle, put_sound, tmp_path):
    library = Library(tmp_path / "sounds", load_bundle(tiny_bundle))
    put_sound(library, "Our doorbell", threshold=0.3)
    _, out, _ = labels("--bundle", tiny_bundle, "--sounds", library.folder)
    assert columns(out.splitlines()[0]) == ["sound", "threshold"]
    assert columns(out.splitlines()[-3]) == ["Our doorbell (your own)", "0.30"]
    assert "No threshold was measured for 10 of them: they have 0.5." in out
    missing = tmp_path / "missing"
    message = f"htsat-edge: --sounds {missing}: no such folder\n"
    assert labels("--bundle", tiny_bundle, "--sounds", missing) == (2, "", message)
    _, out, _ = labels("--bundle", tiny_bundle, "--sounds", library.folder, "--json", "--search", "bell")
    assert [json.loads(line) for line in out.splitlines()] == [
        {
            "label": "Our doorbell",
            "threshold": 0.3,
            "few_false_alarms": 0.3,
            "miss_little": 0.3,
            "enrolled": True,
            "parents": [],
        }
    ]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("DOG", {"Dog": ""}),
        ("ambulance", {"Siren": "above Ambulance (siren)"}),
        ("farm", dict.fromkeys(["Sheep", "Cattle, bovinae", "Fowl"], "below Livestock, farm animals, working animals")),
        ("unicorn", {}),
    ],
)
def test_a_sound_is_found_by_what_lies_above_or_below_it(word, found):
    assert search(word, load_bundle().info) == found


def test_a_tree_of_the_model_itself_counts(audioset):
    found = search("dog", audioset)
    assert {name: found[name] for name in ("Dog", "Bark", "Bow-wow")} == {
        "Dog": "",
        "Bark": "below Dog",
        "Bow-wow": "below Dog",
    }
    assert found["Animal"] == "above Canidae, dogs, wolves"
    assert "Meow" not in found


def test_nothing_found_says_what_to_do(labels):
    status, out, _ = labels("--search", "[unicorn]")
    assert status == 0
    assert out.startswith("bundled knows no sound with '[unicorn]' in its name; `htsat-edge labels` lists")
