"""Open checkpoints by what is in them, whatever they are called. A tensor is read when it is wanted, and not before."""

from __future__ import annotations

import io
import json
import mmap
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, cast

from safetensors import safe_open
from torch import Tensor

from htsat_edge.htsat.checkpoint.unpickling import DTYPES, RunsCode, Unpickled, unpickle
from htsat_edge.htsat.settings import RunFolder
from htsat_edge.runtime.common.errors import HtsatEdgeError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file of torch before 1.6."""
WHOLE = ("model.safetensors", "pytorch_model.bin")
"""The weights in a folder of transformers; where they are split, `.index.json` behind the name lists the parts."""
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
PARTS = ("model-", "pytorch_model-")
"""How the names of transformers' files begin where there are several."""
DESCRIPTIONS = ("config.json", "preprocessor_config.json")
SAFE_DTYPES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
    **{"I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8"},
}
OTHERS = {
    b"version https://git-lfs": "is a Git LFS pointer and not the file itself; fetch that with `git lfs pull`",
    b"<!doctype html": "is a web page; download the file itself",
    b"<html": "is a web page; download the file itself",
    b"\x1f\x8b": "is compressed; unpack it first",
    b"BZh": "is compressed; unpack it first",
    b"\xfd7zXZ": "is compressed; unpack it first",
    b"7z\xbc\xaf": "is an archive; unpack it first",
    b"Rar!": "is an archive; unpack it first",
    b"\x89HDF": "is an HDF5 file, want one of torch or safetensors",
    b"GGUF": "is a GGUF file, want one of torch or safetensors",
}
"""How other files begin that people take for a checkpoint."""
PICKLE, ZIP = b"\x80", b"PK\x03\x04"


class LazyTensor(Protocol):
    """A tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def place(self) -> object: ...
    def read(self) -> Tensor:
        """Return the tensor; any exception where the file is damaged."""
        ...


@dataclass(frozen=True)
class OpenCheckpoint:
    """What an open checkpoint holds."""

    value: Any
    """Nested dictionaries of tensors (`LazyTensor`) and other things."""
    names: list[str] = field(default_factory=list)
    """Of the objects that were not loaded."""
    descriptions: dict[str, Any] = field(default_factory=dict)
    """What stands beside the weights as JSON, by the name of the file."""


class _SafeTensor:
    def __init__(self, handle: Any, name: str) -> None:
        self._handle, self._name = handle, name
        part = handle.get_slice(name)
        self.shape = tuple(part.get_shape())
        self.dtype = DTYPES.get(SAFE_DTYPES.get(part.get_dtype(), ""))
        self.place = id(handle), name

    def read(self) -> Tensor:
        tensor: Tensor = self._handle.get_tensor(self._name)
        return tensor


class _ZipSource:
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive, self._folder = archive, folder

    def read(self, key: str, begin: int, length: int) -> bytes:
        info = self._archive.getinfo(f"{self._folder}data/{key}")
        if begin + length > info.file_size:
            raise ValueError("a tensor beyond its storage")
        with self._archive.open(info) as file:
            if begin:
                file.seek(begin)
            return file.read(length)


class _Stream:
    """A file of torch before 1.6: pickles one after the other, then the storages."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self._content = content
        self._file = io.BytesIO(content) if isinstance(content, bytes) else cast(IO[bytes], content)
        self._places: dict[str, tuple[int, int]] = {}

    def read(self, key: str, begin: int, length: int) -> bytes:
        place, size = self._places[key]
        if begin + length > size:
            raise ValueError("a tensor beyond its storage")
        return self._content[place + begin : place + begin + length]

    def load(self) -> Unpickled:
        """Return the value of the file: of a bare pickle the first, of a file of torch the fourth."""
        found = self._next()
        if found.value != LEGACY_MAGIC:
            return found
        self._next()  # the protocol's version
        if not self._next().value.get("little_endian", True):
            raise ValueError("the other byte order")
        found = self._next()
        keys = self._next().value
        at = self._file.tell()
        for key in keys:
            size = int.from_bytes(self._content[at : at + 8], "little") * found.storages[key].dtype.itemsize
            self._places[key] = at + 8, size
            at += 8 + size
        if at > len(self._content):
            raise ValueError("the file is cut")
        return found

    def _next(self) -> Unpickled:
        return unpickle(self._file, self, _read_nested)


def _read_nested(content: bytes) -> Any:
    return _Stream(content).load().value


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turn any error of reading a file into an HtsatEdgeError of one line."""
    try:
        yield
    except HtsatEdgeError:
        raise
    except RunsCode as error:
        raise HtsatEdgeError(
            f"{path}: holds {error} beside weights, and loading it elsewhere could run code; refused, nothing was run"
        ) from None
    except FileNotFoundError:
        hint = "; the training has not written one yet: the same train command goes on" if _is_unfinished(path) else ""
        raise HtsatEdgeError(f"{path}: no such file{hint}") from None
    except OSError as error:
        raise HtsatEdgeError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception:  # damage raises errors of many types
        raise HtsatEdgeError(f"{path}: is not a checkpoint, or a damaged one") from None


def _is_unfinished(path: Path) -> bool:
    """Return whether a file that is not there is what a training has yet to write."""
    run = RunFolder(path.parent)
    return path == run.model and run.identity.exists()


def weight_files(path: Path) -> list[Path]:
    """Return the files that a checkpoint consists of: itself, or those in its folder, in order.

    Raise an HtsatEdgeError where a folder holds none, or several.
    """
    if not path.is_dir():
        return [path]
    for name in WHOLE:
        if (path / name).is_file():
            return [path / name]
        if (path / f"{name}.index.json").is_file():
            return [path / part for part in sorted(set(_parts(path / f"{name}.index.json").values()))]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(found) != 1:
        holds = f"several: {', '.join(file.name for file in found[:5])}" if found else "none"
        raise HtsatEdgeError(f"{path}: is a directory, want one checkpoint in it; it holds {holds}")
    return found


def _parts(index: Path) -> dict[str, str]:
    """Return the file in which each tensor lies; a name leads nowhere but into the folder of the index."""
    with damage_reported(index):
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not parts or any(Path(part).name != part for part in parts.values()):
            raise ValueError("no parts, or one elsewhere")
        return {str(key): str(part) for key, part in parts.items()}


@contextmanager
def opened(path: Path) -> Iterator[OpenCheckpoint]:
    """Open a checkpoint, a file or a folder, for as long as its tensors are read.

    Raises
    ------
    HtsatEdgeError
        There is none, it is something else, or it is damaged. Nothing of it was run.
    """
    with ExitStack() as stack:
        with damage_reported(path):
            files = weight_files(path)
        values, names, descriptions = [], set(), dict[str, Any]()
        for file in files:
            with damage_reported(file):
                content = _open(file, stack)
                if len(files) > 1 and not isinstance(content.value, dict):
                    raise ValueError("a part that is no dictionary")
            values.append(content.value)
            names.update(content.names)
            descriptions |= content.descriptions
        descriptions |= _describe(files[0], path.is_dir())
        whole = values[0] if len(values) == 1 else {key: tensor for value in values for key, tensor in value.items()}
        yield OpenCheckpoint(whole, sorted(names), descriptions)


def _describe(file: Path, in_folder: bool) -> dict[str, Any]:
    """Return what stands in JSON files beside weights that were given as a folder, or have a name of transformers."""
    found = {}
    for name in DESCRIPTIONS if in_folder or file.name in WHOLE or file.name.startswith(PARTS) else ():
        beside = file.with_name(name)
        if beside.is_file():
            with damage_reported(beside):
                found[name] = json.loads(beside.read_text(encoding="utf-8"))
    return found


def _open(file: Path, stack: ExitStack) -> OpenCheckpoint:
    handle = stack.enter_context(file.open("rb"))
    head = handle.read(512)
    size = file.stat().st_size
    if _is_safetensors(head, size):
        tensors = stack.enter_context(safe_open(file, framework="pt"))
        metadata = tensors.metadata() or {}
        names = tensors.keys()
        return OpenCheckpoint({name: _SafeTensor(tensors, name) for name in names}, [], {"__metadata__": metadata})
    if head.startswith(ZIP):
        found = _open_zip(file, stack.enter_context(zipfile.ZipFile(handle)), size)
    elif head.startswith(PICKLE):
        found = _Stream(stack.enter_context(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))).load()
    else:
        raise HtsatEdgeError(f"{file}: {_other(file, head)}")
    return OpenCheckpoint(found.value, found.names)


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _other(file: Path, head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for begin, what in OTHERS.items():
        if head.startswith(begin) or text.startswith(begin):
            return what
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it first"
    if file.suffix == ".onnx":
        return "is an ONNX graph, want the checkpoint that it was made of"
    return "is not a checkpoint, or a damaged one"


def _open_zip(file: Path, archive: zipfile.ZipFile, size: int) -> Unpickled:
    """Open a file of torch since 1.6: a pickle, and a record for each storage."""
    names = archive.namelist()
    programs = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    if not programs:
        inside = next((name for name in names if name.endswith(SUFFIXES)), None)
        what = (
            f"a zip archive with {Path(inside).name} in it; unpack it first"
            if inside
            else "a zip archive of no weights"
        )
        raise HtsatEdgeError(f"{file}: is {what}")
    folder = programs[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in names:
        raise HtsatEdgeError(
            f"{file}: is a TorchScript program, want a checkpoint: save the state_dict() of its network"
        )
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise HtsatEdgeError(f"{file}: has its bytes in the order of another kind of machine")
    if archive.getinfo(programs[0]).file_size > size:
        raise ValueError("it grows when it is unpacked")
    return unpickle(io.BytesIO(archive.read(programs[0])), _ZipSource(archive, folder), _read_nested)
