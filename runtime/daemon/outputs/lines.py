"""JSON Lines, to stdout and to files that are rotated."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import JsonLines
from htsat_edge.runtime.daemon.outputs import Line, Output, RefusedError


def encode(lines: Sequence[Line]) -> str:
    """One object a line."""
    return "".join(f"{json.dumps(line)}\n" for line in lines)


class Stdout(Output):
    """Events for a pipe or a person."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__("stdout")
        self._stream = stream or sys.stdout

    def send(self, lines: Sequence[Line]) -> None:
        """Write them, and at once."""
        try:
            self._stream.write(encode(lines))
            self._stream.flush()
        except BrokenPipeError:
            raise RefusedError("nobody reads it any more") from None


class JsonLinesFile(Output):
    """A file that is there for log shippers; half a line is never left in it."""

    def __init__(self, settings: JsonLines) -> None:
        super().__init__(f"json_lines {settings.path}")
        self._settings = settings

    def start(self) -> None:
        """Begin; an HtsatEdgeError where the file cannot be written."""
        path = self._settings.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                self._mend(file.fileno(), path)
        except OSError as error:
            raise HtsatEdgeError(f"outputs.json_lines.path: {path}: cannot be written: {error.strerror}") from None
        super().start()

    def send(self, lines: Sequence[Line]) -> None:
        """Add them to the file, all or none."""
        path, content = self._settings.path, encode(lines).encode()
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
        """PATH becomes PATH.1, that PATH.2, and so on; what is too old goes."""
        names = [path, *(path.with_name(f"{path.name}.{i}") for i in range(1, self._settings.keep + 1))]
        names[-1].unlink(missing_ok=True)
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)

    @staticmethod
    def _mend(descriptor: int, path: Path) -> None:
        """A power cut may have left half a line: it goes."""
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.ftruncate(descriptor, content.rfind(b"\n") + 1)
