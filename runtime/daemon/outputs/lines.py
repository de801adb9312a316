"""JSON Lines, to stdout and to files that are rotated."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.folders import try_file
from htsat_edge.runtime.common.marks import PROGRAM, refuse_foreign
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import JsonLinesConfig
from htsat_edge.runtime.daemon.outputs.sender import MessageSender, RefusedError

BEGIN = b'{"type": "'
"""Of every message."""
TYPES = ("start", "end", "gap", "status")
MOST_LINE = 1 << 16
"""Bytes of a line; no message comes near."""
KEY = "outputs.json_lines.path"


def encode(batch: Sequence[Message]) -> str:
    """Return messages as JSON Lines."""
    return "".join(f"{message.encoded}\n" for message in batch)


def has_mark(path: Path) -> bool:
    """Return whether a file that is not empty begins with a message, or with a part of one."""
    with path.open("rb") as file:
        head = file.read(MOST_LINE)
    line, newline, _ = head.partition(b"\n")
    if not newline:
        return len(head) < MOST_LINE and head.strip(b"\0") != b"" and may_begin_line(head)
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return line.startswith(BEGIN) and message.get("type") in TYPES and "source" in message


def may_begin_line(half: bytes) -> bool:
    """Return whether a power cut may have left this of a line: its beginning, and zeros that were not yet written."""
    half = half.rstrip(b"\0")
    return half.startswith(BEGIN) or BEGIN.startswith(half)


class Stdout(MessageSender):
    """Messages for a pipe or a person."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Prepare to write to a stream, by default the standard output."""
        super().__init__("stdout")
        self._stream = stream or sys.stdout

    def send(self, batch: Sequence[Message]) -> None:
        """Write messages, and flush."""
        try:
            self._stream.write(encode(batch))
            self._stream.flush()
        except BrokenPipeError:
            raise RefusedError("nobody reads it any more") from None


class JsonLinesFile(MessageSender):
    """A file for log shippers; half a line is never left in it."""

    def __init__(self, settings: JsonLinesConfig) -> None:
        """Prepare to write the file that the settings name."""
        super().__init__(f"json_lines {settings.path}")
        self._settings = settings

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where the file cannot be written, or is not ours."""
        path = self._settings.path
        self._refuse_foreign()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a+b") as file:
                self._mend(file)
        except OSError as error:
            raise HtsatEdgeError(f"{KEY}: {path}: cannot be written: {error.strerror}") from None
        super().start()

    def send(self, batch: Sequence[Message]) -> None:
        """Append messages to the file, all or none."""
        path, content = self._settings.path, encode(batch).encode()
        if path.exists() and path.stat().st_size + len(content) > 1e6 * self._settings.rotate_mb:
            self._rotate()
        with path.open("a+b", buffering=0) as file:
            file.seek(0)
            if not BEGIN.startswith(file.read(len(BEGIN)) or b""):  # another file has taken its place
                raise HtsatEdgeError(f"{path}: was not written by {PROGRAM}, and is left as it is")
            before = file.seek(0, os.SEEK_END)
            try:
                done = file.write(content)
                if done < len(content):
                    raise OSError(28, os.strerror(28))
            except OSError:
                file.truncate(before)
                raise

    def check(self) -> str:
        """Try to open the file; return the room for it."""
        self._refuse_foreign()
        return try_file(self._settings.path)

    def _refuse_foreign(self) -> None:
        refuse_foreign(KEY, self._settings.path, has_mark)
        for old in self._names[1:]:
            refuse_foreign(KEY, old, has_mark)

    @property
    def _names(self) -> list[Path]:
        """The file, and the old ones, the oldest last."""
        path = self._settings.path
        return [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, self._settings.keep + 1))]

    def _rotate(self) -> None:
        """Rename PATH to PATH.1, that to PATH.2, and so on; delete the oldest."""
        names = self._names
        self._refuse_foreign()
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)

    def _mend(self, file: BinaryIO) -> None:
        """Cut off the half line that a power cut may have left."""
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - MOST_LINE)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        if whole == len(tail):
            return
        if (start > 0 and whole == 0) or not may_begin_line(tail[whole:]):
            path = self._settings.path
            raise HtsatEdgeError(f"{KEY}: {path}: ends in a line that {PROGRAM} has not written; give another path")
        file.truncate(start + whole)
