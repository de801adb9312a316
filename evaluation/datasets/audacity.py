"""Read label tracks that Audacity exported beside recordings: X.txt beside X.wav."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.rows import with_point
from htsat_edge.evaluation.labels import BACKGROUND, Labelled, Occurrence, join, missing_label, parse_span
from htsat_edge.runtime.common.config import read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError

LINE = re.compile(r"(?P<onset>\d+(?:[.,]\d+)?)\t(?P<offset>\d+(?:[.,]\d+)?)(?:\t(?P<label>.*))?")
"""Decimals are separated as the computer's language does."""
FREQUENCIES = "\\"
"""Begins a second line of a label, which has the band that was marked in a spectrogram."""


def marks(files: Files) -> bool:
    """Return whether a label track lies beside a recording."""
    return any(_is_track(track) for track in _tracks(files).values())


def read(files: Files) -> Dataset:
    """Read the label track of each recording that has one; an empty one says that nothing sounds.

    Labels that mark one moment say what sounds, but not for how long: a recording has only such, or none.
    """
    tracks = _tracks(files)
    if not tracks:
        raise HtsatEdgeError(
            f"{files}: want label tracks of Audacity beside the recordings, such as dog.txt for dog.wav"
        )
    return Dataset([_read_track(track, path) for path, track in tracks.items()])


def _tracks(files: Files) -> dict[Path, Path]:
    """Return the text beside each recording."""
    texts = {path.with_suffix(""): path for path in files.tables if path.suffix.lower() == ".txt"}
    return {path: texts[path.with_suffix("")] for path in files.recordings if path.with_suffix("") in texts}


def _is_track(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return bool(LINE.fullmatch(file.readline().rstrip("\r\n")))


def _read_track(track: Path, path: Path) -> Labelled:
    marked: list[tuple[str, float, float, str]] = []
    for number, line in enumerate(read_text(track).splitlines(), 1):
        where = f"{track}: line {number}"
        if not line.strip() or line.startswith(FREQUENCIES):
            continue
        found = LINE.fullmatch(line)
        if not found:
            raise HtsatEdgeError(f"{where} is no label of Audacity, want onset, offset and class, separated by tabs")
        label = (found["label"] or "").strip()
        if not label:
            raise missing_label(where)
        onset, offset = with_point(found["onset"]), with_point(found["offset"])
        span_s = (float(onset), float(offset)) if float(onset) == float(offset) else parse_span(where, onset, offset)
        if label != BACKGROUND:
            marked.append((where, *span_s, label))
    return Labelled(path, frozenset(label for *_, label in marked), _timed(marked), where=str(track))


def _timed(marked: Sequence[tuple[str, float, float, str]]) -> tuple[Occurrence, ...] | None:
    """Return labels as events; None where they mark moments, and an HtsatEdgeError where only some do."""
    moments = [where for where, onset_s, offset_s, _ in marked if onset_s == offset_s]
    if moments and len(moments) < len(marked):
        raise HtsatEdgeError(
            f"{moments[0]} marks one moment, but other labels of the recording have an end; give all one"
        )
    events = [Occurrence(onset_s, offset_s, label) for _, onset_s, offset_s, label in marked]
    return None if moments else tuple(join(events))
