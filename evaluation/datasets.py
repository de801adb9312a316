"""Read the field's test sets as they lie on disk: their recordings, and what sounds in each."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.labels import (
    Labelled,
    Occurrence,
    join,
    missing_label,
    parse_span,
    refuse_missing,
    unknown_label,
)
from htsat_edge.runtime.common.config import read_csv, read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import SUFFIXES

ID_LENGTH = 11
"""Characters of a YouTube video's name."""
Paths = Sequence[Path]


@dataclass(frozen=True)
class Dataset:
    """Recordings with their labels."""

    recordings: list[Labelled]
    missing: int = 0
    """Recordings that the set names but that are not on disk: sets made of videos lose some."""
    classes: Mapping[str, list[str]] | None = None
    """Where the set has classes of its own: the labels of the model that belong to each."""


def audioset(paths: Paths, labels: Sequence[str]) -> Dataset:
    """Read AudioSet: a segments CSV, and a folder of audio named by video (ID, YID, ID_START…).

    Videos have vanished since it was published; recordings that are missing are counted.
    """
    table = _find(paths, "*_segments.csv", "AudioSet's segments CSV, such as eval_segments.csv")
    names = {row["mid"]: row["label"] for row in read_csv(CONFIGS / "labels" / "audioset.csv", ["mid", "label"])}
    by_id: dict[str, Path] = {}
    for path in _audio(paths):
        by_id.setdefault(path.stem[:ID_LENGTH], path)
        if path.stem.startswith("Y") and len(path.stem) > ID_LENGTH:
            by_id.setdefault(path.stem[1 : ID_LENGTH + 1], path)
    lines = [line for line in read_text(table).splitlines() if line and not line.startswith("#")]
    recordings = []
    for number, row in enumerate(csv.reader(lines, skipinitialspace=True), 1):
        where = f"{table}: segment {number}"
        if len(row) != 4:
            raise HtsatEdgeError(
                f"{where} has {len(row)} columns, want YTID, start_seconds, end_seconds, positive_labels"
            )
        found = [names.get(mid, mid) for mid in row[3].split(",")]
        _check(where, found, labels)
        if row[0] in by_id:
            recordings.append(Labelled(by_id[row[0]], frozenset(found)))
    if not recordings:
        raise HtsatEdgeError(f"{table}: none of its {len(lines)} segments has a recording in {_named(paths)}")
    return Dataset(recordings, missing=len(lines) - len(recordings))


def esc50(paths: Paths, labels: Sequence[str], fold: int | None = None) -> Dataset:
    """Read ESC-50: meta/esc50.csv and audio/; of one fold, the one that a checkpoint was not trained on."""
    table = _find(paths, "esc50.csv", "ESC-50's meta/esc50.csv")
    rows = read_csv(table, ["filename", "fold", "category"])
    chosen = [row for row in rows if fold is None or row["fold"] == str(fold)]
    if not chosen:
        raise HtsatEdgeError(f"{table}: has no fold {fold}, only {', '.join(sorted({row['fold'] for row in rows}))}")
    _check(str(table), [row["category"] for row in chosen], labels)
    folder = table.parent.parent / "audio"
    recordings = [Labelled(folder / row["filename"], frozenset([row["category"]])) for row in chosen]
    refuse_missing(table, [recording.path for recording in recordings])
    return Dataset(recordings)


def speech_commands(paths: Paths, labels: Sequence[str]) -> Dataset:
    """Read Speech Commands V2: testing_list.txt beside a folder for each word."""
    table = _find(paths, "testing_list.txt", "Speech Commands' testing_list.txt")
    files = [Path(line) for line in read_text(table).split()]
    _check(str(table), [file.parent.name for file in files], labels)
    recordings = [Labelled(table.parent / file, frozenset([file.parent.name])) for file in files]
    refuse_missing(table, [recording.path for recording in recordings])
    return Dataset(recordings)


def desed(paths: Paths, labels: Sequence[str]) -> Dataset:
    """Read DESED: a TSV of strong labels (filename, onset, offset, event_label), and a folder of audio.

    A model with other classes is measured on the set's ten, which configs/datasets/desed.csv makes of its labels, as
    HTS-AT was.
    """
    tables = [path for path in paths if path.suffix == ".tsv"]
    if len(tables) != 1:
        raise HtsatEdgeError(f"--clips: want one of DESED's TSV files, and its folder of audio, not {_named(paths)}")
    (table,) = tables
    rows = list(csv.DictReader(io.StringIO(read_text(table)), delimiter="\t"))
    if not rows or not {"filename", "onset", "offset", "event_label"} <= rows[0].keys():
        raise HtsatEdgeError(f"{table}: want the columns filename, onset, offset, event_label, separated by tabs")
    classes = _classes(CONFIGS / "datasets" / "desed.csv", labels)
    audio = {path.name: path for path in _audio(paths)}
    events: dict[str, list[Occurrence]] = defaultdict(list)
    for number, row in enumerate(rows, 1):
        own, where, label = events[row["filename"]], f"{table}: row {number}", row["event_label"]
        if not label and not row["onset"]:  # a file without events
            continue
        if not label:
            raise missing_label(where)
        if label not in classes:
            raise unknown_label(where, label, classes)
        own.append(Occurrence(*parse_span(where, row["onset"], row["offset"]), label))
    recordings = [
        Labelled(audio[name], frozenset(e.label for e in own), tuple(join(own)))
        for name, own in events.items()
        if name in audio
    ]
    if not recordings:
        raise HtsatEdgeError(f"{table}: none of its {len(events)} recordings is in {_named(paths)}")
    return Dataset(recordings, missing=len(events) - len(recordings), classes=classes)


READERS: Mapping[str, Callable[[Paths, Sequence[str]], Dataset]] = {
    "audioset": audioset,
    "esc50": esc50,
    "speech-commands": speech_commands,
    "desed": desed,
}


def _classes(path: Path, labels: Sequence[str]) -> dict[str, list[str]]:
    """Return the labels of the model that belong to each class; a model may have the classes themselves."""
    by_class: dict[str, list[str]] = {}
    for row in read_csv(path, ["class", "label"]):
        by_class.setdefault(row["class"], []).append(row["label"])
    if set(by_class) <= set(labels):
        return {name: [name] for name in by_class}
    known = {name: [label for label in own if label in labels] for name, own in by_class.items()}
    for name, own in known.items():
        if not own:
            raise HtsatEdgeError(f"{path}: the model has none of the labels that belong to {name}")
    return known


def _check(where: str, names: Sequence[str], labels: Sequence[str]) -> None:
    for name in names:
        if name not in labels:
            raise unknown_label(where, name, labels)


def _find(paths: Paths, pattern: str, what: str) -> Path:
    """Return the one file whose name matches, among the paths or in the folders among them."""
    found = [path for path in paths if path.is_file() and path.match(pattern)]
    for folder in paths if not found else ():
        found += sorted(folder.rglob(pattern)) if folder.is_dir() else []
    if len(found) != 1:
        count = f"there are {len(found)}, name one" if found else "there is none"
        raise HtsatEdgeError(f"--clips {_named(paths)}: want {what}; {count}")
    return found[0]


def _audio(paths: Paths) -> list[Path]:
    return [
        path
        for folder in paths
        if folder.is_dir()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def _named(paths: Paths) -> str:
    return ", ".join(map(str, paths))
