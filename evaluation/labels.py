"""Labels of recordings: which classes sound in them, or also when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.suggest import suggest

BACKGROUND = "background"
"""The class of recordings, or rows of a manifest, in which no labelled class sounds."""


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


def refuse_missing(where: Path, recordings: Iterable[Path]) -> None:
    """Raise an HtsatEdgeError where a recording that `where` names is not on disk."""
    named = list(dict.fromkeys(recordings))
    missing = [recording for recording in named if not recording.is_file()]
    if missing:
        raise HtsatEdgeError(f"{where}: {len(missing)} of {len(named)} recordings are missing, first {missing[0]}")


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
