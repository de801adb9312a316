"""Engines on a real GPU: python -m pytest tests/gpu -rsP

What needs no engine runs on any CUDA machine with pycuda; the rest where TensorRT, or TensorRT for RTX, takes the card.
"""

import contextlib
import io
import os
import shutil
import threading

import numpy as np
import pytest
from htsat_edge.evaluation.metrics import snr_db
from htsat_edge.evaluation.playback import logits
from htsat_edge.export.build_trt import main
from htsat_edge.export.validate import cut
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.backends.trt import (
    TrtBackend,
    call,
    has_cudart,
    installed_flavour,
    load_cudart,
    load_tensorrt,
    open_device,
)
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle
from htsat_edge.runtime.models.engines import read_engine, read_passports

pytestmark = pytest.mark.gpu
CLIPS = 10_000
GROWTH = 64 * 2**20
"""Bytes that the device's memory may differ by, as others use it, too; a leak of 10 kB a clip is more."""
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
    return read_bundle(shutil.copytree(BUNDLED, folder, ignore=shutil.ignore_patterns("engines")))


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def engine(request, bundle):
    """TensorRT and an engine's bytes; its passport."""
    flavour = installed_flavour()
    if flavour is None:
        pytest.skip("no TensorRT is installed")
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        status = main([str(bundle.path), "--precision", request.param, "--batch", "1,1,4"])
    if status == 2 and flavour == "rtx" and "does not take the engine" in told.getvalue():
        pytest.skip(told.getvalue())  # TensorRT for RTX refuses a card of another kind
    assert status == 0, told.getvalue()
    (passport,) = (p for p in read_passports(bundle) if p.recipe.precision == request.param)
    return load_tensorrt(flavour), read_engine(bundle, passport), passport


@pytest.fixture(scope="module")
def clips(bundle):
    return cut(bundle.info)


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
        call(cudart.cudaStreamBeginCapture(stream.handle, mode))
        cuda.memcpy_htod_async(memory, there, stream)
        cuda.memcpy_dtoh_async(back, memory, stream)
        graph = call(cudart.cudaStreamEndCapture(stream.handle))
        launchable = call(cudart.cudaGraphInstantiate(graph, 0))
        for value in (1.0, 2.0):
            there[...] = value
            call(cudart.cudaGraphLaunch(launchable, stream.handle))
            stream.synchronize()
            assert (back == value).all()
        call(cudart.cudaGraphExecDestroy(launchable))
        call(cudart.cudaGraphDestroy(graph))
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


def test_answers_are_those_of_onnxruntime(engine, bundle, clips):
    reference = OrtBackend(bundle.graph("fp32"), bundle.info)
    trt, content, passport = engine
    backend = TrtBackend(trt, content, bundle.info)
    for size in (1, 3, 4, 9):
        batch = np.resize(clips, (size, *clips.shape[1:]))
        found, wanted = backend.infer(batch), reference.infer(batch)
        snr = snr_db(logits(wanted.framewise), logits(found.framewise))
        print(f"{passport.recipe.precision}, {size} clips: logits within {snr:.1f} dB")
        assert snr > {"fp32": 60, "fp16": 40, "int8": 30}[passport.recipe.precision]
    backend.close()


def test_a_cuda_graph_gives_the_same(engine, bundle, clips):
    if not has_cudart():
        pytest.skip("cuda.bindings is not installed")
    trt, content, passport = engine
    if passport.recipe.flavour == "rtx":
        pytest.skip("TensorRT for RTX has a way of its own to record graphs")
    plain, whole = (TrtBackend(trt, content, bundle.info, graph) for graph in (False, True))
    for clip in clips:
        assert same(plain.infer(clip[None]), whole.infer(clip[None]))
    assert same(plain.infer(clips[:4]), whole.infer(clips[:4]))
    assert same(plain.infer(clips[:1]), whole.infer(clips[:1]))
    whole.close()
    plain.close()


def test_a_worker_thread_runs_an_engine(engine, bundle, clips):
    trt, content, _ = engine
    found = []

    def work():
        backend = TrtBackend(trt, content, bundle.info)
        found.append(backend.infer(clips[:1]))
        backend.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    backend = TrtBackend(trt, content, bundle.info)
    assert same(found[0], backend.infer(clips[:1]))
    backend.close()


def test_the_runtime_takes_the_engine(engine, bundle, clips):
    latency = engine[2].latency
    print(f"{engine[2].recipe.precision}: p50 {latency.p50_ms} ms, p99 {latency.p99_ms} ms, {latency}")
    backend = open_backend(bundle, engine[2].recipe.precision, "tensorrt")
    assert np.isfinite(backend.infer(clips[:1]).framewise).all()
    backend.close()


def test_ten_thousand_clips_take_no_more_memory(engine, bundle, clips, device):
    trt, content, passport = engine
    backend = TrtBackend(trt, content, bundle.info, passport.latency.cuda_graph)

    def free():
        with device.current():
            return device.cuda.mem_get_info()[0]

    def resident():
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(100):
        backend.infer(clips[:1])
    before, resident_before = free(), resident()
    for i in range(CLIPS):
        backend.infer(clips[i % len(clips)][None])
    assert before - free() < GROWTH
    assert resident() - resident_before < RSS_GROWTH
    backend.close()
