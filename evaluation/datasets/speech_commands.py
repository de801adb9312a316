"""Read Speech Commands (P. Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files, list_files
from htsat_edge.evaluation.datasets.lookup import stem
from htsat_edge.evaluation.labels import Labelled
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError

LISTS = {"validation_list.txt": "val", "testing_list.txt": "test"}
BACKGROUND_FOLDER = "_background_noise_"
SPEAKER = "_nohash_"
"""Stands between the speaker and the number of a recording."""
SHARED = "of a speaker who is in a list of another split"
TWICE = "in a second format"


def tables(files: Files) -> list[Path]:
    """Return the lists of recordings that are not for training."""
    return [table for name in LISTS for table in files.named(name)]


def read(files: Files) -> Dataset:
    """Read validation_list.txt and testing_list.txt beside a folder for each word; what is in neither is for training.

    Groups are speakers: those of the lists have no other recording to learn from. Noise is background.
    """
    found = tables(files)
    if len({table.parent for table in found}) != 1:
        raise HtsatEdgeError(
            f"{files}: want one folder with Speech Commands' {' and '.join(LISTS)}; there are {len(found)} such lists"
        )
    home = found[0].parent
    listed = _listed(home)
    speakers = {_speaker(name) for name in listed} - {""}
    recordings: dict[str, Labelled] = {}
    left_out: dict[str, list[Path]] = defaultdict(list)
    for path in (files if files.recordings else list_files([home])).recordings:
        if path.parent.parent != home:
            continue
        word, name = path.parent.name, f"{path.parent.name}/{stem(path.name)}"
        speaker = _speaker(name)
        split, where = listed.get(name, ("train", str(path)))
        if name in recordings:
            left_out[TWICE].append(path)
        elif word == BACKGROUND_FOLDER:
            recordings[name] = Labelled(path, frozenset(), (), "train", where=where)
        elif split == "train" and speaker in speakers:
            left_out[SHARED].append(path)
        else:
            recordings[name] = Labelled(path, frozenset([word]), split=split, group=speaker, where=where)
    if not recordings:
        raise HtsatEdgeError(f"{home}: has no folder of recordings for each word beside {found[0].name}")
    dataset = Dataset(list(recordings.values()), missing=len(listed.keys() - recordings.keys()))
    for reason, paths in left_out.items():
        dataset = dataset.setting_aside(reason, paths)
    return dataset


def _listed(home: Path) -> dict[str, tuple[str, str]]:
    """Return the split of every recording in the lists, and the line that says so, by its word and name."""
    found: dict[str, tuple[str, str]] = {}
    for name, split in LISTS.items():
        lines = read_text(home / name).splitlines() if (home / name).exists() else []
        for number, line in enumerate(lines, 1):
            where, recording = f"{home / name}: line {number}", stem(line.strip())
            if recording.count("/") != 1:
                raise HtsatEdgeError(
                    f"{where} has '{recording}', want a word and a recording, such as bed/0_nohash_0.wav"
                )
            if found.setdefault(recording, (split, where))[0] != split:
                raise HtsatEdgeError(f"{where} has {recording}, which is in {found[recording][1]}, too")
    return found


def _speaker(name: str) -> str:
    """Return the speaker of a recording; empty where its name does not say."""
    speaker, found, _ = name.rpartition("/")[2].partition(SPEAKER)
    return speaker if found else ""
