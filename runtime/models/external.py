"""Read of an ONNX file, without the onnx package, which files hold its weights, its outputs, and how it rounds.

ONNX is Protocol Buffers (https://protobuf.dev/programming-guides/encoding): each field of a message is a key, which is
its number and how it is written, and its content. Only the fields that lead to a tensor are looked into.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
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
GRAPH = 7
"""The field of a model."""
NODE, TENSOR, OUTPUT = 1, 5, 12
"""The fields of a graph that hold its nodes, constants and outputs."""
NAME = 1
"""The field of an output."""
INPUT, OP_TYPE = 1, 4
"""The fields of a node."""
INTEGERS, TENSOR_NAME, RAW = 5, 8, 9
"""The fields of a tensor; half precision is written as integers, or raw in two bytes."""
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
    with _mapped(path) as content:
        try:
            names = sorted({*_locations(content, 0, len(content), "model")})
        except (IndexError, ValueError, RecursionError):  # not ONNX, as whoever loads it will find
            return []
    return [_beside(path, name) for name in names]


def output_names(path: Path) -> list[str]:
    """Return the names of the outputs of an ONNX file, none where it is not ONNX; raise an OSError as above."""
    with _mapped(path) as content:
        try:
            return [
                content[begin:end].decode()
                for output in _in_graph(content, OUTPUT)
                for key, begin, end in _fields(content, *output)
                if key == NAME
            ]
        except (IndexError, ValueError):
            return []


def rounds_half(path: Path) -> bool:
    """Return whether an ONNX file rounds half precision to 8 bits, by a constant scale; raise an OSError as above."""
    with _mapped(path) as content:
        try:
            halves = {*_halves(content)}
            for place in _in_graph(content, NODE):
                node = [(field, content[begin:end]) for field, begin, end in _fields(content, *place)]
                inputs = [value for field, value in node if field == INPUT]
                if (OP_TYPE, b"QuantizeLinear") in node and inputs[1] in halves:
                    return True
        except (IndexError, ValueError):
            pass
    return False


def _halves(content: mmap.mmap | bytes) -> Iterator[bytes]:
    """Yield the names of constants that are in half precision, if they are scales of one value."""
    for place in _in_graph(content, TENSOR):
        tensor = {field: (begin, end) for field, begin, end in _fields(content, *place)}
        begin, end = tensor.get(RAW, (0, 0))
        if TENSOR_NAME in tensor and (INTEGERS in tensor or end - begin == 2):
            yield content[slice(*tensor[TENSOR_NAME])]


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    """Give the content of a file, of which only what is looked at is read."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def _in_graph(content: mmap.mmap | bytes, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield where the fields of a number begin and end in the graph of a model."""
    for number, *graph in _fields(content, 0, len(content)):
        for field, begin, end in _fields(content, *graph) if number == GRAPH else ():
            if field == wanted:
                yield begin, end


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


def _locations(content: mmap.mmap | bytes, begin: int, end: int, kind: str) -> Iterator[str]:
    """Yield the names of files in the message of a kind between two places."""
    for number, first, last in _fields(content, begin, end):
        inside = INSIDE[kind].get(number)
        if inside == "entry":
            entry = {field: content[a:b] for field, a, b in _fields(content, first, last)}
            if entry.get(KEY) == b"location":
                yield entry.get(VALUE, b"").decode()
        elif inside is not None:
            yield from _locations(content, first, last, inside)


def _fields(content: mmap.mmap | bytes, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
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


def _varint(content: mmap.mmap | bytes, begin: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[begin]
        begin += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, begin
    raise ValueError("a number is too long")
