"""What the workers of a cluster leave in RESULTS, until the journal has taken it over: Parquet files of answers, parts.

Ray writes a checkpoint beside each part in two steps: what it will hold before it is written, and that it is whole
afterwards. A part counts from then on; others are of a worker or a run that was killed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from htsat_edge.runtime.archive.journal import Journal
from htsat_edge.runtime.archive.journal.rows import found_as_text, found_of_text, scores_as_row, scores_of_row
from htsat_edge.runtime.archive.records import ArchiveFile, FoundEvent, FoundInRecording, Span, SpanScores
from htsat_edge.runtime.archive.workers import Answer, Cut, GivenUp
from htsat_edge.runtime.common.libraries import needing_archive

if TYPE_CHECKING:
    import pyarrow

FOLDER = "parts"
"""In RESULTS, while there is something in it."""
ID = "id"
"""Column that Ray's checkpoints keep."""
PENDING = ".pending.parquet"
"""Ends the name of a checkpoint whose part is not whole."""
FOUND, SCORES, CUT, GIVEN_UP = "found", "scores", "cut", "given up"
"""Kinds of answers."""


class FileAnswer(NamedTuple):
    """What came of a job."""

    file: ArchiveFile
    """As it was when it was heard."""
    answer: Answer
    heard_s: float = 0.0
    """Of audio, in this job."""


class AnswerParts:
    """The folder of the parts."""

    def __init__(self, results: Path) -> None:
        self.folder = results / FOLDER
        self.answers, self.checkpoints = self.folder / "answers", self.folder / "checkpoints"
        self._taken: set[str] = set()

    def clear(self) -> None:
        """Remove all parts."""
        self._taken.clear()
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def take(self) -> Iterator[FileAnswer]:
        """Yield the answers of the parts that are whole, and were not taken yet."""
        import pyarrow.parquet

        whole = {name.removesuffix(".parquet") for name in _names(self.checkpoints) if not name.endswith(PENDING)}
        for name in sorted(_names(self.answers) - self._taken):
            if name.rpartition("-")[0] not in whole:
                continue
            try:
                rows = pyarrow.parquet.read_table(self.answers / name, partitioning=None).to_pylist()
            except (pyarrow.ArrowException, OSError):
                continue  # a worker that was lost has written it, and another one is writing it again
            self._taken.add(name)
            for row in rows:
                yield _answer_of(row)


def take_left(journal: Journal) -> None:
    """Take over what a run that was killed has left, but for what has failed, or changed since; remove the parts."""
    parts = AnswerParts(journal.folder)
    if not parts.folder.is_dir():
        return
    with needing_archive(f"{parts.folder}, which a run with --ray has left,", "pyarrow"):
        import pyarrow.parquet  # noqa: F401
    left = [said for said in parts.take() if isinstance(said.answer, FoundInRecording | SpanScores)]
    paths = {said.file.path for said in left}
    todo = {file.path: file for file in journal.todo() if file.path in paths}
    for file, answer, _ in left:
        if todo.get(file.path) != file:
            continue
        if isinstance(answer, SpanScores):
            journal.keep_span(file.path, answer)
        elif isinstance(answer, FoundInRecording):
            journal.finish(file.path, answer)
    parts.clear()


def table_of(answers: list[FileAnswer]) -> pyarrow.Table:
    """Return answers as a table, a row for each."""
    import pyarrow as pa

    event = pa.struct(
        [
            ("channel", pa.int64()),
            ("label", pa.string()),
            ("onset", pa.float64()),
            ("offset", pa.float64()),
            ("score", pa.float64()),
        ]
    )
    columns = [
        (ID, pa.string()),
        ("path", pa.binary()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("kind", pa.string()),
        ("text", pa.string()),
        ("packed", pa.binary()),
        ("heard_s", pa.float64()),
        ("events", pa.list_(event)),
    ]
    return pa.Table.from_pylist([_row_of(*one) for one in answers], pa.schema(columns))


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _row_of(file: ArchiveFile, answer: Answer, heard_s: float) -> dict[str, object]:
    path, text, packed, number = os.fsencode(file.path), "", b"", 0
    events: list[dict[str, object]] = []
    if isinstance(answer, FoundInRecording):
        kind, text = FOUND, found_as_text(answer)
        events = [event._asdict() for event in answer.events]
    elif isinstance(answer, SpanScores):
        kind, number = SCORES, answer.span.number
        text, packed = scores_as_row(answer)
    elif isinstance(answer, Cut):
        kind, text = CUT, json.dumps([dataclasses.asdict(span) | {"path": ""} for span in answer.spans])
    else:
        kind, text = GIVEN_UP, answer.reason
    key = f"{sha256(path).hexdigest()}:{file.size}:{file.mtime_ns}:{number}:{kind}"
    content = {"kind": kind, "text": text, "packed": packed, "heard_s": heard_s, "events": events}
    return {ID: key, **file._asdict(), "path": path, **content}


def _answer_of(row: dict[str, Any]) -> FileAnswer:
    path, kind, text = Path(os.fsdecode(row["path"])), row["kind"], row["text"]
    answer: Answer
    if kind == FOUND:
        answer = found_of_text(text, [FoundEvent(**event) for event in row["events"]])
    elif kind == SCORES:
        answer = scores_of_row(path, text, row["packed"])
    elif kind == CUT:
        answer = Cut(tuple(Span(**span | {"path": path}) for span in json.loads(text)))
    else:
        answer = GivenUp(text)
    return FileAnswer(ArchiveFile(path, row["size"], row["mtime_ns"]), answer, row["heard_s"])
