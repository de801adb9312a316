"""Read TextGrids of Praat: X.TextGrid for X.wav."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from htsat_edge.evaluation.datasets.dataset import Dataset
from htsat_edge.evaluation.datasets.files import Files
from htsat_edge.evaluation.datasets.names import as_label
from htsat_edge.evaluation.datasets.tracks import Mark, find_tracks, holds_tracks, label
from htsat_edge.evaluation.labels import parse_span
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing_archive
from htsat_edge.runtime.common.text import in_one_line

SUFFIX = ".textgrid"


def marks(files: Files) -> bool:
    """Return whether a TextGrid is named like a recording."""
    return holds_tracks(files, SUFFIX, lambda _: True)


def read(files: Files) -> Dataset:
    """Read the TextGrid of each recording that has one.

    The text of an interval, in whatever tier, is the class that sounds; without text nothing does. Points say what
    sounds, but not for how long: a recording has only such, or none.
    """
    grids = find_tracks(files, SUFFIX, lambda _: True)
    if not grids:
        raise HtsatEdgeError(
            f"{files}: want TextGrids of Praat beside the recordings, such as dog.TextGrid for dog.wav"
        )
    return Dataset([label(path, grid, list(_read_grid(grid))) for path, grid in grids.items()])


def _read_grid(path: Path) -> Iterator[Mark]:
    """Yield what a TextGrid marks, in any form that Praat writes but the binary one."""
    with needing_archive(f"{path}: a TextGrid", "praatio"):
        from praatio.textgrid import openTextgrid
    try:
        grid = openTextgrid(str(path), True, reportingMode="silence", duplicateNamesMode="rename")
    except Exception as error:  # what praatio finds wrong it says in errors of many kinds, AssertionError among them
        raise HtsatEdgeError(f"{path}: is no TextGrid that Praat saved as text: {in_one_line(error)}") from None
    for place, tier in enumerate(grid.tiers, 1):
        for number, (*times, text) in enumerate(tier.entries, 1):
            if text.strip():
                where = f"{path}: tier {place}, label {number}"
                begin_s, end_s = times[0], times[-1]  # a point has but one
                if len(times) == 2:
                    parse_span(where, str(begin_s), str(end_s))
                yield Mark(where, begin_s, end_s, as_label(where, text))
