"""What sounds in recordings, as somebody labelled them: whether, or also when."""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError

BACKGROUND = "background"
"""The class of recordings, or rows, in which no labelled sound is heard."""


class Occurrence(NamedTuple):
    """A class sounds from onset to offset, in seconds of the recording."""

    onset_s: float
    offset_s: float
    label: str


@dataclass(frozen=True)
class Labelled:
    """A recording, and what is known of it."""

    path: Path
    labels: frozenset[str] | None = None
    """What sounds in it; None where nobody knows."""
    events: tuple[Occurrence, ...] | None = None
    """And when; None where nobody knows."""


def read_manifest(path: Path, labels: Sequence[str]) -> list[Labelled]:
    """Read a CSV with the columns `file` (relative to it) and `class`, a row for each sound.

    With `onset` and `offset` (seconds) it is known when; a file has them in all of its rows or in none. The class
    `background` says that there is nothing. Without a column `class`, nothing is known. Where there is a column
    `split`, rows of `train` are left out: nobody is judged by what was learned from.
    """
    by_file: dict[str, list[tuple[int, Mapping[str, str]]]] = defaultdict(list)
    for number, row in numbered_rows(path, learned=False):
        by_file[row["file"]].append((number, row))
    if not by_file:
        raise HtsatEdgeError(f"{path}: names no recording to measure on")
    refuse_missing(path, [path.parent / name for name in by_file])
    found = [_labelled(path, path.parent / name, own, labels) for name, own in by_file.items()]
    refuse_mixed(str(path), found)
    return found


def numbered_rows(path: Path, learned: bool) -> list[tuple[int, Mapping[str, str]]]:
    """The rows of a manifest that may be learned from, or measured on: all of them where it has no splits."""
    rows = read_csv(path, ["file"])
    splits = [row.get("split") or "" for row in rows]
    if not any(splits):
        return list(enumerate(rows, 1))
    if "" in splits:
        raise HtsatEdgeError(f"{path}: row {splits.index('') + 1} has no split, but others have; give all or none")
    return [(number, row) for number, row in enumerate(rows, 1) if (row["split"] == "train") == learned]


def refuse_mixed(where: str, recordings: Sequence[Labelled]) -> None:
    """As much must be known of one recording as of the others: what is not known of all cannot be measured."""
    unlabelled = [r for r in recordings if r.labels is None]
    untimed = [r for r in recordings if r.labels is not None and r.events is None]
    if unlabelled and len(unlabelled) < len(recordings):
        raise HtsatEdgeError(f"{where}: {unlabelled[0].path.name} has no class, but others have; give all or none")
    if untimed and any(r.events for r in recordings):
        raise HtsatEdgeError(
            f"{where}: {untimed[0].path.name} has no onset and offset, but others have; give all or none"
        )


def refuse_missing(where: Path, recordings: Sequence[Path]) -> None:
    """Every recording that is named must be there."""
    missing = [recording for recording in recordings if not recording.is_file()]
    if missing:
        raise HtsatEdgeError(f"{where}: {len(missing)} of {len(recordings)} recordings are missing, first {missing[0]}")


def refuse_overlaps(where: str, events: Iterable[Occurrence]) -> None:
    """Two events of one class at once would be counted as two where only one can be found."""
    last: dict[str, Occurrence] = {}
    for event in sorted(events):
        before = last.get(event.label)
        if before is not None and event.onset_s < before.offset_s:
            raise HtsatEdgeError(
                f"{where}: {event.label} from {event.onset_s:g} s begins before the one from {before.onset_s:g} s "
                f"ends, at {before.offset_s:g} s; make one event of them"
            )
        last[event.label] = event


def join(events: Iterable[Occurrence], pause_s: float = 0.0) -> list[Occurrence]:
    """Events of one class that overlap, or that are less than `pause_s` apart, as one."""
    joined: dict[str, list[Occurrence]] = defaultdict(list)
    for event in sorted(events):
        own = joined[event.label]
        if own and event.onset_s < own[-1].offset_s + pause_s:
            own[-1] = own[-1]._replace(offset_s=max(own[-1].offset_s, event.offset_s))
        else:
            own.append(event)
    return sorted(event for own in joined.values() for event in own)


def unknown_label(where: str, name: str | None, labels: Sequence[str]) -> HtsatEdgeError:
    """What to say of a class that a model does not have."""
    if not name:
        return HtsatEdgeError(f"{where} has no class; give it as {BACKGROUND} where nothing sounds")
    near = difflib.get_close_matches(name, labels, n=1)
    hint = f", meant {near[0]}?" if near else f"; leave such rows out, or give their class as {BACKGROUND}"
    return HtsatEdgeError(f"{where} has class '{name}', which is no label of the model{hint}")


def _labelled(
    manifest: Path, path: Path, rows: Sequence[tuple[int, Mapping[str, str]]], labels: Sequence[str]
) -> Labelled:
    if "class" not in rows[0][1]:
        return Labelled(path)
    names: list[str] = []
    events: list[Occurrence] = []
    for number, row in rows:
        where, name = f"{manifest}: row {number}", row["class"]
        if name == BACKGROUND:
            continue
        if name not in labels:
            raise unknown_label(where, name, labels)
        names.append(name)
        if row.get("onset") or row.get("offset"):
            events.append(occurrence(where, row.get("onset"), row.get("offset"), name))
    if events and len(events) < len(names):
        raise HtsatEdgeError(
            f"{manifest}: {path.name} has an onset and an offset in some of its rows; give all or none"
        )
    refuse_overlaps(f"{manifest}: {path.name}", events)
    return Labelled(path, frozenset(names), tuple(events) if events or not names else None)


def occurrence(where: str, onset: str | None, offset: str | None, label: str) -> Occurrence:
    """An event from a row of a table."""
    onset, offset = onset or "", offset or ""
    try:
        onset_s, offset_s = float(onset), float(offset)
    except ValueError:
        onset_s = offset_s = math.nan
    if not 0 <= onset_s < offset_s < math.inf:
        raise HtsatEdgeError(
            f"{where} has onset '{onset}' and offset '{offset}', want seconds, the offset after the onset"
        )
    return Occurrence(onset_s, offset_s, label)
