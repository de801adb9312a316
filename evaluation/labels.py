"""Labels of recordings: which classes sound in them, or also when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest

BACKGROUND = "background"
"""The class of recordings, or rows of a manifest, in which no labelled class sounds."""
SPLITS = ("train", "val", "test")
"""Learned from; held back, to choose by and to measure on; held back, only to measure on."""
MOST_MISSING = 0.1
"""The share of the recordings of a list that may be missing."""


class Occurrence(NamedTuple):
    """A class sounds from onset to offset, in seconds of the recording."""

    onset_s: float
    offset_s: float
    label: str


@dataclass(frozen=True)
class Labelled:
    """A recording and its labels."""

    path: Path
    labels: frozenset[str] | None = None
    """The classes that sound in it; None where they are unknown."""
    events: tuple[Occurrence, ...] | None = None
    """When they sound; None where that is unknown."""
    split: str = ""
    """One of SPLITS; empty where none is given."""
    group: str = ""
    """Recordings that are alike (one device, one day, one author) and share a split; empty for the file itself."""
    fold: str = ""
    """The part of a cross-validation; empty where the set has none."""
    backgrounds_s: tuple[tuple[float, float], ...] = ()
    """Onset and offset of parts in which no class sounds, where such parts are named."""
    where: str = field(default="", compare=False)
    """The table and the row that say so, for messages."""


def refuse_mixed(where: str, recordings: Sequence[Labelled]) -> None:
    """Raise an HtsatEdgeError unless the labels of all recordings say equally much: only that can be measured."""
    unlabelled = [r for r in recordings if r.labels is None]
    untimed = [r for r in recordings if r.labels is not None and r.events is None]
    if unlabelled and len(unlabelled) < len(recordings):
        raise HtsatEdgeError(f"{where}: {unlabelled[0].path.name} has no class, but others have; give all or none")
    if untimed and any(r.events for r in recordings):
        raise HtsatEdgeError(
            f"{where}: {untimed[0].path.name} has no onset and offset, but others have; give all or none"
        )


def refuse_missing(where: Path, recordings: Iterable[Path]) -> set[Path]:
    """Return those of the recordings that are not on disk.

    Raise an HtsatEdgeError where they are more than a tenth of those that `where` names: it names others, then.
    """
    named = list(dict.fromkeys(recordings))
    missing = [recording for recording in named if not is_there(recording)]
    if len(missing) > MOST_MISSING * len(named):
        raise HtsatEdgeError(f"{where}: {len(missing)} of {len(named)} recordings are missing, first {missing[0]}")
    return set(missing)


def is_there(path: Path) -> bool:
    """Return whether there is a file; names that no file can have are those of none."""
    try:
        return path.is_file()
    except OSError:  # it is too long
        return False


def refuse_overlaps(where: str, events: Iterable[Occurrence]) -> None:
    """Raise an HtsatEdgeError where two events of one class overlap: a detector can only find one of them."""
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
    """Join events of one class that overlap or are less than `pause_s` apart; return all in the order of onsets."""
    joined: dict[str, list[Occurrence]] = defaultdict(list)
    for event in sorted(events):
        own = joined[event.label]
        if own and event.onset_s < own[-1].offset_s + pause_s:
            own[-1] = own[-1]._replace(offset_s=max(own[-1].offset_s, event.offset_s))
        else:
            own.append(event)
    return sorted(event for own in joined.values() for event in own)


def missing_label(where: str) -> HtsatEdgeError:
    """Return the error for a row without a class."""
    return HtsatEdgeError(f"{where} has no class; give it as {BACKGROUND} where nothing sounds")


def unknown_label(where: str, name: str, labels: Iterable[str]) -> HtsatEdgeError:
    """Return the error for a class that is not among `labels`."""
    hint = suggest(name, labels, f"; leave such rows out, or give their class as {BACKGROUND}")
    return HtsatEdgeError(f"{where} has class '{name}', which is no label of the model{hint}")


def parse_span(where: str, onset: str | None, offset: str | None) -> tuple[float, float]:
    """Return an onset and an offset in seconds; raise an HtsatEdgeError unless 0 <= onset < offset."""
    onset, offset = onset or "", offset or ""
    try:
        onset_s, offset_s = float(onset), float(offset)
    except ValueError:
        onset_s = offset_s = math.nan
    if not 0 <= onset_s < offset_s < math.inf:
        raise HtsatEdgeError(
            f"{where} has onset '{onset}' and offset '{offset}', want seconds, with the offset after the onset"
        )
    return onset_s, offset_s
