"""Levels of sensitivity: which threshold counts, and what is said of it."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo, load_bundle
from htsat_edge.runtime.models.groups import Group, read_groups
from htsat_edge.runtime.models.levels import ClassLevels, LevelThreshold
from htsat_edge.runtime.models.sensitivity import describe_sensitivity, note_sensitivity
from htsat_edge.runtime.models.settings import Settings


def level(threshold, rate):
    return {"threshold": threshold, "false_alarms_per_h": rate, "at_most_per_h": rate + 1}


LEVELS = {
    "material": "two yards at night",
    "hours": 3.25,
    "classes": {
        "Dog": {"few_false_alarms": level(0.8, 0), "balanced": level(0.6, 0.31), "miss_little": level(0.3, 4)},
        "Fowl": {"few_false_alarms": level(0.5, 0.62), "balanced": level(0.5, 0.62), "miss_little": level(0.4, 2)},
    },
}
CONTENT = {
    "name": "three",
    "front_end": {},
    "frames": 1024,
    "steps": 32,
    "step_s": 0.32,
    "labels": ["Dog", "Fowl", "Speech"],
    "thresholds": {"Dog": 0.6, "Speech": 0.2},
    "levels": LEVELS,
}
INFO = ModelInfo.model_validate(CONTENT)


def thresholds(**settings):
    classes = Settings(**settings).classes(INFO)
    return dict(zip(classes.labels, [round(x, 3) for x in classes.thresholds.tolist()], strict=True))


@pytest.mark.parametrize(
    ("sensitivity", "dog", "fowl"),
    [("few_false_alarms", 0.8, 0.5), ("balanced", 0.6, 0.5), ("miss_little", 0.3, 0.4)],
)
def test_a_sensitivity_takes_the_thresholds_of_its_level_and_what_has_none_keeps_its_own(sensitivity, dog, fowl):
    assert thresholds(sensitivity=sensitivity) == {"Dog": dog, "Fowl": fowl, "Speech": 0.2}


def test_what_the_user_says_counts_more():
    assert thresholds(sensitivity="miss_little", threshold=0.7) == dict.fromkeys(INFO.labels, 0.7)
    assert thresholds(sensitivity="miss_little", thresholds={"Dog": 0.65})["Dog"] == 0.65
    for own in (Group(labels=["Dog"], threshold=0.55), Group(labels=["Dog"], threshold=0.55, few_false_alarms=0.9)):
        assert thresholds(sensitivity="miss_little", groups={"Dog": own})["Dog"] == 0.55


def test_a_group_takes_the_highest_of_its_labels_at_the_level_or_what_it_says_itself():
    for sensitivity, highest, own in (
        ("few_false_alarms", 0.8, 0.9),
        ("balanced", 0.6, 0.6),
        ("miss_little", 0.4, 0.25),
    ):
        assert thresholds(sensitivity=sensitivity, groups={"Pet": ["Dog", "Fowl"]})["Pet"] == highest
        group = Group(labels=["Dog", "Fowl"], few_false_alarms=0.9, miss_little=0.25)
        assert thresholds(sensitivity=sensitivity, groups={"Pet": group})["Pet"] == own


def test_the_levels_of_a_group_are_ordered_and_those_of_a_shipped_file_give_way_to_a_measured_bundle(
    monkeypatch, tmp_path
):
    with pytest.raises(ValidationError, match="want miss_little <= threshold <= few_false_alarms"):
        Group(labels=["Dog"], threshold=0.5, miss_little=0.6)
    (tmp_path / "pets.yaml").write_text(
        "Pet: {labels: [Dog, Cat], threshold: 0.5, few_false_alarms: 0.7}\n"
        "Bird: {labels: [Fowl, Owl], threshold: 0.4, few_false_alarms: 0.6}\n"
    )
    monkeypatch.setattr("htsat_edge.runtime.models.groups.SHIPPED", tmp_path)
    found = read_groups("pets", INFO)
    assert found["Pet"] == Group(labels=["Dog"])
    assert found["Bird"] == Group(labels=["Fowl"], threshold=0.4, few_false_alarms=0.6)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Settings(), ""),
        (Settings(sensitivity="miss_little"), "no such threshold was measured for Speech"),
        (Settings(sensitivity="miss_little", thresholds={"Speech": 0.3}), ""),
        (Settings(sensitivity="miss_little", threshold=0.3), ""),
        (Settings(sensitivity="miss_little", labels=("Dog",)), ""),
        (Settings(sensitivity="miss_little", groups={"Any": ["Dog", "Speech"]}), ""),
        (
            Settings(sensitivity="miss_little", groups={"Any": Group(labels=["Dog"], threshold=0.3)}),
            "for Any, Speech|for Speech, Any",
        ),
        (Settings(sensitivity="miss_little", groups={"Speech": Group(labels=["Speech"], miss_little=0.3)}), ""),
        (Settings(sensitivity="few_false_alarms", labels=("Speech",)), "any class: thresholds are as when balanced"),
    ],
)
def test_what_has_no_such_level_is_named(settings, wanted):
    note = note_sensitivity(INFO, settings)
    assert bool(note) == bool(wanted)
    if wanted:
        assert re.search(wanted, note)
        assert note.startswith(f"three: sensitivity {settings.sensitivity}: ")


def test_the_counted_false_alarms_of_the_thresholds_in_force_are_said():
    assert describe_sensitivity(INFO, Settings()) == (
        "sensitivity balanced: 0.9 false alarms an hour of 2 classes, counted in 3.2 h of background"
    )
    assert "6.0 false alarms an hour of 2 classes" in describe_sensitivity(INFO, Settings(sensitivity="miss_little"))
    only_fowl = Settings(sensitivity="miss_little", thresholds={"Dog": 0.9})
    assert "2.0 false alarms an hour of 1 class," in describe_sensitivity(INFO, only_fowl)
    assert describe_sensitivity(INFO, Settings(threshold=0.9)) == ""
    assert describe_sensitivity(INFO.model_copy(update={"levels": None}), Settings()) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": {"Dog": 0.7}}, "levels: Dog: balanced is 0.6, but thresholds say 0.7: take levels out"),
        ({"labels": ["Dog", "Speech"]}, "levels: Fowl: no such label"),
        ({"levels": {**LEVELS, "hours": 0}}, "greater than 0"),
    ],
)
def test_levels_that_do_not_fit_the_model_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        ModelInfo.model_validate(CONTENT | change)


def test_levels_that_are_out_of_order_are_refused():
    one, two = (LevelThreshold(threshold=t, false_alarms_per_h=1, at_most_per_h=2) for t in (0.4, 0.5))
    with pytest.raises(ValidationError, match="want miss_little <= balanced <= few_false_alarms"):
        ClassLevels(few_false_alarms=one, balanced=two, miss_little=one)
    with pytest.raises(ValidationError, match="at_most_per_h 1 is below the 2 counted"):
        LevelThreshold(threshold=0.5, false_alarms_per_h=2, at_most_per_h=1)


def test_an_unknown_sensitivity_is_refused_in_one_line():
    with pytest.raises(HtsatEdgeError, match="sensitivity: 'high' is none of few_false_alarms, balanced, miss_little"):
        Settings(sensitivity="high").validate(INFO)


def test_the_bundled_model_has_all_three_levels_for_every_class():
    info = load_bundle(BUNDLED).info
    assert list(info.levels.classes) == info.labels
    assert info.levels.hours > 1
    assert info.levels.material
    rates = np.array(
        [
            [own.at(name).false_alarms_per_h for name in ("few_false_alarms", "balanced", "miss_little")]
            for own in info.levels.classes.values()
        ]
    )
    few, balanced, little = rates.sum(axis=0)
    assert few < balanced < little
    assert {label: own.balanced.threshold for label, own in info.levels.classes.items()} == info.thresholds
