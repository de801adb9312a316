"""The journal of a scan: which recordings there are, which are done, and what was found in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import tzinfo
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from htsat_edge.runtime.archive.journal.continuous import Continuations
from htsat_edge.runtime.archive.journal.database import JOURNAL_FILE, explained, open_database, take_folder, understood
from htsat_edge.runtime.archive.journal.rows import (
    AWAY,
    DONE,
    FAILED,
    WAITING,
    KeptEvent,
    KeptRecording,
    event_of_row,
    found_as_text,
    found_of_text,
    scores_as_row,
    scores_of_row,
    seconds_of,
)
from htsat_edge.runtime.archive.journal.written import WrittenFiles
from htsat_edge.runtime.archive.records import ArchiveFile, FoundEvent, FoundInRecording, SpanScores
from htsat_edge.runtime.archive.walk import LARGEST, Unreadable
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible

if TYPE_CHECKING:
    from typing_extensions import Self

AT_ONCE = 256
"""Rows that are read, or found files that are written, together."""
OUTSIDE = "_outside"
"""Folder among the results for what belongs to recordings that do not lie below the base."""


class JournalTotals(NamedTuple):
    """How far a scan is."""

    files_todo: int
    bytes_todo: int
    files_done: int
    bytes_done: int
    seconds_done: float
    """Of audio."""
    damaged: int
    """Of those that are done: they break off before their end."""
    failed: int
    unreadable: int
    """Folders and links."""
    events: int


class Journal:
    """A journal that is open. It belongs to one thread; a process that is killed leaves it whole.

    Every method raises an HtsatEdgeError of one line where the disk is full or fails. What was written before is kept.
    """

    def __init__(self, folder: Path, key: Mapping[str, str], base: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL_FILE
        self._lock = take_folder(folder)
        try:
            self._database = open_database(folder, key, base)
        except BaseException:
            os.close(self._lock)
            raise
        try:
            with understood(self._path):
                self.base = Path(os.fsdecode(self._one("SELECT value FROM about WHERE name = 'base'")[0]))
        except BaseException:
            self.close()
            raise
        self._written = WrittenFiles(self._database, folder)

    @classmethod
    def open(cls, folder: Path, key: Mapping[str, str], base: Path) -> Journal:
        """Open the journal of a folder of results, or begin one; other runs are kept out until it is closed.

        Parameters
        ----------
        folder
            It is made where it is missing.
        key
            What the results depend on, by name (`key_of`).
        base
            Folder that the relative paths of recordings count from. That of the first run counts.

        Raises
        ------
        HtsatEdgeError
            The folder holds something else, cannot be written to, or was begun with another key or version.
        NotReadyError
            Another run writes to it.
        """
        return cls(folder, key, base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other runs in; to do so again changes nothing."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def relative(self, path: Path) -> PurePath:
        """Return where, among the results, a file that belongs to a recording lies."""
        if path.is_relative_to(self.base):
            return path.relative_to(self.base)
        return PurePath(OUTSIDE, *path.parts[1:] if path.is_absolute() else path.parts)

    def add_found(self, found: Iterable[ArchiveFile | Unreadable]) -> None:
        """Take over what a walk has found: what is new, has changed or had failed is to be heard.

        What was not heard before and is not found any more is forgotten. What was heard is kept, also in part: a drive
        may not be mounted today.
        """
        walk = self._one("SELECT 1 + max((SELECT ifnull(max(walk), 0) FROM files), "
                         "(SELECT ifnull(max(walk), 0) FROM unreadable))")[0]  # fmt: skip
        waiting = iter(found)
        while batch := list(islice(waiting, AT_ONCE)):
            with self._writing():
                for one in batch:
                    if isinstance(one, Unreadable):
                        row = os.fsencode(one.path), visible(one.reason), walk
                        self._database.execute("INSERT OR REPLACE INTO unreadable VALUES (?, ?, ?)", row)
                    else:
                        self._add(one, walk)
        with self._writing():
            left = f"walk < {walk} AND state != {DONE}"
            self._database.execute(f"DELETE FROM files WHERE {left} AND id NOT IN (SELECT file FROM spans)")
            self._database.execute(f"UPDATE files SET state = {AWAY} WHERE {left}")
            self._database.execute("DELETE FROM unreadable WHERE walk < ?", (walk,))

    def todo(self, newest_first: bool = False) -> Iterator[ArchiveFile]:
        """Yield what is to be heard, each once, whatever is written meanwhile; by path, or by the time of change."""
        columns = "SELECT path, size, mtime_ns FROM files WHERE state = 0"  # as the indexes have it
        if newest_first:
            behind, order = "mtime_ns <= :time AND (mtime_ns < :time OR path > :path)", "mtime_ns DESC, path"
        else:
            behind, order = "path > :path", "path"
        last: dict[str, Any] = {"time": LARGEST, "path": b""}
        while rows := self._all(f"{columns} AND {behind} ORDER BY {order} LIMIT {AT_ONCE}", last):
            for path, size, mtime_ns in rows:
                with understood(self._path):
                    file = ArchiveFile(Path(os.fsdecode(path)), int(size), int(mtime_ns))
                yield file
            before, last = last, {"time": rows[-1][2], "path": rows[-1][0]}
            with understood(self._path):
                _check_order(
                    (-before["time"] * newest_first, before["path"]), (-last["time"] * newest_first, last["path"])
                )

    def finish(self, path: Path, found: FoundInRecording) -> None:
        """Keep what was found in a recording: all of it or, where the process is killed, nothing."""
        number, start = self._number(path), found.origin.start
        columns = {
            "state": DONE,
            "failure": visible(found.failure),
            "found": found_as_text(found),
            "duration_s": found.duration_s,
            "start_s": seconds_of(start),
            "zoned": start is not None and start.tzinfo is not None,
            "recorder": visible(found.origin.recorder),
            "events": len(found.events),
        }
        with self._writing():
            self._empty(number)
            self._update(number, columns)
            rows = (
                (number, place, one.channel, one.label, float(one.onset), float(one.offset), float(one.score))
                for place, one in enumerate(found.events)
            )
            self._database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def keep_span(self, path: Path, scores: SpanScores) -> None:
        """Keep the scores of a part of a recording until all of it is heard; later they change nothing."""
        row = scores.span.number, *scores_as_row(scores), self._number(path)
        with self._writing():
            query = f"INSERT OR REPLACE INTO spans SELECT id, ?, ?, ? FROM files WHERE id = ? AND state = {WAITING}"
            self._database.execute(query, row)

    def spans(self, path: Path) -> list[SpanScores]:
        """Return the parts of a recording that have been heard, by this run or an earlier one, in their order."""
        query = "SELECT head, packed FROM spans WHERE file = ? ORDER BY number"
        with understood(self._path):
            return [scores_of_row(path, head, packed) for head, packed in self._all(query, (self._number(path),))]

    def fail(self, path: Path, reason: str) -> None:
        """Keep why a recording cannot be heard; the next run tries it again."""
        number = self._number(path)
        with self._writing():
            self._empty(number)
            self._update(number, {"state": FAILED, "failure": visible(reason), "found": None, "events": 0})

    def totals(self) -> JournalTotals:
        """Return how far the scan is; all rows are looked at, 50 ms for 100 000."""
        todo, done = f"state = {WAITING}", f"state = {DONE}"
        row = self._one(
            f"SELECT total({todo}), total(size * ({todo})), total({done}), total(size * ({done})), "
            f"total(duration_s * ({done})), total({done} AND failure != ''), total(state = {FAILED}), "
            "(SELECT count(*) FROM unreadable), total(events) FROM files"
        )
        totals = JournalTotals(*row)
        return JournalTotals(*(int(total) for total in totals))._replace(seconds_done=totals.seconds_done)

    def recordings(self, continuous_s: float | None = None, zone: tzinfo | None = None) -> Iterator[KeptRecording]:
        """Yield what was found, in the order of the paths.

        Parameters
        ----------
        continuous_s
            Recordings of one recorder follow each other without a break if one begins at most so long before or after
            the end of the other: an event that crosses the border is one then. None: each recording is by itself.
        zone
            Of times that name none; None: they stay without. What follows what is by the clock of the recorder.
        """
        with understood(self._path):
            joining = None if continuous_s is None else Continuations(self._database, continuous_s)
        query = (
            f"SELECT id, path, size, found FROM files WHERE state = {DONE} AND path > ? ORDER BY path LIMIT {AT_ONCE}"
        )
        last = b""
        while rows := self._all(query, (last,)):
            for number, raw, size, text in rows:
                with understood(self._path):
                    events, path = self._events(number), Path(os.fsdecode(raw))
                    joined = joining.join(number, events) if joining else tuple(KeptEvent(*one) for one in events)
                    found = found_of_text(text, events, zone)
                    kept = KeptRecording(path, self.relative(path), size, found, joined)
                yield kept
            before, last = last, rows[-1][1]
            with understood(self._path):
                _check_order(before, last)

    def failures(self) -> Iterator[Unreadable]:
        """Yield what failed, was damaged or cannot be read, in the order of the paths."""
        query = (
            f"SELECT path, failure FROM files WHERE state = {FAILED} OR failure != '' "
            "UNION ALL SELECT path, reason FROM unreadable ORDER BY path"
        )
        with understood(self._path):
            for path, reason in self._database.execute(query):
                yield Unreadable(Path(os.fsdecode(path)), reason)

    def failed(self) -> Iterator[Path]:
        """Yield the recordings of which nothing could be heard, in the order of their paths."""
        with understood(self._path):
            for (path,) in self._database.execute(f"SELECT path FROM files WHERE state = {FAILED} ORDER BY path"):
                yield Path(os.fsdecode(path))

    def is_ours(self, path: Path) -> bool:
        """Return whether a file among the results may be replaced: it is not there, or as it was written."""
        with explained(self._path):
            return self._written.is_ours(path)

    def files_written(self) -> Iterator[Path]:
        """Yield the files among the results that were written, and are still there."""
        with understood(self._path):
            names = [name for (name,) in self._database.execute("SELECT DISTINCT name FROM written")]
            paths = (self.folder / os.fsdecode(name) for name in names)
        yield from filter(os.path.lexists, paths)

    def note_file(self, path: Path, part: Path) -> None:
        """Keep what a file among the results will hold, of which `is_ours`: `part` takes its place next."""
        with self._writing():
            self._written.note(path, part)

    def remove_file(self, path: Path) -> None:
        """Delete a file among the results, where it is as it was written."""
        with explained(self._path):
            self._written.remove(path)

    def _add(self, file: ArchiveFile, walk: int) -> None:
        path = os.fsencode(file.path)
        known = self._database.execute("SELECT id, size, mtime_ns, state FROM files WHERE path = ?", (path,)).fetchone()
        if known is None:
            row = path, file.size, file.mtime_ns, walk
            self._database.execute("INSERT INTO files (path, size, mtime_ns, walk) VALUES (?, ?, ?, ?)", row)
            return
        number, size, mtime_ns, state = known
        changed = (size, mtime_ns) != (file.size, file.mtime_ns)
        if changed:
            self._empty(number)
        if changed or state in (FAILED, AWAY):
            found = {"size": file.size, "mtime_ns": file.mtime_ns}
            self._update(number, {**found, "state": WAITING, "failure": "", "found": None, "events": 0})
        self._update(number, {"walk": walk})

    def _update(self, number: int, columns: Mapping[str, Any]) -> None:
        assigned = ", ".join(f"{name} = :{name}" for name in columns)
        self._database.execute(f"UPDATE files SET {assigned} WHERE id = :id", {**columns, "id": number})

    def _empty(self, number: int) -> None:
        """Forget what was found in a recording so far."""
        self._database.execute("DELETE FROM events WHERE file = ?", (number,))
        self._database.execute("DELETE FROM spans WHERE file = ?", (number,))

    def _events(self, number: int) -> list[FoundEvent]:
        query = "SELECT channel, label, onset, offset, score FROM events WHERE file = ? ORDER BY number"
        return [event_of_row(row) for row in self._database.execute(query, (number,))]

    def _number(self, path: Path) -> int:
        """Return the number of a file that `add_found` has got."""
        rows = self._all("SELECT id FROM files WHERE path = ?", (os.fsencode(path),))
        if not rows:
            raise HtsatEdgeError(f"{path}: is not in {self._path}")
        return int(rows[0][0])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have what is written within be there as a whole, or not at all."""
        with explained(self._path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            finally:
                if self._database.in_transaction:  # SQLite has rolled back by itself where the disk is full
                    self._database.execute("ROLLBACK")

    def _one(self, query: str) -> tuple[Any, ...]:
        return self._all(query)[0]

    def _all(self, query: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        with explained(self._path):
            return self._database.execute(query, values).fetchall()


def _check_order(before: Any, last: Any) -> None:
    """Raise a ValueError where a place is not behind another: in a damaged index, rows come again and again."""
    if last <= before:
        raise ValueError("rows are out of order")
