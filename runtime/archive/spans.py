"""The final scores of a span as few bytes, block by block; and back, in the turns in which they became final.

A block is its head; then, compressed (zlib), its turns, the classes that have scores, and these, class by class.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.files import replacing

HEAD = struct.Struct("<4I")
"""Of a block: its bytes, and how many steps, classes and turns there are."""
COARSE = np.uint32(0xFFFF_E000)
"""What is left of a float32 by half precision."""


class ScoreBlock(NamedTuple):
    """Final scores that follow one another."""

    scores: FloatArray
    """(n, C)."""
    turns: list[int]
    """Rows up to which scores became final at once, ascending: rules look at what is found at once together."""


class ScorePacker:
    """Keeps what hysteresis looks at of the final scores of a span: those that reach the release of their class."""

    def __init__(
        self, release: FloatArray, begin: int, first: int = 0, last: int | None = None, keep_all: bool = False
    ) -> None:
        """Prepare for a span.

        Parameters
        ----------
        release
            (C,); lower scores become 0.
        begin
            The step of the first score that is added.
        first, last
            Steps from which on and up to which scores are kept; None: to the end.
        keep_all
            Keep the lower scores, too, cut off to the digits of half precision.
        """
        self._release, self._keep_all = release, keep_all
        self._at, self._first, self._last = begin, first, last
        self._rows: list[FloatArray] = []
        self._count = 0
        """Of the rows."""
        self._turns: list[int] = []
        self._packed = bytearray()

    @property
    def is_full(self) -> bool:
        """Whether no more scores are wanted."""
        return self._last is not None and self._at >= self._last

    def add(self, scores: FloatArray, is_turn: bool = True) -> None:
        """Take scores (n, C); `is_turn` says that they became final at once, and no more with them."""
        begin, self._at = self._at, self._at + len(scores)
        end = self._at if self._last is None else min(self._at, self._last)
        if end <= max(begin, self._first):
            return
        rows = scores[max(self._first - begin, 0) : end - begin]
        self._rows.append(rows)
        self._count += len(rows)
        if is_turn and end == self._at:
            self._turns.append(self._count)

    def pack(self) -> None:
        """Compress what was added since the last time."""
        if not self._rows:
            return
        scores = np.concatenate(self._rows)
        low = (scores.view(np.uint32) & COARSE).view(np.float32) if self._keep_all else np.float32(0)
        scores = np.where(scores >= self._release, scores, low)
        columns = np.flatnonzero(scores.any(axis=0)).astype(np.uint16)
        parts = np.array(self._turns, np.uint32), columns, np.ascontiguousarray(scores[:, columns].T)
        content = zlib.compress(b"".join(part.tobytes() for part in parts), 1)
        self._packed += HEAD.pack(len(content), len(scores), len(columns), len(self._turns)) + content
        self._rows, self._count, self._turns = [], 0, []

    def finish(self) -> bytes:
        """Return all that was kept."""
        self.pack()
        return bytes(self._packed)


def unpack(packed: bytes, classes: int) -> Iterator[ScoreBlock]:
    """Yield the blocks of what a packer has kept, for so many classes."""
    at = 0
    while at < len(packed):
        length, steps, columns, turns = HEAD.unpack_from(packed, at)
        content = zlib.decompress(packed[at + HEAD.size : at + HEAD.size + length])
        at += HEAD.size + length
        used = np.frombuffer(content, np.uint16, columns, 4 * turns)
        kept = np.frombuffer(content, np.float32, columns * steps, 4 * turns + 2 * columns)
        scores = np.zeros((steps, classes), np.float32)
        scores[:, used] = kept.reshape(columns, steps).T
        yield ScoreBlock(scores, np.frombuffer(content, np.uint32, turns).tolist())


def take_turns(blocks: Iterable[ScoreBlock], classes: int) -> Iterator[tuple[FloatArray, bool]]:
    """Yield scores (n, C) as they became final, at once each; and whether they are what was left at the end."""
    rest: FloatArray | None = None
    scores: FloatArray = np.empty((0, classes), np.float32)
    for scores, turns in blocks:
        begin = 0
        for end in turns:
            rows = scores[begin:end]
            yield rows if rest is None else np.concatenate([rest, rows]), False
            begin, rest = end, None
        if begin < len(scores):
            rest = scores[begin:] if rest is None else np.concatenate([rest, scores[begin:]])
    yield scores[:0] if rest is None else rest, True


def write_scores(path: Path, packed: Mapping[str, Sequence[bytes]], labels: Sequence[str], step_s: float) -> None:
    """Write final scores as an npz file, whose bytes depend on nothing else.

    Parameters
    ----------
    path
        The file; its folder exists.
    packed
        What packers have kept, span after span, by the name of their array, which is (steps, C) in half precision.
    labels, step_s
        Of the classes, and seconds of a step: arrays of these names; `onset`, 0, are the seconds of the first step.

    Raises
    ------
    HtsatEdgeError
        The file cannot be written.
    """
    fixed = {"labels": np.array(labels), "step_s": np.array(step_s), "onset": np.array(0.0)}
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in fixed.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)
        for name, spans in packed.items():
            shape = sum(map(count_steps, spans)), len(labels)
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                head = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, head)
                for block in (block for span in spans for block in unpack(span, len(labels))):
                    file.write(block.scores.astype("<f2").tobytes())


def count_steps(packed: bytes) -> int:
    """Return how many steps a packer has kept."""
    at = steps = 0
    while at < len(packed):
        length, count, _, _ = HEAD.unpack_from(packed, at)
        at, steps = at + HEAD.size + length, steps + count
    return steps
