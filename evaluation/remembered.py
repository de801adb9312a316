"""Remember what a model scored, so that other thresholds and other measurements of the same recordings cost little."""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend, Scores
from htsat_edge.runtime.models.bundle import Bundle

AT_ONCE = 1000
"""Scores that are written together: what is stopped loses no more, and others wait for no longer than that takes."""
PATIENCE_S = 60.0
"""Another process may write to the file."""
TABLE = "CREATE TABLE IF NOT EXISTS scores (window BLOB PRIMARY KEY, framewise BLOB, clipwise BLOB)"
FIND = "SELECT framewise, clipwise FROM scores WHERE window = ?"


class Remembered:
    """A backend that looks in a file first, and writes there what it had to infer; it has no embeddings."""

    def __init__(self, backend: Backend, path: Path) -> None:
        """Open the file, which belongs to one graph alone.

        Raises
        ------
        HtsatEdgeError
            The file cannot be opened, or is something else. The other methods raise it where the file cannot be read
            or written any more.
        """
        self._backend = backend
        self._path = path
        self._new: dict[bytes, tuple[bytes, bytes]] = {}
        with self._refusing():
            self._file = sqlite3.connect(path, timeout=PATIENCE_S)
            self._file.execute(TABLE)
            self._file.execute(FIND, (b"",))  # a table of this name may have other columns

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise HtsatEdgeError(f"{self._path}: {error}; give another folder to --cache, or none") from None

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows (B, T, F)."""
        rows = [self._score(window) for window in log_mel]
        framewise, clipwise = (np.stack(part) for part in zip(*rows, strict=True))
        return Scores(framewise, clipwise, np.zeros((len(rows), 0), np.float32))

    def _score(self, window: FloatArray) -> tuple[FloatArray, FloatArray]:
        key = hashlib.blake2b(np.ascontiguousarray(window, np.float32).tobytes(), digest_size=16).digest()
        row = self._new.get(key)
        if row is None:
            with self._refusing():
                row = self._file.execute(FIND, (key,)).fetchone()
        if row is None:
            found = self._backend.infer(window[None])
            row = (found.framewise[0].astype(np.float32).tobytes(), found.clipwise[0].astype(np.float32).tobytes())
            self._new[key] = row
            if len(self._new) == AT_ONCE:
                self._write()
        framewise, clipwise = (np.frombuffer(part, np.float32) for part in row)
        return framewise.reshape(-1, len(clipwise)).copy(), clipwise.copy()

    def _write(self) -> None:
        rows = [(key, *row) for key, row in self._new.items()]
        with self._refusing(), self._file:  # another process may have inferred the same
            self._file.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", rows)
        self._new.clear()

    def close(self) -> None:
        """Keep what was inferred, and release the model."""
        try:
            self._write()
        finally:
            self._file.close()
            self._backend.close()


def open_remembered(bundle: Bundle, precision: str | None = None, cache: Path | None = None) -> Backend:
    """Open a graph of a bundle, by default the one that a user gets; with a folder, its scores are kept there."""
    backend = open_backend(bundle, precision, "onnxruntime")
    if cache is None:
        return backend
    cache.mkdir(parents=True, exist_ok=True)
    graph = bundle.sha256(precision or bundle.recommended())
    return Remembered(backend, cache / f"{graph[:16]}.sqlite")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add --cache."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep the scores of each graph here, 3 kB a window with 22 classes: what was heard before is not "
        "inferred again",
    )
