"""Find the files that hold the weights of an ONNX file outside it, and its outputs, without the onnx package.

ONNX is Protocol Buffers (https://protobuf.dev/programming-guides/encoding): each field of a message is a key, which is
its number and how it is written, and its content. Only the fields that lead to a tensor are looked into.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from htsat_edge.runtime.common.errors import HtsatEdgeError

INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""By message, the numbers of the fields that lead to a tensor's external data (onnx.proto), and what they hold."""
GRAPH, OUTPUT, NAME = 7, 12, 1
"""The fields that lead to the name of an output: of a model, of a graph, and of an output."""
KEY, VALUE = 1, 2
"""The fields of an entry."""


def external_files(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights, none where it holds them all itself.

    Raises
    ------
    HtsatEdgeError
        One of them is missing, or lies outside the file's folder.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                names = sorted({*_locations(content, 0, len(content), "model")})
            except (IndexError, ValueError, RecursionError):  # not ONNX, as whoever loads it will find
                return []
    return [_beside(path, name) for name in names]


def output_names(path: Path) -> list[str]:
    """Return the names of the outputs of an ONNX file, none where it is not ONNX; raise an OSError as above."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return []
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return [
                    content[begin:end].decode()
                    for number, *graph in _fields(content, 0, len(content))
                    for field, *output in (_fields(content, *graph) if number == GRAPH else ())
                    for key, begin, end in (_fields(content, *output) if field == OUTPUT else ())
                    if key == NAME
                ]
            except (IndexError, ValueError):
                return []


def _beside(path: Path, name: str) -> Path:
    """Return the file of a name that an ONNX file gives."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise HtsatEdgeError(f"{path}: its weights are in {name}, which is outside its folder")
    file = path.parent / relative
    if not file.is_file():
        raise HtsatEdgeError(
            f"{path}: its weights are in {file.name}, which is missing; copy it into {file.parent} too"
        )
    return file


def _locations(content: mmap.mmap, begin: int, end: int, kind: str) -> Iterator[str]:
    """Yield the names of files in the message of a kind between two places."""
    for number, first, last in _fields(content, begin, end):
        inside = INSIDE[kind].get(number)
        if inside == "entry":
            entry = {field: content[a:b] for field, a, b in _fields(content, first, last)}
            if entry.get(KEY) == b"location":
                yield entry.get(VALUE, b"").decode()
        elif inside is not None:
            yield from _locations(content, first, last, inside)


def _fields(content: mmap.mmap, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, the begin and the end of each field that has a length, of the message between two places."""
    while begin < end:
        key, begin = _varint(content, begin)
        match key & 7:
            case 0:  # a number
                _, begin = _varint(content, begin)
            case 1:  # 64 bits
                begin += 8
            case 5:  # 32 bits
                begin += 4
            case 2:  # a text, bytes or a message
                length, begin = _varint(content, begin)
                if begin + length > end:
                    raise ValueError("a field is longer than its message")
                yield key >> 3, begin, begin + length
                begin += length
            case _:
                raise ValueError("no way of writing a field")


def _varint(content: mmap.mmap, begin: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[begin]
        begin += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, begin
    raise ValueError("a number is too long")
