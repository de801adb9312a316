"""Read the pickles of torch files without running anything that they name.

A pickle is a small program: it builds plain values, and calls whatever it names. Here a name never leads to what it
names. Those by which torch rebuilds tensors lead to functions of this file, which note where a tensor lies; every other
leads to an `Unloaded`, a dictionary that does nothing. Before it runs, the program is read through, so that no length
and no place in its memo can fill the memory.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Protocol

import torch
from torch import Tensor

DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
"""Types of elements by their names in torch."""
STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
    "UntypedStorage": torch.uint8,
}
RUNS = re.compile(
    r"(os|posix|nt)\.(system|popen|exec\w*|spawn\w*|posix_spawn\w*|fork\w*|remove|unlink|rmdir|kill)"
    r"|(builtins|__builtin__)\.(eval|exec|execfile|compile|__import__|open|input|breakpoint)"
    r"|(subprocess|commands|runpy|pty|importlib|shutil|socket|ctypes|webbrowser)\..*"
)
"""What no checkpoint needs: a file that names it was made to run something where it is loaded."""
PLAIN = ("builtins", "__builtin__", "collections", "copyreg", "copy_reg", "_codecs")
"""Modules of Python's own containers, and of how it pickles others."""
MOST_NAMES = 10_000
MOST_NESTED = 30


class RunsCode(Exception):
    """Raised for a pickle that would run a program elsewhere; its text is the name."""


class Elements(Protocol):
    """Where the elements of tensors lie."""

    def read(self, key: str, begin: int, length: int) -> bytes:
        """Return so many bytes of a storage; raise a ValueError or KeyError where there are fewer."""
        ...


class _Fixed:
    """A base for what a pickle can reach: it cannot be changed from there."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Do nothing."""


@dataclass(frozen=True, eq=False)
class Storage(_Fixed):
    """Elements in a file."""

    source: Elements
    key: str
    dtype: Any
    """A torch.dtype, or something else that names none."""
    begin: int = 0
    """Elements of the source's storage before those of this one."""


@dataclass(frozen=True, eq=False)
class StoredTensor(_Fixed):
    """A tensor in a file, not yet read."""

    storage: Storage
    dtype: Any
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """Return the tensor; raise a ValueError or KeyError where the file lacks some of it."""
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.dtype)
        elements = 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        width = self.dtype.itemsize
        begin = (self.storage.begin + self.offset) * width
        content = bytearray(self.storage.source.read(self.storage.key, begin, elements * width))
        return torch.frombuffer(content, dtype=self.dtype).as_strided(self.shape, self.stride)

    @property
    def place(self) -> object:
        """What two tensors have in common that are one."""
        return id(self.storage.source), self.storage.key, self.storage.begin + self.offset, self.shape, self.stride


class Unloaded(dict[Any, Any]):
    """Anything else: whatever is done to it, it is a dictionary that keeps what was put in, and its state."""

    origin = ""
    """The name that the pickle has for it."""
    state: Any = None
    arguments: tuple[Any, ...] = ()

    def __new__(cls, /, *arguments: Any, **_: Any) -> Unloaded:
        made = super().__new__(cls)
        made.arguments = arguments
        return made

    def __init__(self, /, *arguments: Any, **_: Any) -> None:
        super().__init__()
        if self.origin in ("collections.OrderedDict", "builtins.dict") and arguments:  # of Python 2
            self.update(arguments[0])

    def __setstate__(self, state: Any) -> None:
        self.state = state

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    def append(self, item: object) -> None:
        """Do nothing."""

    def extend(self, items: object) -> None:
        """Do nothing."""

    def add(self, item: object) -> None:
        """Do nothing."""


class _Call(_Fixed):
    """A function that a pickle may call."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any, dtype: Any = None) -> StoredTensor:
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or len(shape) != len(stride):
        raise pickle.UnpicklingError("a tensor without a storage")
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers):
        raise pickle.UnpicklingError("a tensor of no size")
    return StoredTensor(storage, dtype or storage.dtype, offset, tuple(shape), tuple(stride))


def _rebuild_typed(
    storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> StoredTensor:
    return _rebuild(storage, offset, shape, stride, dtype=dtype)


def _rebuild_subclass(function: Any, _kind: Any, arguments: Any, *_: Any) -> Any:
    return function(*arguments) if isinstance(function, _Call) else Unloaded()


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes that protocol 2 has as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("text in an encoding that no pickle has")
    return text.encode("latin1")


REBUILDING: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _rebuild_subclass,
    "_codecs.encode": _encode,
}


class _Unpickler(pickle.Unpickler):
    """Finds nothing but what this file has."""

    def __init__(self, program: bytes, source: Elements, nested: Callable[[bytes], Any]) -> None:
        super().__init__(io.BytesIO(program), encoding="utf-8", errors="replace")
        self._source = source
        self._calls = {name: _Call(function) for name, function in REBUILDING.items()}
        self._calls["torch.storage._load_from_bytes"] = _Call(nested)
        self.names: dict[str, type[Unloaded]] = {}
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what stands for a name."""
        whole = f"{module}.{name}"
        if RUNS.fullmatch(whole):
            raise RunsCode(whole)
        if whole in self._calls:
            return self._calls[whole]
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if whole not in self.names:
            if len(self.names) == MOST_NAMES:
                raise pickle.UnpicklingError("too many names")
            self.names[whole] = type("Unloaded", (Unloaded,), {"origin": whole})
        return self.names[whole]

    def persistent_load(self, pid: Any, /) -> Storage:
        """Return a storage of ('storage', type, key, device, elements) and, in old files, (key, begin, elements)."""
        kind, dtype, key, _device, _elements, *view = pid
        begin = view[0][1] if view and view[0] is not None else 0
        if kind != "storage" or not isinstance(key, str) or type(begin) is not int or begin < 0:
            raise pickle.UnpicklingError("something else than a storage")
        storage = Storage(self._source, key, dtype, begin)
        self.storages.setdefault(key, storage)
        return storage


def _read_program(file: IO[bytes]) -> bytes:
    """Return the pickle that begins at the file's position, read through; leave the position behind it.

    Raise a ValueError where it is cut, or would cost memory or time without end.
    """
    begin = file.tell()
    memo: dict[Any, int] = {}  # how often the tuple in each place holds one from another place, itself built so
    tuples, made = 0, False
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if name.startswith("EXT") or name == "DUP":
            raise ValueError("an instruction that no pickler writes")
        if "PUT" in name and (argument is None or argument > count):
            raise ValueError("a place in the memo that is far off")
        if "PUT" in name or name == "MEMOIZE":
            memo[len(memo) if name == "MEMOIZE" else argument] = tuples + 1 if made else 0
        elif "GET" in name:
            tuples = max(tuples, memo.get(argument, 0))
        elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "REDUCE", "BUILD"):
            tuples = 0
        if tuples > MOST_NESTED:
            raise ValueError("tuples in tuples, whose hash would take for ever")
        made = name.startswith("TUPLE")
    end = file.tell()
    file.seek(begin)
    return file.read(end - begin)


@dataclass(frozen=True)
class Unpickled:
    """What a pickle was."""

    value: Any
    names: list[str]
    """Of the objects that are stand-ins, without Python's own containers."""
    storages: dict[str, Storage]
    """Those that its tensors use, by key."""


def unpickle(file: IO[bytes], source: Elements, nested: Callable[[bytes], Any]) -> Unpickled:
    """Return the value of the pickle that begins at the file's position, and what is in it.

    Parameters
    ----------
    file
        Where the pickle stands; its position is left behind it.
    source
        Where the elements of its tensors lie.
    nested
        Reads the bytes of a storage that stands in the pickle itself.

    Raises
    ------
    RunsCode
        It names what runs programs. Nothing was run.
    Exception
        It is damaged.
    """
    unpickler = _Unpickler(_read_program(file), source, nested)
    value = unpickler.load()
    names = sorted(name for name in unpickler.names if name.partition(".")[0] not in PLAIN)
    return Unpickled(value, names, unpickler.storages)
