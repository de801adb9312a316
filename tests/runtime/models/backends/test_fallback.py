"""From onnxruntime to an engine and back, while detection goes on; TensorRT and the GPU are fakes (tests/fakes)."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from htsat_edge.export.build_trt import main
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import open_backend, why_no_engine
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.fallback import FallbackBackend, build_command, start_build
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.engines import FOLDER, read_manifests
from htsat_edge.runtime.models.settings import Settings

THREADS = 1
"""As the fake engines have, whose scores are then the same to the bit."""
BUILD = ["--precision", "fp32", "--batch", "1,1,2", "--workspace-mib", "64", "--optimization-level", "1"]


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return load_bundle(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


@pytest.fixture
def foreign(bundle, fake_tensorrt, quick_validation):
    """A bundle with an engine of TensorRT 8.6.1, on a machine that has 10.3.0 by now."""
    fake_tensorrt("8.6.1")
    assert main([str(bundle.path), *BUILD]) == 0
    fake_tensorrt("10.3.0")
    return bundle


def events(bundle, backend, path, at=None):
    """Detect in a recording, block by block; `at` is a block's number and what to do before it."""
    file = AudioFile(path)
    detector = Detector(bundle.info, backend, file.sample_rate, Settings(threshold=0.5, hop_s=1.28))
    found = []
    for number, block in enumerate(file.blocks(file.sample_rate)):
        if at is not None and number == at[0]:
            at[1]()
        found += detector.push(block)
    return found + detector.flush()


def test_a_foreign_engine_is_replaced_while_detection_goes_on(foreign, farmyard, caplog):
    wanted = events(foreign, OrtBackend(foreign.graph("fp32"), foreign.info, THREADS), farmyard)
    assert len(wanted) > 4
    backend = open_backend(foreign, "fp32", build=True, threads=THREADS)
    assert (
        "it was built with TensorRT 8.6.1, but this machine has TensorRT 10.3.0; "
        "onnxruntime runs the model while an engine is built in the background"
    ) in caplog.text
    assert isinstance(backend._backend, OrtBackend)

    def wait():
        assert "an engine was built and validated" not in caplog.text
        backend._builder.wait(300)

    assert events(foreign, backend, farmyard, (18, wait)) == wanted
    assert "an engine was built and validated; it runs the model from now on" in caplog.text
    assert not isinstance(backend._backend, OrtBackend)
    backend.close()
    (manifest,) = read_manifests(foreign)  # the foreign one is gone, and the new one was asked for as it was
    recipe = manifest.recipe
    assert (recipe.tensorrt, recipe.batch, recipe.workspace_mib) == ("10.3.0", (1, 1, 2), 64)
    assert recipe.optimization_level == 1
    assert manifest.validation.logit_snr_db > 100
    caplog.clear()
    again = open_backend(foreign, build=True)  # the next start has it at once
    assert not isinstance(again._backend, OrtBackend)
    assert again._builder is None
    assert events(foreign, again, farmyard) == wanted
    again.close()
    assert caplog.text == ""


@pytest.mark.parametrize("fault", ["build", "noise", "context"])
def test_a_build_that_fails_leaves_onnxruntime_at_work(fault, foreign, farmyard, caplog, monkeypatch):
    wanted = events(foreign, OrtBackend(foreign.graph("fp32"), foreign.info, THREADS), farmyard)
    monkeypatch.setenv("FAKE_FAULTS", fault)
    backend = open_backend(foreign, "fp32", build=True, threads=THREADS)
    assert events(foreign, backend, farmyard, (12, lambda: backend._builder.wait(300))) == wanted
    assert "; onnxruntime still runs the model" in caplog.text
    assert isinstance(backend._backend, OrtBackend)
    assert backend._builder is None
    backend.close()


def test_what_a_builder_prints_is_logged(bundle, monkeypatch, caplog, wait_for):
    """Its stdout and stderr, by their weight: what the daemon itself prints are messages, or a live view."""
    code = "import sys; print('fp16: building'); print('int8: no graph', file=sys.stderr)"
    monkeypatch.setattr(
        "htsat_edge.runtime.models.backends.fallback.build_command", lambda *_: [sys.executable, "-c", code]
    )
    with caplog.at_level(logging.INFO):
        assert start_build(bundle, "tensorrt", None).wait() == 0
        wait_for(lambda: len(caplog.records) == 2)
    assert {(record.levelname, record.message) for record in caplog.records} == {
        ("INFO", "fp16: building"),
        ("WARNING", "int8: no graph"),
    }


def test_a_gpu_that_fails_gives_way_to_onnxruntime(
    bundle, farmyard, fake_tensorrt, quick_validation, monkeypatch, caplog
):
    fake = fake_tensorrt("10.3.0", FAULTS="bindings")
    assert main([str(bundle.path), *BUILD]) == 0
    wanted = events(bundle, OrtBackend(bundle.graph("fp32"), bundle.info, THREADS), farmyard)
    backend = open_backend(bundle, "fp32", build=True, threads=THREADS)
    fail = (14, lambda: monkeypatch.setenv("FAKE_FAULTS", "execute,bindings"))
    assert events(bundle, backend, farmyard, fail) == wanted
    assert "an illegal memory access); onnxruntime runs the model from now on" in caplog.text
    assert caplog.text.count("from now on") == 1
    assert fake.GPU.memory == {}
    backend.close()


class Broken:
    """A model that fails."""

    def infer(self, log_mel):
        raise HtsatEdgeError("it failed")

    def close(self):
        raise HtsatEdgeError("it failed at this, too")


def test_a_failure_on_onnxruntime_is_not_hidden():
    def none():
        raise AssertionError

    builder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    backend = FallbackBackend(Broken(), none, none, builder)
    with pytest.raises(HtsatEdgeError, match="it failed"):
        backend.infer(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(HtsatEdgeError, match="at this, too"):
        backend.close()
    assert builder.returncode is not None


def test_a_gpu_that_fails_at_closing_too():
    class Good:
        def infer(self, log_mel):
            return Scores(log_mel, log_mel, log_mel)

        def close(self):
            pass

    backend = FallbackBackend(Broken(), Good, Good, None)
    assert backend.infer(np.ones((1, 2, 3), np.float32)).framewise.shape == (1, 2, 3)
    backend.close()


def test_a_builder_that_does_not_stop_is_killed():
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    builder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    builder.stdout.readline()

    class Good:
        def close(self):
            pass

    FallbackBackend(Good(), Good, Good, builder, stop_s=0.1).close()
    builder.stdout.close()
    assert builder.returncode == -9


def test_closing_stops_the_builder_and_that_is_no_failure(foreign, monkeypatch, wait_for):
    trace = foreign.path / "trace"
    monkeypatch.setenv("FAKE_BUILD_UNTIL", str(foreign.path / "never"))
    monkeypatch.setenv("FAKE_TRACE", str(trace))
    backend = open_backend(foreign, "fp32", build=True, threads=THREADS)
    wait_for(trace.exists)
    builder = backend._builder
    backend.close()
    assert builder.returncode == 130
    (failed,) = (foreign.path / FOLDER).glob("*.failed")
    assert '"count":0' in failed.read_text()


def test_an_engine_is_built_again_with_the_same_options(foreign):
    command = build_command(foreign, "tensorrt", None)
    assert command[:6] == command_of("htsat_edge.export.build_trt", str(foreign.path))
    assert " ".join(command[6:]) == (
        "--background --flavour tensorrt --batch 1,1,2 --workspace-mib 64 --optimization-level 1 "
        "--budget 30.0 --precision fp32"
    )
    assert build_command(foreign, "rtx", None)[6:] == ["--background", "--flavour", "rtx", "--precision", "auto"]
    assert build_command(foreign, "tensorrt", "int8")[-2:] == ["--precision", "int8"]


def test_a_precision_of_engines_alone_begins_on_another_graph(foreign, monkeypatch):
    """The bundle has no fp16.onnx, but an fp16 engine can be built from fp32.onnx."""
    monkeypatch.setenv("FAKE_BUILD_UNTIL", str(foreign.path / "never"))
    backend = open_backend(foreign, "fp16", build=True)
    assert isinstance(backend._backend, OrtBackend)
    backend.close()
    with pytest.raises(HtsatEdgeError, match=r"has no fp16.onnx; precisions here: fp32"):
        open_backend(foreign, "fp16")
    with pytest.raises(HtsatEdgeError, match=r"has no cpu-int8.onnx"):  # and nothing is built
        open_backend(foreign, "cpu-int8", build=True)


@pytest.mark.parametrize("flavour", [None, "tensorrt"])
def test_where_nothing_can_be_built_the_log_is_quiet_unless_an_engine_exists(flavour, bundle, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("htsat_edge.runtime.models.backends.gpu.is_there", lambda: True)
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.installed_flavour", lambda: flavour)
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.MODULES", {"tensorrt": ("no_such_module",)})
    assert isinstance(open_backend(bundle), OrtBackend)
    assert caplog.text == ""
    assert isinstance(open_backend(bundle, build=True), OrtBackend)
    assert ("is not installed" in caplog.text) == (flavour is not None)
    caplog.clear()
    (bundle.path / FOLDER).mkdir()
    assert isinstance(open_backend(bundle), OrtBackend)
    assert caplog.text == ""
    monkeypatch.setattr("htsat_edge.runtime.models.engines.read_manifests", lambda bundle: ["one"])
    assert isinstance(open_backend(bundle), OrtBackend)
    assert "TensorRT for Python is not installed" in caplog.text
    caplog.clear()
    monkeypatch.setattr("htsat_edge.runtime.models.backends.gpu.is_there", lambda: False)
    assert isinstance(open_backend(bundle, build=True), OrtBackend)
    assert caplog.text == ""  # a PC without a GPU has nothing to install
    caplog.set_level(logging.INFO)  # as `listen` has it
    assert isinstance(open_backend(bundle), OrtBackend)
    assert "no engine is used: TensorRT for Python is not installed" in caplog.text
    assert why_no_engine(bundle, None).startswith("TensorRT for Python is not installed")
    monkeypatch.setattr("htsat_edge.runtime.models.engines.read_manifests", lambda bundle: [])
    assert why_no_engine(bundle, None) == ""
