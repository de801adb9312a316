"""Which engines pass validation, and how they are launched; TensorRT and the GPU are fakes (tests/fakes)."""

import pytest

from htsat_edge.export import validate
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.engines import NoEngine, Platform, find_engines, read_manifests


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("noise", "dB, want 30"),
        ("nan", "some of its scores are not numbers"),
        ("batch", "dB, want 30"),
        ("embedding", "its embedding SNR to fp32 is -6.0 dB, want 20"),
        ("frame_embedding", "its embedding SNR to fp32 is 13.2 dB, want 20"),
    ],
)
def test_an_engine_that_differs_is_never_used(fault, message, bundle, build_trt, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0", FAULTS=fault)
    status, _, err = build_trt(bundle, "--precision", "fp32")
    assert status == 1
    assert "no engine passed validation: fp32: " in err
    assert message in err
    (manifest,) = read_manifests(bundle)
    assert message in manifest.rejection
    with pytest.raises(HtsatEdgeError, match=message):
        open_backend(bundle, kind="tensorrt")
    status, _, err = build_trt(bundle, "--precision", "fp32", "--background")
    assert status == 1
    assert f"python -m htsat_edge.export.build_trt {bundle.path} --precision fp32 builds one" in err
    monkeypatch.setenv("FAKE_FAULTS", "")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0


def test_a_stricter_budget_counts_for_an_engine_that_exists(bundled, build_trt, fake_tensorrt):
    fake_tensorrt("10.3.0")
    assert build_trt(bundled, "--precision", "int8")[0] == 0
    status, out, err = build_trt(bundled, "--precision", "int8", "--budget", 60)
    assert status == 1
    assert "already built on" in out
    assert "no engine passed validation: int8: its logit SNR to fp32 is 5" in err
    platform = Platform("tensorrt", "10.3.0", read_manifests(bundled)[0].recipe.gpu)
    with pytest.raises(NoEngine, match="dB, want 60"):
        find_engines(bundled, platform)


def test_a_cuda_graph_is_used_where_it_is_faster_and_the_same(bundle, build_trt, fake_tensorrt, monkeypatch):
    fake_tensorrt("10.3.0")
    measure = validate.measure

    def measured(backend, windows, size, cuda_graph):
        return measure(backend, windows, size, cuda_graph).model_copy(update={"p50_ms": 1.0 if cuda_graph else 2.0})

    monkeypatch.setattr("htsat_edge.export.validate.measure", measured)
    for level, (fault, used) in enumerate((("", True), ("graph", False), ("record", False))):
        monkeypatch.setenv("FAKE_FAULTS", fault)
        assert build_trt(bundle, "--precision", "fp32", "--optimization-level", level)[0] == 0
        (manifest,) = read_manifests(bundle)  # the one with other options was removed
        assert manifest.recipe.optimization_level == level
        assert manifest.latency.cuda_graph == used


def test_without_cuda_bindings_there_is_no_cuda_graph(bundle, build_trt, fake_tensorrt):
    fake = fake_tensorrt("10.3.0", FAULTS="bindings")
    assert build_trt(bundle, "--precision", "fp32")[0] == 0
    assert not read_manifests(bundle)[0].latency.cuda_graph
    assert "record" not in fake.LOG


def test_windows_are_cut_as_the_detector_cuts_them(bundle):
    windows = validate.cut_windows(bundle.info)
    assert windows.shape == (22, 1024, 64)
    hop, mirrored = 120, 64  # frames; every second window is a quarter of a step, 8 frames, early
    assert (windows[7][hop:-mirrored] == windows[8][: -hop - mirrored]).all()
    assert (windows[7][-mirrored:] == windows[7][-2 * mirrored : -mirrored][::-1]).all()


def test_measured_times_are_those_of_the_backend():
    class Backend:
        calls = 0

        def infer(self, log_mel):
            assert log_mel.shape == (3, 4, 2)
            self.calls += 1

    backend = Backend()
    latency = validate.measure(backend, validate.np.ones((1, 4, 2)), 3, cuda_graph=True)
    assert backend.calls == validate.RUNS + validate.WARM_UP == 250
    assert (latency.runs, latency.warm_up, latency.batch, latency.cuda_graph) == (200, 50, 3, True)
    assert 0 <= latency.p50_ms <= latency.p99_ms < 1000
