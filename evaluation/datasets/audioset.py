"""Read AudioSet (J. F. Gemmeke and others, 2017) and its temporally-strong labels (S. Hershey and others, 2021)."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files, list_files
from htsat_edge.evaluation.datasets.names import names_of_audioset
from htsat_edge.evaluation.datasets.rows import columns_of, read_rows
from htsat_edge.evaluation.labels import Labelled, Occurrence, join, missing_label, parse_span
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError

TWICE = "named twice, with other labels or in another split"
ID_LENGTH = 11
"""Characters of a YouTube video's name."""
SEGMENTS = "*_segments.csv"
STRONG = ("segment_id", "start_time_seconds", "end_time_seconds", "label")
OTHERS = {"file", "filename", "path", "label", "class"}
"""Columns that its segments do not have."""
FRAMED = "present"
"""A column of tables that say of each second what does not sound, too: others than these."""
NAMES = "mid_to_display_name.tsv"
"""Names of the classes beyond the 527, beside the strong labels."""


def tables(files: Files) -> list[Path]:
    """Return AudioSet's tables: segments and strong labels; those that were named before those that lie in folders."""
    found = [path for path in files.tables if _is_segments(path) or (path.suffix == ".tsv" and _is_strong(path))]
    return files.prefer_given(found)


def read(files: Files) -> Dataset:
    """Read segments (weak labels) and strong labels, and folders of audio named by video (ID, YID, ID_START…).

    The table's name says the split: train where it has train in it, test where it has eval. A recording that has strong
    labels needs no weak ones. Videos have vanished since AudioSet was published; those that are missing are counted.
    """
    found = tables(files)
    if not found:
        raise HtsatEdgeError(
            f"{files}: want AudioSet's segments, such as eval_segments.csv, or strong labels, such as "
            "audioset_eval_strong.tsv"
        )
    own = names_of_audioset()
    names = {**_names(found), **own}
    by_id = _by_id((files if files.recordings else list_files([found[0].parent])).recordings)
    recordings: dict[Path, Labelled] = {}
    twice: set[Path] = set()
    named: set[str] = set()
    strong = any(_is_strong(table) for table in found)
    for is_strong, table in sorted((_is_strong(table), table) for table in found):
        weaker = {path for path, labelled in recordings.items() if is_strong and labelled.events is None}
        for video, labels, events, where in (_strong if is_strong else _weak)(table, names):
            named.add(video)
            if video in by_id:
                path = by_id[video]
                labelled = Labelled(path, labels, events, _split(table), where=where)
                if path not in weaker and recordings.setdefault(path, labelled) != labelled:
                    twice.add(path)
                recordings[path] = labelled
    if not recordings:
        where = ", ".join(map(str, found))
        raise HtsatEdgeError(f"{where}: none of its {len(named)} segments has a recording in {files}")
    dataset = Dataset(list(recordings.values()), missing=len(named - by_id.keys()))
    dataset = dataset.without(TWICE, [recordings[path] for path in twice], str(min(twice, default="")))
    beyond = set(dataset.labels) - set(own.values()) if strong else set[str]()  # the strong labels have further classes
    classes = {label: [] if label in beyond else [label] for label in dataset.labels} if beyond else None
    return replace(dataset, classes=classes)


def _is_segments(path: Path) -> bool:
    """Return whether a table is AudioSet's, and not a person's of such a name, which has a header."""
    return path.match(SEGMENTS) and not OTHERS & {*columns_of(path)}


def _is_strong(table: Path) -> bool:
    columns = columns_of(table)
    return set(STRONG) <= set(columns) and FRAMED not in columns


def _split(table: Path) -> str:
    return "train" if "train" in table.stem else "test" if "eval" in table.stem else ""


def _names(tables: Sequence[Path]) -> dict[str, str]:
    """Return the names that lie beside the tables, by the number of a class in AudioSet's ontology."""
    names: dict[str, str] = {}
    for path in dict.fromkeys(table.with_name(NAMES) for table in tables):
        lines = read_text(path).splitlines() if path.exists() else []
        names |= {mid: name.strip() for mid, found, name in (line.partition("\t") for line in lines) if found}
    return names


def _by_id(recordings: Sequence[Path]) -> dict[str, Path]:
    """Return recordings by their video; a Y before its name is one of PANNs' or DESED's, if no name begins with it."""
    by_id: dict[str, Path] = {}
    for path in recordings:
        by_id.setdefault(path.stem[:ID_LENGTH], path)
    for path in recordings:
        if path.stem.startswith("Y") and len(path.stem) > ID_LENGTH:
            by_id.setdefault(path.stem[1 : ID_LENGTH + 1], path)
    return by_id


Segment = tuple[str, frozenset[str], tuple[Occurrence, ...] | None, str]
"""A video, what sounds in its segment, when, and the table and row that say so."""


def _weak(table: Path, names: dict[str, str]) -> list[Segment]:
    lines = [line for line in read_text(table).splitlines() if line and not line.startswith("#")]
    segments: list[Segment] = []
    for number, row in enumerate(csv.reader(lines, skipinitialspace=True), 1):
        where = f"{table}: segment {number}"
        if len(row) != 4:
            raise HtsatEdgeError(
                f"{where} has {len(row)} columns, want YTID, start_seconds, end_seconds, positive_labels"
            )
        if row[0] == "YTID":  # a header without its mark
            continue
        segments.append((row[0], frozenset(names.get(mid, mid) for mid in row[3].split(",")), None, where))
    return segments


def _strong(table: Path, names: dict[str, str]) -> list[Segment]:
    """Return the events of each segment, whose name is that of its video and its start in ms: ID_30000."""
    events: dict[str, list[Occurrence]] = defaultdict(list)
    for row in read_rows(table, STRONG):
        video, _, start = row["segment_id"].rpartition("_")
        if len(video) != ID_LENGTH or not start.isdecimal():
            raise HtsatEdgeError(f"{row.where} has segment_id '{row['segment_id']}', want such as b0RFKhbpFJA_30000")
        if not row["label"]:
            raise missing_label(row.where)
        span_s = parse_span(row.where, row["start_time_seconds"], row["end_time_seconds"])
        events[row["segment_id"]].append(Occurrence(*span_s, names.get(row["label"], row["label"])))
    return [
        (segment[:ID_LENGTH], frozenset(event.label for event in own), tuple(join(own)), f"{table}: {segment}")
        for segment, own in events.items()
    ]
