"""pycuda.driver without a GPU."""

import os

import numpy as np
from fake_gpu import GPU, LOG, address, read_api, restrict
from fake_gpu import Stream as Queue

api = read_api("pycuda-2026.1")


class Error(Exception):
    pass


class LogicError(Error):
    pass


class MemoryError(Error):  # noqa: A001
    pass


class device_attribute:
    MULTIPROCESSOR_COUNT = 16


def init():
    if os.environ.get("FAKE_GPU", "Orin") == "":
        raise LogicError("cuInit failed: no CUDA-capable device is detected")


def get_driver_version():
    return 12060


def mem_get_info():
    GPU.need_context(LogicError)
    total = int(os.environ.get("FAKE_GPU_FREE", 2**30))
    return total - GPU.used, total


class Device:
    def __init__(self, number):
        assert number == 0

    def name(self):
        return os.environ.get("FAKE_GPU", "Orin")

    def compute_capability(self):
        return 8, 7

    def get_attribute(self, attribute):
        return attribute

    def retain_primary_context(self):
        return Context()


class Context:
    def push(self):
        GPU.contexts.append(self)

    @staticmethod
    def pop():
        GPU.need_context(LogicError)
        GPU.contexts.pop()


class Stream:
    def __init__(self):
        GPU.need_context(LogicError)
        self._handle = address()
        GPU.streams[self._handle] = Queue()

    @property
    def handle(self):
        return self._handle

    def synchronize(self):
        GPU.need_context(LogicError)
        GPU.streams[self._handle].run()

    def __del__(self):
        released("stream")


class DeviceAllocation:
    def __init__(self, size):
        GPU.need_context(LogicError)
        if size > mem_get_info()[0]:
            raise MemoryError("cuMemAlloc failed: out of memory")
        self._address = address()
        GPU.memory[self._address] = np.zeros(size, np.uint8)

    def __int__(self):
        return self._address

    def free(self):
        del GPU.memory[self._address]
        released("free")


def mem_alloc(size):
    return DeviceAllocation(size)


def pagelocked_empty(shape, dtype):
    GPU.need_context(LogicError)
    return np.full(shape, np.nan, dtype)


def released(what):
    """Pycuda needs a context to release something in."""
    LOG.append(what if GPU.contexts else f"{what} without a context")


def _enqueue(work, stream):
    GPU.need_context(LogicError)
    GPU.streams[stream.handle].add(work)


def memcpy_htod_async(dest, src, stream=None):
    def copy():  # what is there when the work is done, not when it is asked for
        GPU.memory[int(dest)][: src.nbytes] = np.frombuffer(src.tobytes(), np.uint8)

    _enqueue(copy, stream)


def memcpy_dtoh_async(dest, src, stream=None):
    def copy():
        dest[...] = GPU.memory[int(src)][: dest.nbytes].view(dest.dtype).reshape(dest.shape)

    _enqueue(copy, stream)


restrict(globals(), api)
assert {x for x in globals() if callable(globals()[x]) and getattr(globals()[x], "__module__", "") == __name__} <= {
    *api[""],
    "_enqueue",
    "released",
}
