"""Find labels that lie in a file for each recording, beside it or in a folder of their own, and make events of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.lookup import Lookup, stem
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence, join
from htsat_edge.runtime.common.errors import HtsatEdgeError


class Mark(NamedTuple):
    """A label of a track; one that marks a moment ends where it begins."""

    where: str
    """For messages."""
    onset_s: float
    offset_s: float
    label: str


def find_tracks(files: Files, suffix: str, is_track: Callable[[Path], bool]) -> dict[Path, Path]:
    """Return the track of each recording that has one.

    Parameters
    ----------
    files
        What was named.
    suffix
        Of the tracks, in lower case. `a.txt` or `a.wav.txt` is that of `a.wav`.
    is_track
        Whether a file is one: asked of those that lie beside no recording.

    Raises
    ------
    HtsatEdgeError
        A recording has two, or a track several recordings.
    """
    tracks = _by_name(files, suffix)
    found: dict[Path, Path] = {}
    for path in files.recordings:
        track = tracks.get(path, tracks.get(path.with_suffix("")))
        if track is not None:
            found[path] = track
    beside = set(found.values())
    lookup = Lookup(files, beside=Path())
    for track in _of_recordings(files, tracks):
        if track in beside or not is_track(track):
            continue
        named = lookup.find(str(track), track.stem, track.parts[:-1])
        if named is not None and found.setdefault(named, track) != track:
            raise HtsatEdgeError(f"{track} has labels of {named}, and so has {found[named]}; leave one of them out")
    return {path: found[path] for path in files.recordings if path in found}


def holds_tracks(files: Files, suffix: str, is_track: Callable[[Path], bool]) -> bool:
    """Return whether one of the files is a track and named like a recording."""
    return any(map(is_track, _of_recordings(files, _by_name(files, suffix))))


def label(path: Path, track: Path, marks: Sequence[Mark]) -> Labelled:
    """Return a recording with the labels of its track, events where they have a beginning and an end.

    Raise an HtsatEdgeError where only some have an end.
    """
    heard = [mark for mark in marks if mark.label != BACKGROUND]
    moments = [mark for mark in heard if mark.onset_s == mark.offset_s]
    if moments and len(moments) < len(heard):
        raise HtsatEdgeError(
            f"{moments[0].where} marks one moment, but other labels of the recording have an end; give all one"
        )
    events = None if moments else tuple(join(Occurrence(*mark[1:]) for mark in heard))
    return Labelled(path, frozenset(mark.label for mark in heard), events, where=str(track))


def _by_name(files: Files, suffix: str) -> dict[Path, Path]:
    """Return the files with a suffix by their paths without it."""
    return {path.with_suffix(""): path for path in files.tables if path.suffix.lower() == suffix}


def _of_recordings(files: Files, tracks: Mapping[Path, Path]) -> list[Path]:
    """Return the tracks that have the name of a recording, wherever it lies."""
    names = {stem(path.name) for path in files.recordings}
    return [track for named, track in tracks.items() if stem(named.name) in names]
