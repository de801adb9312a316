"""What is held back, and the names of splits."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets.splits import choose_splits, find_splits, to_learn_from, to_measure_on
from htsat_edge.evaluation.labels import BACKGROUND, Labelled


def recording(labels, group, split=""):
    return Labelled(Path("/x") / f"{group}.wav", frozenset(labels), split=split, group=group)


@given(st.lists(st.tuples(st.sets(st.sampled_from("abc"), max_size=2), st.integers(0, 12))))
def test_every_class_is_learned_from_and_no_group_is_cut(rows):
    recordings = [recording(labels, f"{min(labels, default=0)}{number}") for labels, number in rows]
    chosen = choose_splits(recordings)
    for before, after in zip(recordings, chosen, strict=True):
        assert after.split in ("train", "val")
        assert (before.labels, before.group) == (after.labels, after.group)
    split = {r.group: r.split for r in chosen}
    assert all(split[r.group] == r.split for r in chosen)
    for label in "abc":
        own = {split[r.group] for r in chosen if label in r.labels}
        assert own == set() or "train" in own


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12))))
def test_of_single_classes_a_fifth_is_held(rows):
    chosen = choose_splits([recording(label, f"{label}{number}") for label, number in rows])
    for label in "abc":
        own = {r.group: r.split for r in chosen if label in r.labels}
        if len(own) > 1:
            assert list(own.values()).count("val") == max(1, round(0.2 * len(own)))


def test_a_group_of_two_classes_is_in_one_split():
    chosen = choose_splits([recording(label, f"{i}") for label in "ab" for i in range(10)])
    splits = {group: {r.split for r in chosen if r.group == group} for group in {r.group for r in chosen}}
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"val"} for found in splits.values()) == 2


def test_backgrounds_are_held_like_a_class():
    assert [r.split for r in choose_splits([recording([], f"{BACKGROUND}/{i}") for i in range(10)])].count("val") == 2


def test_a_recording_without_group_is_one_wherever_the_set_lies():
    def read(root):
        return choose_splits([Labelled(root / f"{i % 3}" / f"{i}.wav", frozenset("a")) for i in range(20)])

    here, there = read(Path("/here")), read(Path("/there/deeper"))
    assert [r.split for r in here] == [r.split for r in there]
    assert [r.split for r in here].count("val") == 4
    assert here[4].group == there[4].group == "1/4.wav"


@pytest.mark.parametrize(
    ("splits", "learned", "measured"),
    [
        ("train val test", "train val", "val test"),
        ("train train test", "train val", "test"),
        ("- - -", "val train train", "- - -"),
        ("test test", "", "test test"),
        ("val val", "val val", "val val"),
    ],
)
def test_what_is_learned_from_and_what_is_measured_on(splits, learned, measured):
    recordings = [recording("a", f"{i}", split.strip("-")) for i, split in enumerate(splits.split())]
    assert sorted(r.split for r in to_learn_from(recordings)) == sorted(learned.split())
    assert [r.split or "-" for r in to_measure_on(recordings)] == measured.split()


def test_the_fields_sets_are_measured_on_their_test_split():
    recordings = [recording("a", f"{i}", split) for i, split in enumerate(["train", "val", "test"])]
    assert [r.split for r in to_measure_on(recordings, "manifest")] == ["val", "test"]
    assert [r.split for r in to_measure_on(recordings, "speech-commands")] == ["test"]
    assert [r.split for r in to_measure_on(recordings[:2], "speech-commands")] == ["val"]


def test_names_of_splits():
    assert find_splits(["Train", "dev", "EVAL", "Dog"]) == {"Train": "train", "dev": "val", "EVAL": "test"}
    assert find_splits(["development", "evaluation"]) == {"development": "train", "evaluation": "test"}
    assert find_splits([" Validation Set ", "training-set"]) == {" Validation Set ": "val", "training-set": "train"}
