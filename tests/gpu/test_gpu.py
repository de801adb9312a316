"""Engines on a real GPU: python -m pytest tests/gpu -rsP

On any CUDA machine with pycuda and torch they run, with the network in torch in an engine's place; with engines, too,
where TensorRT, or TensorRT for RTX, supports the card.
"""

import contextlib
import copy
import io
import os
import shutil
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.evaluation.playback import logits
from htsat_edge.export.build_trt import main
from htsat_edge.export.validate import cut_windows
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.gpu import has_cudart, load_cudart, open_device, unwrap
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.backends.trt import TrtBackend, installed_flavour, load_tensorrt
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.engines import read_engine, read_manifests

pytestmark = pytest.mark.gpu
WINDOWS = 10_000
GROWTH = 64 * 2**20
"""Bytes that the device's memory may differ by, as others use it, too; a leak of 10 kB a window is more."""
RSS_GROWTH = 16 * 2**20


@pytest.fixture(scope="module")
def device():
    try:
        return open_device()
    except HtsatEdgeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bundle(device, tmp_path_factory):
    """The bundled model, without engines."""
    folder = tmp_path_factory.mktemp("bundles") / "bundled"
    return load_bundle(shutil.copytree(BUNDLED, folder, ignore=shutil.ignore_patterns("engines")))


class Loadable(NamedTuple):
    """What a backend loads, and what it must give."""

    precision: str
    trt: Any
    content: bytes
    infer: Callable
    """Scores windows as the engine ought to."""
    snr_db: float
    """The least SNR of the logits."""
    cuda_graph: bool
    """Whether it is used with a CUDA graph here."""
    flavour: str


@pytest.fixture(scope="module", params=["torch", "fp32", "fp16", "int8"])
def engine(request, bundle):
    """Return a network in torch in an engine's place, or an engine."""
    return stand_in(bundle) if request.param == "torch" else build(request.param, bundle)


def stand_in(bundle):
    torch = pytest.importorskip("torch")
    from htsat_edge.configs import CONFIGS
    from htsat_edge.export.stand_in import StandIn
    from htsat_edge.htsat.config import read_network
    from htsat_edge.htsat.network import HTSAT

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    config = read_network(CONFIGS / "networks" / "bundled.yaml")
    network = HTSAT(config.model_copy(update={"classes": len(bundle.info.labels)})).eval()

    def infer(windows):
        with torch.no_grad():
            return SimpleNamespace(framewise=reference(torch.from_numpy(windows)).framewise.numpy())

    trt, reference = StandIn(network, most=4), copy.deepcopy(network).cpu()
    return Loadable("torch", trt, b"", infer, 60, has_cudart(), "torch")


def build(precision, bundle):
    flavour = installed_flavour()
    if flavour is None:
        pytest.skip("no TensorRT is installed")
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = main([str(bundle.path), "--precision", precision, "--batch", "1,1,4"])
    if status == 2 and flavour == "rtx" and "refuses the engine" in errors.getvalue():
        pytest.skip(errors.getvalue())  # TensorRT for RTX refuses a card of another kind
    assert status == 0, errors.getvalue()
    (manifest,) = (p for p in read_manifests(bundle) if p.recipe.precision == precision)
    print(f"{precision}: {manifest.latency}")
    least_db = {"fp32": 60, "fp16": 40, "int8": 30}[precision]
    content, reference = read_engine(bundle, manifest), OrtBackend(bundle.graph("fp32"), bundle.info)
    graph = manifest.latency.cuda_graph
    return Loadable(precision, load_tensorrt(flavour), content, reference.infer, least_db, graph, flavour)


@pytest.fixture(scope="module")
def windows(bundle):
    return cut_windows(bundle.info)


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_buffers_and_a_stream(device):
    cuda, content = device.cuda, np.random.default_rng(0).normal(size=(4, 1024, 64)).astype(np.float32)
    with device.current():
        there, back = (cuda.pagelocked_empty(content.shape, np.float32) for _ in range(2))
        there[...] = content
        memory, stream = cuda.mem_alloc(content.nbytes), cuda.Stream()
        cuda.memcpy_htod_async(memory, there, stream)
        cuda.memcpy_dtoh_async(back, memory, stream)
        stream.synchronize()
        np.testing.assert_array_equal(back, content)
        memory.free()


def test_a_recorded_graph_does_what_was_recorded(device):
    if not has_cudart():
        pytest.skip("cuda.bindings is not installed")
    cuda, cudart = device.cuda, load_cudart()
    with device.current():
        there, back = (cuda.pagelocked_empty((1024,), np.float32) for _ in range(2))
        memory, stream = cuda.mem_alloc(there.nbytes), cuda.Stream()
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        unwrap(cudart.cudaStreamBeginCapture(stream.handle, mode))
        cuda.memcpy_htod_async(memory, there, stream)
        cuda.memcpy_dtoh_async(back, memory, stream)
        graph = unwrap(cudart.cudaStreamEndCapture(stream.handle))
        launchable = unwrap(cudart.cudaGraphInstantiate(graph, 0))
        for value in (1.0, 2.0):
            there[...] = value
            unwrap(cudart.cudaGraphLaunch(launchable, stream.handle))
            stream.synchronize()
            assert (back == value).all()
        unwrap(cudart.cudaGraphExecDestroy(launchable))
        unwrap(cudart.cudaGraphDestroy(graph))
        memory.free()


def test_the_context_from_a_worker_thread(device):
    found = []

    def work():
        with device.current():
            memory = device.cuda.mem_alloc(2**20)
            found.append(device.cuda.mem_get_info()[0])
            memory.free()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found


def test_answers_are_those_of_a_cpu(engine, bundle, windows):
    backend = TrtBackend(engine.trt, engine.content, bundle.info)
    for size in (1, 3, 4, 9):
        batch = np.resize(windows, (size, *windows.shape[1:]))
        found, wanted = backend.infer(batch), engine.infer(batch)
        snr = snr_db(logits(wanted.framewise), logits(found.framewise))
        print(f"{engine.precision}, {size} windows: logit SNR {snr:.1f} dB")
        assert snr > engine.snr_db
    backend.close()


def test_a_cuda_graph_gives_the_same(engine, bundle, windows):
    if not has_cudart():
        pytest.skip("cuda.bindings is not installed")
    if engine.flavour == "rtx":
        pytest.skip("TensorRT for RTX records graphs in its own way")
    plain, recorded = (TrtBackend(engine.trt, engine.content, bundle.info, graph) for graph in (False, True))
    for window in windows:
        assert same(plain.infer(window[None]), recorded.infer(window[None]))
    assert same(plain.infer(windows[:4]), recorded.infer(windows[:4]))
    assert same(plain.infer(windows[:1]), recorded.infer(windows[:1]))
    recorded.close()
    plain.close()


def test_a_worker_thread_runs_an_engine(engine, bundle, windows):
    found = []

    def work():
        backend = TrtBackend(engine.trt, engine.content, bundle.info)
        found.append(backend.infer(windows[:1]))
        backend.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    backend = TrtBackend(engine.trt, engine.content, bundle.info)
    assert same(found[0], backend.infer(windows[:1]))
    backend.close()


def test_the_runtime_opens_the_engine(engine, bundle, windows):
    if engine.precision == "torch":
        pytest.skip("the runtime opens engines alone")
    backend = open_backend(bundle, engine.precision, "tensorrt")
    assert np.isfinite(backend.infer(windows[:1]).framewise).all()
    backend.close()


def test_ten_thousand_windows_take_no_more_memory(engine, bundle, windows, device):
    backend = TrtBackend(engine.trt, engine.content, bundle.info, engine.cuda_graph)

    def free():
        with device.current():
            return device.cuda.mem_get_info()[0]

    def resident():
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(100):
        backend.infer(windows[:1])
    before, resident_before = free(), resident()
    for i in range(WINDOWS):
        backend.infer(windows[i % len(windows)][None])
    assert before - free() < GROWTH
    assert resident() - resident_before < RSS_GROWTH
    backend.close()
