"""Tables of all recordings, as text."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from htsat_edge.runtime.archive.formats.rows import FileEvents, TableEvent, TableFile
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.common.urls import is_url

KALEIDOSCOPE = (
    *("INDIR", "FOLDER", "IN FILE", "CHANNEL", "OFFSET", "DURATION", "DATE", "TIME", "HOUR"),
    *("TOP1MATCH", "TOP1DIST", "MANUAL ID"),
)
DESED = ("filename", "onset", "offset", "event_label")


@contextmanager
def encoded(stream: IO[bytes]) -> Iterator[IO[str]]:
    """Yield a text stream that writes UTF-8 into another one, which stays open."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


def columns(continuous: bool) -> tuple[str, ...]:
    """Return the columns of a table of events."""
    return TableEvent._fields if continuous else TableEvent._fields[:-1]


def write_csv(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:
    """Write a row an event, with commas and a header (RFC 4180, but lines end with a newline alone)."""
    names = columns(continuous)
    write_csv_rows(stream, names, (rounded(event)[: len(names)] for one in recordings for event in one.events))


def write_csv_files(stream: IO[bytes], files: Iterable[TableFile]) -> None:
    """Write a row a recording."""
    write_csv_rows(stream, TableFile._fields, files)


def write_jsonl(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:
    """Write an object an event, a line each."""
    names = columns(continuous)
    _write_jsonl(stream, names, (rounded(event) for one in recordings for event in one.events))


def write_jsonl_files(stream: IO[bytes], files: Iterable[TableFile]) -> None:
    """Write an object a recording, a line each."""
    _write_jsonl(stream, TableFile._fields, files)


def write_kaleidoscope(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:  # noqa: ARG001
    """Write a row an event as Kaleidoscope does: channels from 0 on, and a distance, which is 1 less the score.

    The last column is empty: there a person enters what it is.
    """
    write_csv_rows(stream, KALEIDOSCOPE, (_kaleidoscope(event) for one in recordings for event in one.events))


def write_desed(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:  # noqa: ARG001
    """Write a row an event with tabs; a recording without events has a row with its name alone."""
    write_tabbed(stream, DESED, (row for one in recordings for row in _desed(one)))


def write_tabbed(stream: IO[bytes], names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    r"""Write rows with tabs between the cells. What does not show is written as in Python: a tab in a name as \t.

    Programs that read such tables split them at every tab and newline, whatever is quoted.
    """
    write_csv_rows(stream, names, ([visible(str(cell)) for cell in row] for row in rows), "\t")


def write_csv_rows(
    stream: IO[bytes], names: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str = ","
) -> None:
    """Write rows below a header, with commas or another delimiter."""
    with encoded(stream) as text:
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow(row)


def rounded(event: TableEvent) -> TableEvent:
    """Return an event with as many digits as messages have, and not without length: programs refuse such.

    What begins with the last sample of a recording would else end where it begins.
    """
    onset, offset, score = (round(float(number), DECIMALS) for number in (event.onset, event.offset, event.score))
    shortest = round(onset + 10**-DECIMALS, DECIMALS)
    return event._replace(onset=onset, offset=max(offset, shortest), score=score)


def known(cell: object) -> object:
    """Return a cell for a format that has null: what is empty in CSV."""
    return None if cell == "" else cell


def absolute(file: str) -> str:
    """Return the path of a recording for programs that do not know in which folder it was named; URLs as they are."""
    return file if is_url(file) else os.path.abspath(file)  # noqa: PTH100


def _kaleidoscope(event: TableEvent) -> Sequence[object]:
    event = rounded(event)
    folder, _, name = absolute(event.file).rpartition("/")
    date, _, time = event.time.partition("T")
    return (
        *(folder or "/", "", name, max(0, event.channel - 1), event.onset),
        *(round(event.offset - event.onset, DECIMALS), date, time[:8], time[:2]),
        *(event.label, round(1 - event.score, DECIMALS), ""),
    )


def _desed(one: FileEvents) -> Iterator[Sequence[object]]:
    event = None
    for event in map(rounded, one.events):
        yield event.file, event.onset, event.offset, event.label
    if event is None:
        yield one.file.file, "", "", ""


def _write_jsonl(stream: IO[bytes], names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with encoded(stream) as text:
        for row in rows:
            cells = dict(zip(names, map(known, row), strict=False))
            text.write(json.dumps(cells, ensure_ascii=False) + "\n")
