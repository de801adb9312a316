"""Choose which recordings are held back, where a set does not say it, and bring names of splits into one form."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from htsat_edge.evaluation.labels import BACKGROUND, Labelled
from htsat_edge.runtime.common.errors import HtsatEdgeError

HELD = 0.2
"""The share of the groups of a class that is held back for validation, where no split is given."""
DEVELOPMENT = ("dev", "develop", "development", "devtrain", "devel")
"""Held back where there is something else to learn from; else it is what is learned from, as in DCASE's sets."""
NAMES = {
    "train": ("train", "training", "trn", "tr", "train_set", "training_set"),
    "val": ("val", "valid", "validation", "valida", "valid_set", "val_set", "validation_set", *DEVELOPMENT),
    "test": ("test", "testing", "tst", "eval", "evaluation", "evaluate", "test_set", "testing_set", "eval_set"),
}
"""What people call the splits."""
SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
TESTED = ("speech-commands", "fsd50k", "audioset", "desed")
"""Layouts of the field's sets that have recordings to test on, beside those for validation."""


def find_splits(names: Iterable[str]) -> dict[str, str]:
    """Return the split that each name stands for; names that stand for none are not in it."""
    plain = {name: name.strip().casefold().replace("-", "_").replace(" ", "_") for name in names}
    found = {name: SPLIT_OF[key] for name, key in plain.items() if key in SPLIT_OF}
    if "train" not in found.values():
        found |= {name: "train" for name, key in plain.items() if key in DEVELOPMENT}
    return found


def choose_splits(recordings: Sequence[Labelled]) -> list[Labelled]:
    """Hold back a fifth of the groups of each class, and at least one of two; the same groups each time.

    A group that holds several classes is in one split, too, and is not held where it is the last of a class to learn
    from. A recording without a group is one of its own.
    """
    recordings = with_groups(recordings)
    groups: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, set[str]] = defaultdict(set)
    for recording in recordings:
        for label in _kinds(recording):
            groups[label].add(recording.group)
            labels[recording.group].add(label)
    held: set[str] = set()
    learned: set[str] = set()
    for _, own in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = max(1, round(HELD * len(own))) if len(own) > 1 else 0
        for group in sorted(own - held - learned, key=lambda group: (zlib.crc32(group.encode()), group)):
            is_last = any(groups[label] <= held | {group} for label in labels[group])
            if len(own & held) < wanted and not is_last:
                held.add(group)
            elif wanted:
                learned.add(group)
    return [replace(recording, split="val" if recording.group in held else "train") for recording in recordings]


def refuse_cut_groups(recordings: Iterable[Labelled]) -> None:
    """Raise an HtsatEdgeError where a group is in two splits or two folds: it would be learned from and measured on."""
    first: dict[str, Labelled] = {}
    for recording in recordings:
        if not recording.group or _is_own(recording):
            continue
        other = first.setdefault(recording.group, recording)
        for what, own, others in (("fold", recording.fold, other.fold), ("split", recording.split, other.split)):
            if own != others:
                raise HtsatEdgeError(
                    f"{recording.where or recording.path}: group {recording.group!r} is in the {what}s {others!r} and "
                    f"{own!r} ({other.where or other.path}); give it one"
                )


def with_groups(recordings: Sequence[Labelled]) -> list[Labelled]:
    """Return the recordings, those without a group with one of their own: where they lie among the others."""
    if all(recording.group for recording in recordings):
        return list(recordings)
    root = os.path.commonpath([recording.path.parent.absolute() for recording in recordings])
    return [
        recording
        if recording.group
        else replace(recording, group=Path(os.path.relpath(recording.path.absolute(), root)).as_posix())
        for recording in recordings
    ]


def to_learn_from(recordings: Sequence[Labelled]) -> list[Labelled]:
    """Return the recordings of the splits train and val, without those of test, each with a group.

    Where nothing is held back (all of them are `train`, or have no split), a fifth of the groups of each class is.
    """
    used = with_groups([recording for recording in recordings if recording.split != "test"])
    return used if any(recording.split == "val" for recording in used) else choose_splits(used)


def to_measure_on(recordings: Sequence[Labelled], layout: str = "") -> list[Labelled]:
    """Return the recordings that nothing is learned from: those of every split but train, or all without splits.

    Of the field's sets they are those of the split test, where there are such: published figures are of them.
    """
    held = [recording for recording in recordings if recording.split != "train"]
    test = [recording for recording in held if recording.split == "test"] if layout in TESTED else []
    return test or held


def _is_own(recording: Labelled) -> bool:
    """Return whether the group is the file itself: files of one name, each beside its manifest, are not alike."""
    own = recording.group.replace("\\", "/")
    return recording.path.match(own) or recording.path.with_suffix("").match(own)


def _kinds(recording: Labelled) -> Collection[str]:
    return recording.labels or {BACKGROUND}
