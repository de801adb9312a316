"""The tables of a scan: what was found in all recordings, in the forms that were asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from htsat_edge.runtime.archive.formats import FORMATS, FileEvents, Format, file_row, rows_of, shown_path
from htsat_edge.runtime.archive.formats.tables import write_csv_rows
from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.walk import Unreadable
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing

FAILED_FILE, LABELS_FOLDER = "failed.csv", "labels"
FAILED_COLUMNS = ("file", "reason")
LONGEST_NAME = 255
"""Bytes of a file's name."""


class WrittenTables(NamedTuple):
    """What has become of the tables."""

    written: list[Path]
    """Files; of those beside each recording, the folder that they lie in."""
    kept: int
    """Files that were changed since they were written, or are none of ours, and so were left as they are."""
    kept_first: Path | None
    """One of those."""


def write_tables(
    journal: Journal, formats: Sequence[str], continuous_s: float | None = None, zone: tzinfo | None = None
) -> WrittenTables:
    """Write what was found so far into the folder of a journal; each file is replaced as a whole.

    Formats that an earlier scan has written there are written anew, too: none gets old beside the others. A file that a
    person has changed stays as it is. Files beside recordings that could not be heard this time are deleted: what is in
    them was found in something else.

    Parameters
    ----------
    journal
        It is read several times; of what is found in it nothing is changed.
    formats
        Names of FORMATS. Where none of them has a table of the recordings, that is written as CSV.
    continuous_s
        As for `Journal.recordings`; forms in which an event ends in its own recording have each recording by itself.
    zone
        Of times that name none.

    Raises
    ------
    HtsatEdgeError
        Something cannot be written, or a library is missing.
    """
    for name in formats:
        FORMATS[name].require()
    writer = _Writer(journal, zone)
    writer.remove_failed()
    chosen = [FORMATS[name] for name in dict.fromkeys([*formats, *_there(journal)])]
    for form in chosen:
        if form.each:
            writer.write_each(form)
        if name := form.all_name or ("" if form.each else form.file_name):
            writer.write_all(form, name, continuous_s if form.joins else None)
    for form in [form for form in chosen if form.write_files is not None] or [FORMATS["csv"]]:
        writer.write_files(form)
    writer.write(FAILED_FILE, partial(_write_failed, journal.failures()))
    return WrittenTables(writer.written, writer.kept, writer.kept_first)


class _Writer:
    """Writes tables into the folder of a journal."""

    def __init__(self, journal: Journal, zone: tzinfo | None) -> None:
        self._journal, self._zone = journal, zone
        self.written: list[Path] = []
        self.kept = 0
        self.kept_first: Path | None = None

    def write(self, name: str, write: Callable[[IO[bytes]], None]) -> None:
        """Write a table."""
        self._replace(self._journal.folder / name, write)
        self.written.append(self._journal.folder / name)

    def write_all(self, form: Format, name: str, continuous_s: float | None) -> None:
        """Write a table with the events of all recordings."""
        recordings = self._journal.recordings(continuous_s, self._zone)
        rows = (rows_of(kept.path, kept.found, kept.events) for kept in recordings)
        self.write(name, lambda stream: form.write(stream, rows, continuous_s is not None))

    def write_files(self, form: Format) -> None:
        """Write a table of the recordings."""
        write = form.write_files
        assert write is not None
        rows = (file_row(kept.path, kept.found) for kept in self._journal.recordings(zone=self._zone))
        self.write(form.files_name, lambda stream: write(stream, rows))

    def write_each(self, form: Format) -> None:
        """Write a file for each recording, also for those without events: nothing sounds in them."""
        for kept in self._journal.recordings(zone=self._zone):
            rows = [rows_of(kept.path, kept.found, kept.events)]
            self._replace(self._place(kept.path, form), partial(_write_rows, form, rows))
        self.written.append(self._journal.folder / LABELS_FOLDER)

    def remove_failed(self) -> None:
        """Delete what is beside recordings that could not be heard this time."""
        each = [form for form in FORMATS.values() if form.each]
        for path in self._journal.failed():
            for form in each:
                self._journal.remove_file(self._place(path, form))

    def _place(self, recording: Path, form: Format) -> Path:
        relative = self._journal.relative(recording)
        return self._journal.folder / LABELS_FOLDER / relative.parent / name_beside(relative.name, form.file_name)

    def _replace(self, target: Path, write: Callable[[IO[bytes]], None]) -> None:
        if not self._journal.is_ours(target):
            self.kept, self.kept_first = self.kept + 1, self.kept_first or target
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HtsatEdgeError(f"{target.parent}: cannot be made: {error.strerror}") from None
        with replacing(target) as part:
            with part.open("wb") as stream:
                write(stream)
            self._journal.note_file(target, part)


def _there(journal: Journal) -> Iterator[str]:
    """Yield the formats of which there is something of ours, and that can be written here."""
    found = set(map(_format_of, (path.relative_to(journal.folder) for path in journal.files_written())))
    for name in sorted(found - {""}):
        with suppress(HtsatEdgeError):  # on another machine, perhaps
            FORMATS[name].require()
            yield name


def _format_of(path: Path) -> str:
    """Return the name of the format of a file among the results; empty where it has none."""
    if path.parts[0] != LABELS_FOLDER:
        return next((name for name, form in FORMATS.items() if str(path) in (form.file_name, form.all_name)), "")
    fitting = [name for name, form in FORMATS.items() if form.each and path.name.endswith(form.file_name)]
    return max(fitting, key=lambda name: len(FORMATS[name].file_name), default="")  # of .txt and …selections.txt


def _write_rows(form: Format, rows: Iterable[FileEvents], stream: IO[bytes]) -> None:
    form.write(stream, rows, False)


def _write_failed(failures: Iterable[Unreadable], stream: IO[bytes]) -> None:
    write_csv_rows(stream, FAILED_COLUMNS, ((shown_path(path), reason) for path, reason in failures))


def name_beside(recording: str, suffix: str) -> str:
    """Return the name of a file beside a recording; one that would be too long is cut, and told apart by a hash."""
    raw = os.fsencode(recording)
    room = LONGEST_NAME - len(suffix)
    if len(raw) <= room:
        return recording + suffix
    mark = hashlib.sha256(raw).hexdigest()[:16]
    return raw[: room - len(mark)].decode("utf-8", "ignore") + mark + suffix
