"""TensorRT without a GPU, with the names of one version and no others. An engine is the graph, run by onnxruntime."""

import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from fake_gpu import DATA, GPU, LOG, enum, faults, read_api, restrict, trace

from htsat_edge.calibration.plain import round_in_float

__version__ = os.environ["FAKE_TENSORRT"]
OLD = __version__.startswith("8.")
api = read_api(__version__)
OPS = {f[:3]: {*(DATA / f"onnx-ops-{f}.txt").read_text().split()} for f in ("8.6", "10.1")}
"""The operations that the parsers of 8 and 10 know."""
MAGIC = b"fake engine\n"
LONGEST_BUILD_S = 120
"""A build that a test has left behind ends by itself."""

NetworkDefinitionCreationFlag = enum(api, "NetworkDefinitionCreationFlag")
BuilderFlag = enum(api, "BuilderFlag")
MemoryPoolType = enum(api, "MemoryPoolType")
float32, float16 = "float32", "float16"


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


def _fail(logger, message):
    logger.log(ILogger.ERROR, message)


class IProgressMonitor:
    def __init__(self):
        self._made = True


class INetworkDefinition:
    def __init__(self, flags):
        self._flags = flags
        self._model = None


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        self._shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    def __init__(self, content):
        self._content = content

    def serialize(self):
        return self._content + b"1"


class IHostMemory(bytes):
    pass


class IBuilderConfig:
    def __init__(self):
        self._flags = {BuilderFlag.TF32}
        self._pools = {}
        self._profiles = []
        self._cache = None
        self.builder_optimization_level = 3
        if "IProgressMonitor" in api[""]:
            self.progress_monitor = None

    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        self._pools[pool.name] = pool_size

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return 0

    def create_timing_cache(self, serialized):
        return None if serialized == b"garbage" else ITimingCache(serialized)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert isinstance(cache, ITimingCache)
        owner = f"{__version__} {os.environ.get('FAKE_GPU', 'Orin')} ".encode()
        if cache._content and not cache._content.startswith(owner):
            return False
        self._cache = ITimingCache(cache._content or owner)
        return True

    def get_timing_cache(self):
        return self._cache


class Builder:
    def __init__(self, logger):
        assert isinstance(logger, ILogger)
        if "begin" in faults():
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags=0):
        return INetworkDefinition({flag.name for flag in NetworkDefinitionCreationFlag if flags & 1 << int(flag)})

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        typed = "STRONGLY_TYPED" in network._flags or not hasattr(BuilderFlag, "FP16")
        flags = {flag.name for flag in config._flags}
        if typed and flags & {"FP16", "INT8"}:
            return _fail(self._logger, "a strongly typed network takes no precision flags")
        if not self._wait(config) or not config._profiles:
            return _fail(self._logger, "build cancelled")
        if "build" in faults():
            return _fail(self._logger, "Error Code 10: could not find any implementation for node {layers.0}")
        header = {
            "version": __version__,
            "gpu": os.environ.get("FAKE_GPU", "Orin"),
            "network": sorted(network._flags),
            "flags": sorted(flags),
            "pools": config._pools,
            "level": config.builder_optimization_level,
            "profile": config._profiles[0]._shapes["log_mel"],
            "salt": os.environ.get("FAKE_SALT"),
        }
        body = json.dumps(header).encode() + b"\n" + network._model
        return IHostMemory(MAGIC + hashlib.sha256(body).digest() + body)

    @staticmethod
    def _wait(config):
        """Build until the file that FAKE_BUILD_UNTIL names is there; return whether the build was not cancelled."""
        monitor = getattr(config, "progress_monitor", None)
        trace("build")
        if monitor is not None:
            assert monitor._made, "the base class must be initialised"
            monitor.phase_start("Building engine", None, LONGEST_BUILD_S * 100)
        going = True
        for step in range(LONGEST_BUILD_S * 100):
            going = monitor is None or monitor.step_complete("Building engine", step)
            if not going or Path(os.environ.get("FAKE_BUILD_UNTIL", "/")).exists():
                break
            time.sleep(0.01)
        if monitor is not None:
            monitor.phase_finish("Building engine")
        return going


class ParserError:
    def __init__(self, node, description):
        self._node, self._description = node, description

    def node(self):
        return self._node

    def desc(self):
        return self._description


class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._logger, self._errors = network, logger, []

    def supports_operator(self, op_name):
        return op_name in OPS.get(__version__[:3], {op_name})

    def parse(self, model):
        if OLD and "EXPLICIT_BATCH" not in self._network._flags:
            self._errors.append(ParserError(-1, "the network must have an explicit batch dimension"))
            return False
        found = onnx.load_from_string(model)
        halves = {x.name for x in found.graph.initializer if x.data_type == onnx.TensorProto.FLOAT16}
        for number, node in enumerate(found.graph.node):
            if OLD and node.op_type.endswith("quantizeLinear") and node.input[1] in halves:
                self._errors.append(ParserError(number, "scales must be float32"))
            if any(a.name == "refuse" for a in node.attribute):
                self._errors.append(ParserError(number, "Assertion failed:\n attribute refuse"))
        if OLD and found.opset_import[0].version > 17:
            self._errors.append(ParserError(-1, "opset is newer than 17"))
        self._network._model = model
        return not self._errors

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]


class Runtime:
    def __init__(self, logger):
        if "begin" in faults():
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def deserialize_cuda_engine(self, serialized):
        digest, body = serialized[len(MAGIC) : len(MAGIC) + 32], serialized[len(MAGIC) + 32 :]
        if not serialized.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
            return _fail(self._logger, "Serialization assertion magicTagRead == kMAGIC_TAG failed")
        header, _, model = body.partition(b"\n")
        header = json.loads(header)
        if header["version"] != __version__:
            return _fail(self._logger, f"the engine is of version {header['version']}, this library is {__version__}")
        if header["gpu"] != os.environ.get("FAKE_GPU", "Orin"):
            return _fail(self._logger, "the engine was built for another device")
        return ICudaEngine(self._logger, header, model)

    def __del__(self):
        released("runtime")


class ICudaEngine:
    def __init__(self, logger, header, model):
        self._logger, self._header, self._model = logger, header, model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as several of these run at once on a small machine
        exact = round_in_float(onnx.load_from_string(model))  # TensorRT rounds half precision; see there
        self._session = onnxruntime.InferenceSession(exact.SerializeToString(), options)
        self._tensors = {x.name: x.shape for x in [*self._session.get_inputs(), *self._session.get_outputs()]}

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    @property
    def device_memory_size(self):
        return 2**20

    @property
    def device_memory_size_v2(self):
        return 2**20

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_dtype(self, name):
        return float32

    def get_tensor_shape(self, name):
        return (-1, *self._tensors[name][1:])

    def get_tensor_profile_shape(self, name, profile_index):
        return [tuple(shape) for shape in self._header["profile"]]

    def create_execution_context(self):
        if "context" in faults():
            return _fail(self._logger, "Error Code 2: OutOfMemory (requested size was 1048576 bytes)")
        return IExecutionContext(self)

    def __del__(self):
        released("engine")


class IExecutionContext:
    def __init__(self, engine):
        self._engine, self._addresses, self._batch = engine, {}, None

    def set_input_shape(self, name, shape):
        least, _, most = (x[0] for x in self._engine._header["profile"])
        self._batch = shape[0]
        return least <= shape[0] <= most

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return memory in GPU.memory

    def execute_async_v3(self, stream_handle):
        if not GPU.contexts or self._batch is None or "execute" in faults():
            return bool(_fail(self._engine._logger, "Error Code 1: Cuda Runtime (an illegal memory access)"))
        trace("run")
        batch, stream = self._batch, GPU.streams[stream_handle]
        recorded = stream.recorded is not None

        def work():
            shape = (batch, *self._engine.get_tensor_shape("log_mel")[1:])
            log_mel = GPU.memory[self._addresses["log_mel"]][: 4 * int(np.prod(shape))].view(np.float32)
            names = [name for name in self._addresses if name != "log_mel"]
            found = self._engine._session.run(names, {"log_mel": log_mel.reshape(shape)})
            for name, value in zip(names, found, strict=True):
                value = spoil(value, recorded)
                GPU.memory[self._addresses[name]][: value.nbytes] = np.frombuffer(value.tobytes(), np.uint8)

        stream.add(work)
        return True

    def __del__(self):
        released("context")


def released(what):
    LOG.append(what if GPU.contexts else f"{what} without a context")


def spoil(value, recorded):
    if "batch" in faults() and len(value) > 1:
        return np.flip(value, axis=0)
    if "embedding" in faults() and value.ndim == 2 and value.shape[1] > 100:
        return -value
    if "frame_embedding" in faults() and value.ndim == 3 and value.shape[2] > 100:
        return np.flip(value, axis=1)  # whose mean over the steps is the same
    if "nan" in faults():
        return np.full_like(value, np.nan)
    if "noise" in faults():
        return value + np.random.default_rng(0).uniform(0, 0.2, value.shape).astype(np.float32)
    return value + np.float32(1e-3) if "graph" in faults() and recorded else value


restrict(globals(), api)


def __getattr__(name):
    raise AttributeError(f"TensorRT {__version__} has no {name}" if name not in api[""] else f"the fake has no {name}")


assert {"float32", "float16"} <= {*api[""]}
