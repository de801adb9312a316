"""JSON Lines, to stdout and to files that are rotated."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import JsonLinesConfig
from htsat_edge.runtime.daemon.outputs.sender import MessageSender, RefusedError


def encode(batch: Sequence[Message]) -> str:
    """Return messages as JSON Lines."""
    return "".join(f"{message.encoded}\n" for message in batch)


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
        """Begin; raise an HtsatEdgeError where the file cannot be written."""
        path = self._settings.path
        if path.exists() and not path.is_file():
            raise HtsatEdgeError(f"outputs.json_lines.path: {path}: is no regular file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                self._mend(file.fileno(), path)
        except OSError as error:
            raise HtsatEdgeError(f"outputs.json_lines.path: {path}: cannot be written: {error.strerror}") from None
        super().start()

    def send(self, batch: Sequence[Message]) -> None:
        """Append messages to the file, all or none."""
        path, content = self._settings.path, encode(batch).encode()
        if path.exists() and path.stat().st_size + len(content) > 1e6 * self._settings.rotate_mb:
            self._rotate(path)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                done = file.write(content)
                if done < len(content):
                    raise OSError(28, os.strerror(28))
            except OSError:
                file.truncate(before)
                raise

    def _rotate(self, path: Path) -> None:
        """Rename PATH to PATH.1, that to PATH.2, and so on; delete the oldest."""
        names = [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, self._settings.keep + 1))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)

    @staticmethod
    def _mend(descriptor: int, path: Path) -> None:
        """Cut off the half line that a power cut may have left."""
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.ftruncate(descriptor, content.rfind(b"\n") + 1)
