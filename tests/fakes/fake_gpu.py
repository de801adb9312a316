"""The GPU that the fakes share: memory by address, contexts, and streams that run or record."""

import itertools
import json
import os
import threading
from enum import IntEnum
from pathlib import Path

DATA = Path(__file__).parent.parent / "data" / "nvidia"
LOG = []
"""The steps of making, releasing and recording, in order."""


def faults():
    return os.environ.get("FAKE_FAULTS", "").split(",")


def trace(step):
    """Append a step to the file that FAKE_TRACE names, for a test that waits for it."""
    if path := os.environ.get("FAKE_TRACE"):
        with Path(path).open("a") as file:
            file.write(f"{step}\n")


def read_api(name):
    return json.loads((DATA / f"api-{name}.json").read_text())


def restrict(namespace, api):
    """Remove from a module and its classes what the real ones do not have, and refuse to set it."""
    for name, value in list(namespace.items()):
        if not isinstance(value, type) or value.__module__ != namespace["__name__"]:
            continue
        if name not in api[""]:
            del namespace[name]
            continue
        members = set(api.get(name, []))
        for member in [x for x in vars(value) if not x.startswith("_") and x not in members]:
            if not issubclass(value, IntEnum):
                delattr(value, member)
        if not issubclass(value, (IntEnum, Exception)):
            value.__setattr__ = guard(name, members)


def guard(name, members):
    def set_attribute(self, key, value):
        if not key.startswith("_") and key not in members and type(self).__name__ == name:
            raise AttributeError(f"{name} has no {key}")
        object.__setattr__(self, key, value)

    return set_attribute


def enum(api, name):
    """An enumeration with the real one's names."""
    members = [x for x in api.get(name, []) if x not in ("name", "value")]
    return IntEnum(name, members, start=0, module=None) if members else None


class Stream:
    """Keeps work until somebody synchronises, or, while it is recorded, for a graph."""

    def __init__(self):
        self.waiting = []
        self.recorded = None

    def add(self, work):
        (self.waiting if self.recorded is None else self.recorded).append(work)

    def run(self):
        assert self.recorded is None, "a stream that is recorded cannot be waited for"
        work, self.waiting = self.waiting, []
        for item in work:
            item()


class Gpu(threading.local):
    """The contexts are each thread's own."""

    memory = {}  # noqa: RUF012  the device is one
    streams = {}  # noqa: RUF012

    def __init__(self):
        self.contexts = []

    def need_context(self, error=AssertionError):
        if not self.contexts:
            raise error("invalid device context")

    @property
    def used(self):
        return sum(x.nbytes for x in self.memory.values())


GPU = Gpu()
_addresses = itertools.count(0x10000, 0x10000)


def address():
    return next(_addresses)
