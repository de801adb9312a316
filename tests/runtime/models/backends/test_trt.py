"""The backend against a fake TensorRT and GPU, which have the real names and no others."""

import re
import threading

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.ort import OrtBackend, open_session
from htsat_edge.runtime.models.bundle import load_bundle

VERSIONS = ("8.6.1", "10.3.0", "10.13.2", "10.16.1", "11.4.0")


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture
def compiled(bundle):
    """Compile fp32.onnx for 1 to 3 windows; return TensorRT and the engine's bytes."""

    def build(least=1, change=lambda graph: None):
        import onnx

        from htsat_edge.export.engine import build
        from htsat_edge.runtime.common.progress import Phases
        from htsat_edge.runtime.models.backends.trt import load_tensorrt
        from htsat_edge.runtime.models.engines import Gpu, Recipe

        trt = load_tensorrt("tensorrt")
        recipe = Recipe(
            flavour="tensorrt",
            tensorrt=trt.__version__,
            gpu=Gpu(name="Orin", compute_capability="8.7", sm_count=16),
            precision="fp32",
            graph="fp32",
            graph_sha256="",
            batch=(least, least, 3),
            workspace_mib=64,
            optimization_level=3,
        )
        model = onnx.load(bundle.graph("fp32"))
        change(model.graph)
        return trt, build(trt, model, recipe, (1024, 64), b"", Phases("")).engine

    return build


@pytest.fixture
def wanted(bundle):
    """Score windows on onnxruntime, all at once: the last bit depends on their number, and on that of threads."""
    session = open_session(bundle.graph("fp32"), 1)
    return lambda log_mel: Scores(*session.run(Scores._fields, {"log_mel": log_mel}))


def windows(count, seed=0):
    return np.random.default_rng(seed).normal(-40, 20, (count, 1024, 64)).astype(np.float32)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_it_returns_the_scores_of_the_engine(version, cuda_graph, fake_tensorrt, compiled, bundle, wanted):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake = fake_tensorrt(version)
    backend = TrtBackend(*compiled(), bundle.info, cuda_graph)
    held = []
    for count in (1, 3, 2, 1, 7, 3):  # also more than an engine takes
        found = backend.infer(windows(count, count))
        parts = [wanted(windows(count, count)[i : i + 3]) for i in range(0, count, 3)]
        same(found, [np.concatenate(x) for x in zip(*parts, strict=True)])
        held.append((count, [x.copy() for x in found], found))
    for _, copies, found in held:  # the result is the caller's to keep
        same(copies, found)
    backend.close()
    backend.close()
    # For each change of the batch size, within 7 windows as well.
    assert fake.LOG.count("record") == (7 if cuda_graph else 0)
    assert fake.LOG.count("destroy graph") == fake.LOG.count("record")
    assert not any("without a context" in x for x in fake.LOG)


def test_fewer_windows_than_the_engine_takes(fake_tensorrt, compiled, bundle, wanted):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake_tensorrt("10.3.0")
    backend = TrtBackend(*compiled(least=2), bundle.info)
    same(backend.infer(windows(1)), [x[:1] for x in wanted(np.concatenate([windows(1), windows(1)]))])
    backend.close()


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_an_engine_of_an_earlier_export_gives_no_embedding_of_steps(
    cuda_graph, fake_tensorrt, compiled, bundle, wanted, drop_frame_embedding
):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake_tensorrt("10.3.0")
    backend = TrtBackend(*compiled(change=drop_frame_embedding), bundle.info, cuda_graph)
    for count in (2, 5):  # in one run, and in two
        found = backend.infer(windows(count))
        assert found.frame_embedding is None
        parts = [wanted(windows(count)[i : i + 3]).outputs() for i in range(0, count, 3)]
        same(found[:3], [np.concatenate([part[name] for part in parts]) for name in found.outputs()])
    backend.close()


@pytest.mark.parametrize("faults", ["", "context", "execute", "record", "memory"])
def test_everything_is_released_in_order_after_errors_too(faults, fake_tensorrt, compiled, bundle, monkeypatch):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake = fake_tensorrt("10.3.0", FAULTS=faults)
    trt, engine = compiled()
    fake.LOG.clear()
    if faults == "memory":
        monkeypatch.setenv("FAKE_GPU_FREE", str(3 * 1024 * 64 * 4 + 100))  # for one of the five
    try:
        backend = TrtBackend(trt, engine, bundle.info, cuda_graph=True)
        try:
            backend.infer(windows(1))
        finally:
            backend.close()
    except HtsatEdgeError:
        assert faults
    else:
        assert not faults
    assert fake.GPU.memory == {}
    assert fake.GPU.contexts == []
    order = [x for x in fake.LOG if x not in ("record", "launch")]
    # The execution context before its engine, that before the runtime, and memory after what used it.
    wanted = ["destroy graph"] * (not faults) + ["context"] * (faults != "context") + ["engine", "runtime"]
    assert order == [*wanted, *{"context": [], "memory": ["free"]}.get(faults, ["free"] * 5 + ["stream"])]


def test_the_thread_that_opened_it_owns_it(fake_tensorrt, compiled, bundle, wanted):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake_tensorrt("10.3.0")
    made, errors = compiled(), []
    backend = TrtBackend(*made, bundle.info)

    def elsewhere():
        own = TrtBackend(*made, bundle.info)
        same(own.infer(windows(1)), wanted(windows(1)))
        own.close()
        try:
            backend.infer(windows(1))
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert errors == ["an engine may be called only by the thread that opened it, until it is closed"]
    backend.close()
    with pytest.raises(RuntimeError, match="until it is closed"):
        backend.infer(windows(1))


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"GPU_FREE": 2**20}, "the GPU is out of memory: log_mel needs 786432 bytes"),
        ({"FAULTS": "begin"}, "TensorRT cannot start: it gives no reason (pybind11::init"),
        ({"FAULTS": "context"}, "needs 1 MiB to run, and 1024 of the GPU's 1024 MiB are free: Error Code 2"),
        ({"GPU": "Thor"}, "TensorRT refuses the engine (6 MiB; 1024 MiB are free): the engine was built for an"),
        ({"FAULTS": "execute"}, "TensorRT failed: Error Code 1: Cuda Runtime (an illegal memory access)"),
        ({"FAULTS": "record"}, "the GPU failed: cudaErrorStreamCaptureInvalidated"),
        ({"GPU": ""}, "no GPU can be used: cuInit failed"),
    ],
)
def test_errors_quote_the_libraries(environment, message, fake_tensorrt, compiled, bundle, monkeypatch):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake_tensorrt("11.4.0")
    made = compiled()
    for name, value in environment.items():
        monkeypatch.setenv(f"FAKE_{name}", str(value))
    if environment == {"GPU_FREE": 2**20}:
        monkeypatch.setenv("FAKE_GPU_FREE", "500000")
    with pytest.raises(HtsatEdgeError, match=re.escape(message)):
        TrtBackend(*made, bundle.info, cuda_graph=True).infer(windows(1))


@pytest.mark.parametrize("damage", [lambda x: x[:1000], lambda x: x[:-1] + bytes([x[-1] ^ 1]), lambda x: b""])
def test_a_damaged_engine_is_refused(damage, fake_tensorrt, compiled, bundle):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake_tensorrt("10.3.0")
    trt, engine = compiled()
    with pytest.raises(HtsatEdgeError, match=r"TensorRT refuses the engine \(.*\): Serialization assertion"):
        TrtBackend(trt, damage(engine), bundle.info)


def test_an_engine_of_another_bundle_is_refused(fake_tensorrt, compiled, bundle):
    from htsat_edge.runtime.models.backends.trt import TrtBackend

    fake_tensorrt("10.3.0")
    other = bundle.info.model_copy(update={"labels": ["a", "b"]})
    with pytest.raises(
        HtsatEdgeError, match=r"the engine: its framewise has the shape \[32, 10\] .* 2 labels of model.json"
    ):
        TrtBackend(*compiled(), other)


def test_without_tensorrt_the_error_names_what_to_install(bundle, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.MODULES", {"tensorrt": ("no_such_module",)})
    with pytest.raises(HtsatEdgeError) as caught:
        open_backend(bundle, kind="tensorrt")
    assert str(caught.value) == (
        "TensorRT for Python is not installed; on a Jetson: sudo apt install python3-libnvinfer, and a venv made with "
        '--system-site-packages; on a PC: pip install "htsat-edge[rtx]", and build with --flavour rtx; '
        "without it, htsat-edge runs on onnxruntime"
    )
    assert isinstance(open_backend(bundle), OrtBackend)


def test_without_pycuda_the_error_names_what_to_install(bundle, fake_tensorrt, monkeypatch):
    import sys

    fake_tensorrt("10.3.0")
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(HtsatEdgeError, match=r"pycuda cannot be loaded: .*; pip install --upgrade pycuda, "):
        open_backend(bundle, kind="tensorrt")
    monkeypatch.delitem(sys.modules, "pycuda")


def test_a_tensorrt_that_cannot_be_loaded(bundle, tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HtsatEdgeError, match=r"tensorrt: cannot be loaded: libnvinfer.so.10: cannot open"):
        open_backend(bundle, kind="tensorrt")
