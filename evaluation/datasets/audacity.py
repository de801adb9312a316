"""Read label tracks that Audacity exported: X.txt for X.wav."""

from __future__ import annotations

import re
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.rows import with_point
from htsat_edge.evaluation.datasets.tracks import Mark, find_tracks, holds_tracks, label
from htsat_edge.evaluation.labels import Labelled, missing_label, parse_span
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError

SUFFIX = ".txt"
LINE = re.compile(r"(?P<onset>\d+(?:[.,]\d+)?)\t(?P<offset>\d+(?:[.,]\d+)?)(?:\t(?P<label>.*))?")
"""Decimals are separated as the computer's language does."""
FREQUENCIES = "\\"
"""Begins a second line of a label, which has the band that was marked in a spectrogram."""


def marks(files: Files) -> bool:
    """Return whether a label track is named like a recording."""
    return holds_tracks(files, SUFFIX, lambda path: bool(LINE.fullmatch(_first_line(path))))


def read(files: Files) -> Dataset:
    """Read the label track of each recording that has one; an empty one says that nothing sounds.

    Labels that mark one moment say what sounds, but not for how long: a recording has only such, or none.
    """
    tracks = find_tracks(files, SUFFIX, lambda path: not (line := _first_line(path)) or bool(LINE.fullmatch(line)))
    if not tracks:
        raise HtsatEdgeError(
            f"{files}: want label tracks of Audacity beside the recordings, such as dog.txt for dog.wav"
        )
    return Dataset([_read_track(track, path) for path, track in tracks.items()])


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline().rstrip("\r\n")


def _read_track(track: Path, path: Path) -> Labelled:
    marked: list[Mark] = []
    for number, line in enumerate(read_text(track).splitlines(), 1):
        where = f"{track}: line {number}"
        if not line.strip() or line.startswith(FREQUENCIES):
            continue
        found = LINE.fullmatch(line)
        if not found:
            raise HtsatEdgeError(f"{where} is no label of Audacity, want onset, offset and class, separated by tabs")
        name = (found["label"] or "").strip()
        if not name:
            raise missing_label(where)
        onset, offset = with_point(found["onset"]), with_point(found["offset"])
        span_s = (float(onset), float(offset)) if float(onset) == float(offset) else parse_span(where, onset, offset)
        marked.append(Mark(where, *span_s, name))
    return label(path, track, marked)
