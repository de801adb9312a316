"""The tables of a scan: what was found in all recordings, in the forms that were asked for."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from htsat_edge.runtime.archive.formats import (
    FORMATS,
    FileEvents,
    Format,
    TableEvent,
    TableFile,
    shown_path,
    time_at,
)
from htsat_edge.runtime.archive.journal import Journal, KeptRecording
from htsat_edge.runtime.archive.records import Quality
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing

FAILED_FILE, LABELS_FOLDER = "failed.csv", "labels"
FAILED_COLUMNS = ("file", "reason")
LONGEST_NAME = 255
"""Bytes of a file's name."""


def write_tables(journal: Journal, formats: Sequence[str], continuous_s: float | None = None) -> list[Path]:
    """Write what was found so far into the folder of a journal; each file is replaced as a whole.

    Parameters
    ----------
    journal
        It is read several times, and not changed.
    formats
        Names of FORMATS. Where none of them has a table of the recordings, that is written as CSV.
    continuous_s
        As for `Journal.recordings`; forms in which an event ends in its own recording have each recording by itself.

    Returns
    -------
    list of Path
        What was written; of files beside each recording, the folder that they lie in.

    Raises
    ------
    HtsatEdgeError
        Something cannot be written, or a library is missing.
    """
    chosen = [FORMATS[name] for name in dict.fromkeys(formats)]
    for form in chosen:
        form.require()
    written = [_write_failed(journal)]
    for form in chosen:
        recordings = journal.recordings(continuous_s if form.joins else None)
        if form.each:
            written.append(_write_each(journal.folder / LABELS_FOLDER, form, recordings))
            continue
        target = journal.folder / form.file_name
        with replacing(target) as part, part.open("wb") as stream:
            joins = form.joins and continuous_s is not None
            form.write(stream, (heard(kept) for kept in recordings), joins)
        written.append(target)
    listing = [form for form in chosen if form.write_files is not None] or [FORMATS["csv"]]
    return written + [_write_files(journal, form) for form in listing]


def heard(kept: KeptRecording) -> FileEvents:
    """Return a recording and its events as rows of tables."""
    found, file = kept.found, shown_path(kept.path)
    start = found.origin.start
    events = [
        TableEvent(
            file,
            event.channel,
            event.label,
            event.onset,
            event.offset,
            event.score,
            time_at(start, event.onset),
            shown_path(event.end) if event.end else "",
        )
        for event in kept.events
    ]
    return FileEvents(_table_file(kept), events)


def _table_file(kept: KeptRecording) -> TableFile:
    found, origin, quality = kept.found, kept.found.origin, kept.found.quality
    return TableFile(
        shown_path(kept.path),
        round(found.duration_s, 3),
        found.sample_rate,
        found.channels,
        time_at(origin.start, 0.0),
        origin.said_by,
        origin.latitude,
        origin.longitude,
        origin.recorder,
        _level_dbfs(quality),
        _decibels(quality.peak),
        round(100 * quality.clipped / quality.samples, 4) if quality.samples else None,
        round(quality.silent_s, 2),
        quality.dropouts,
        len(found.events),  # also those that began in the one before: something sounds
        found.failure,
    )


def _level_dbfs(quality: Quality) -> float | None:
    return _decibels(math.sqrt(quality.power / quality.samples)) if quality.samples else None


def _decibels(amplitude: float) -> float | None:
    """Return an amplitude in dB below full scale; None for none."""
    return round(20 * math.log10(amplitude), 2) if amplitude > 0 else None


def _write_failed(journal: Journal) -> Path:
    target = journal.folder / FAILED_FILE
    with replacing(target) as part, part.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(FAILED_COLUMNS)
        rows.writerows((shown_path(path), reason) for path, reason in journal.failures())
    return target


def _write_files(journal: Journal, form: Format) -> Path:
    assert form.write_files is not None
    target = journal.folder / form.files_name
    with replacing(target) as part, part.open("wb") as stream:
        form.write_files(stream, (_table_file(kept) for kept in journal.recordings()))
    return target


def _write_each(folder: Path, form: Format, recordings: Iterator[KeptRecording]) -> Path:
    """Write a file for each recording, also for those without events: nothing sounds in them."""
    for kept in recordings:
        target = folder / kept.relative.parent / name_beside(kept.relative.name, form.file_name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HtsatEdgeError(f"{target.parent}: cannot be made: {error.strerror}") from None
        with replacing(target) as part, part.open("wb") as stream:
            form.write(stream, [heard(kept)], False)
    return folder


def name_beside(recording: str, suffix: str) -> str:
    """Return the name of a file beside a recording; one that would be too long is cut, and told apart by a hash."""
    raw = os.fsencode(recording)
    room = LONGEST_NAME - len(suffix)
    if len(raw) <= room:
        return recording + suffix
    mark = hashlib.sha256(raw).hexdigest()[:16]
    return raw[: room - len(mark)].decode("utf-8", "ignore") + mark + suffix
