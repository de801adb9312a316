"""What is held back, and the names of splits."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.datasets.splits import (
    choose_splits,
    find_splits,
    refuse_cut_groups,
    to_learn_from,
    to_measure_on,
)
from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError


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


@pytest.mark.parametrize(("what", "own"), [("split", ["train", "val"]), ("fold", ["1", "2"])])
def test_a_group_in_two_splits_is_refused(what, own):
    """Of whatever set: what is measured on would have been learned from."""
    recordings = [Labelled(Path(f"{value}.wav"), frozenset(), (), group="g", **{what: value}) for value in own]
    with pytest.raises(HtsatEdgeError, match=f"group 'g' is in the {what}s '{own[0]}' and '{own[1]}'"):
        refuse_cut_groups(recordings)
    refuse_cut_groups([replace(recording, group="") for recording in recordings])


def test_files_of_one_name_beside_two_manifests_are_no_group(layouts, tmp_path):
    """Speakers in both are one."""
    for split in ("train", "test"):
        layouts.record(tmp_path / split / "0.wav")
        layouts.write(tmp_path / split / "metadata.csv", "file,class\n0.wav,Dog\n")
    assert [r.split for r in read_dataset([tmp_path]).recordings] == ["test", "train"]
    for split in ("train", "test"):
        layouts.write(tmp_path / split / "metadata.csv", "file,class,speaker\n0.wav,Dog,Eve\n")
    with pytest.raises(HtsatEdgeError, match="group 'Eve' is in the splits 'test' and 'train'"):
        read_dataset([tmp_path])


def test_sets_with_classes_of_their_own_are_named_alone(layouts, tmp_path):
    layouts.desed(tmp_path / "desed")
    layouts.record(tmp_path / "own" / "Dog" / "a.wav")
    with pytest.raises(HtsatEdgeError, match="desed, folders: have other classes; name one at a time"):
        read_dataset([tmp_path / "desed", tmp_path / "own"])


def test_a_group_of_a_data_set_in_two_folds_is_refused(layouts, tmp_path):
    rows = [f"{fold}-100-A-0.wav,{fold},0,dog,True,100,A" for fold in (1, 2)]
    for row in rows:
        layouts.record(tmp_path / "audio" / row.split(",")[0])
    head = "filename,fold,target,category,esc10,src_file,take"
    layouts.write(tmp_path / "meta" / "esc50.csv", "\n".join([head, *rows]) + "\n")
    with pytest.raises(HtsatEdgeError, match="row 2: group '100' is in the folds '1' and '2'"):
        read_dataset([tmp_path])
