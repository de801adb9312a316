"""Read what does sound in a recording, to be drawn beside what was found."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import is_name, listed, visible

TIMES = ("onset", "offset")
FILES = ("file", "filename")
LABELS = ("label", "class", "event_label")
"""What the column of labels is called: in farmyard.csv, in manifests, in DESED's tables; the first of these counts."""
ROUNDED_S = 0.2
"""A sound that ends so little after its recording is a sound to its end, whose time was rounded."""


@dataclass(frozen=True)
class TrueSound:
    """One sound of a recording, by a person's word."""

    label: str
    onset: float
    """In seconds."""
    offset: float


def read_truth(truth: Path | None, plot: Path | None, files: Sequence[Path]) -> list[TrueSound]:
    """Return the sounds of a file, in the order of their onsets; none where there is no file.

    Raises
    ------
    HtsatEdgeError
        It is not to be drawn, or of which recording it is cannot be known; or it cannot be read, lacks a column, or
        holds a row that makes no sense, or only rows of other recordings.
    """
    if truth is None:
        return []
    if plot is None:
        raise HtsatEdgeError(f"--truth {truth}: is drawn, so say where: --plot picture.png")
    if len(files) > 1:
        raise HtsatEdgeError(f"--truth {truth}: belongs to one recording, but there are {len(files)}: give one by one")
    try:
        lines = truth.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise HtsatEdgeError(f"--truth {truth}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HtsatEdgeError(f"--truth {truth}: is no text in UTF-8, want a CSV file") from None
    header = lines[0] if lines else ""
    rows = csv.DictReader(lines, delimiter=max(",;\t", key=header.count))
    there = [visible(name) for name in rows.fieldnames or ()]
    named = next((name for name in LABELS if name in there), LABELS[0])
    if missing := [name for name in (*TIMES, named) if name not in there]:
        found = listed(there, 8) or "none"
        raise HtsatEdgeError(f"--truth {truth}: has no column {', '.join(missing)}; it has {found}")
    file = next((name for name in FILES if name in there), None)
    wanted, others = files[0].name, set[str]()
    sounds = list[TrueSound]()
    try:
        for row in rows:
            name = None if file is None else Path(row[file] or "").name
            if name not in (None, wanted):  # such as that of a whole scan
                others.add(str(name))
            else:
                sounds.append(_sound(truth, rows.line_num, row, named))
    except csv.Error as error:
        raise HtsatEdgeError(f"--truth {truth}: line {rows.line_num + 1}: is not CSV: {error}") from None
    if others and not sounds:
        named = visible(listed(sorted(others)))
        raise HtsatEdgeError(f"--truth {truth}: has no row of {wanted}; its column {file} names {named}")
    return sorted(sounds, key=lambda sound: sound.onset)


def tell_of_late(sounds: Sequence[TrueSound], truth: Path, duration_s: float) -> None:
    """Print on stderr which sounds go on after the recording: the file may belong to another."""
    late = [f"{visible(one.label)} (to {one.offset:g} s)" for one in sounds if one.offset > duration_s + ROUNDED_S]
    if late:
        print(
            f"htsat-edge detect: --truth {truth}: beyond the recording's end at {duration_s:.1f} s: {listed(late, 4)}",
            file=sys.stderr,
        )


def _sound(truth: Path, line: int, row: dict[str, str | None], named: str) -> TrueSound:
    onset, offset, label = (row[name] or "" for name in (*TIMES, named))
    try:
        begin, end = float(onset), float(offset)
    except ValueError:
        begin = end = math.nan
    if not 0 <= begin < end < math.inf:
        raise HtsatEdgeError(
            f"--truth {truth}: line {line}: want seconds with 0 <= onset < offset, not {onset!r} and {offset!r}"
        )
    if not is_name(label):
        raise HtsatEdgeError(f"--truth {truth}: line {line}: {label!r} is no label")
    return TrueSound(label.strip(), begin, end)
