"""From onnxruntime to an engine and back, while detection goes on; TensorRT and the GPU are fakes (tests/fakes)."""

import logging
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from htsat_edge.export.build_trt import main
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector, Settings
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import Scores, open_backend
from htsat_edge.runtime.models.backends.fallback import Standby, start_build
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import read_bundle
from htsat_edge.runtime.models.engines import FOLDER, read_passports

BUILD = ["--precision", "fp32", "--batch", "1,1,2", "--workspace-mib", "64", "--optimization-level", "1"]


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return read_bundle(shutil.copytree(tiny_bundle, tmp_path / "tiny"))


@pytest.fixture
def foreign(bundle, fake_tensorrt, monkeypatch):
    """A bundle with an engine of TensorRT 8.6.1, on a machine that has 10.3.0 by now."""
    monkeypatch.setattr("htsat_edge.export.validate.RUNS", 3)
    monkeypatch.setattr("htsat_edge.export.validate.WARM_UP", 1)
    fake_tensorrt("8.6.1")
    assert main([str(bundle.path), *BUILD]) == 0
    fake_tensorrt("10.3.0")
    return bundle


def events(bundle, backend, path, at=None):
    """Of a recording, block by block; `at` a block number something is done."""
    file = AudioFile(path)
    detector = Detector(bundle.info, backend, file.sample_rate, Settings(threshold=0.5))
    found = []
    for number, block in enumerate(file.blocks(file.sample_rate)):
        if at is not None and number == at[0]:
            at[1]()
        found += detector.push(block)
    return found + detector.close()


def test_a_foreign_engine_is_replaced_while_detection_goes_on(foreign, farmyard, caplog):
    wanted = events(foreign, OrtBackend(foreign.graph("fp32"), foreign.info), farmyard)
    assert len(wanted) > 4
    backend = open_backend(foreign, "fp32", build=True)
    assert "it is of TensorRT 8.6.1, and here is TensorRT 10.3.0; it is built in the background" in caplog.text
    assert isinstance(backend._backend, OrtBackend)

    def wait():
        assert "an engine is built and proven" not in caplog.text
        backend._builder.wait(60)

    assert events(foreign, backend, farmyard, (18, wait)) == wanted
    assert "an engine is built and proven, and runs the model from now on" in caplog.text
    assert not isinstance(backend._backend, OrtBackend)
    backend.close()
    (passport,) = read_passports(foreign)  # the foreign one is gone, and the new one was asked for as it was
    recipe = passport.recipe
    assert (recipe.tensorrt, recipe.batch, recipe.workspace_mib) == ("10.3.0", (1, 1, 2), 64)
    assert recipe.optimization_level == 1
    assert passport.check.logit_snr_db > 100
    caplog.clear()
    again = open_backend(foreign, build=True)  # the next start has it at once
    assert not isinstance(again._backend, OrtBackend)
    assert again._builder is None
    assert events(foreign, again, farmyard) == wanted
    again.close()
    assert caplog.text == ""


@pytest.mark.parametrize("fault", ["build", "noise", "context"])
def test_a_build_that_fails_leaves_onnxruntime_at_work(fault, foreign, farmyard, caplog, monkeypatch):
    wanted = events(foreign, OrtBackend(foreign.graph("fp32"), foreign.info), farmyard)
    monkeypatch.setenv("FAKE_FAULTS", fault)
    backend = open_backend(foreign, "fp32", build=True)
    assert events(foreign, backend, farmyard, (12, lambda: backend._builder.wait(60))) == wanted
    assert "; onnxruntime goes on running the model" in caplog.text
    assert isinstance(backend._backend, OrtBackend)
    assert backend._builder is None
    backend.close()


def test_a_gpu_that_fails_gives_way_to_onnxruntime(bundle, farmyard, fake_tensorrt, monkeypatch, caplog):
    monkeypatch.setattr("htsat_edge.export.validate.RUNS", 3)
    monkeypatch.setattr("htsat_edge.export.build_trt.has_cudart", lambda: False)
    fake = fake_tensorrt("10.3.0")
    assert main([str(bundle.path), *BUILD]) == 0
    wanted = events(bundle, OrtBackend(bundle.graph("fp32"), bundle.info), farmyard)
    backend = open_backend(bundle, "fp32", build=True)
    fail = (14, lambda: monkeypatch.setenv("FAKE_FAULTS", "execute"))
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
    standby = Standby(Broken(), none, none, builder)
    with pytest.raises(HtsatEdgeError, match="it failed"):
        standby.infer(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(HtsatEdgeError, match="at this, too"):
        standby.close()
    assert builder.returncode is not None


def test_a_gpu_that_fails_at_closing_too():
    class Good:
        def infer(self, log_mel):
            return Scores(log_mel, log_mel, log_mel)

        def close(self):
            pass

    standby = Standby(Broken(), Good, Good, None)
    assert standby.infer(np.ones((1, 2, 3), np.float32)).framewise.shape == (1, 2, 3)
    standby.close()


def test_a_builder_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.fallback.STOP_S", 0.5)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    builder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    builder.stdout.readline()

    class Good:
        def close(self):
            pass

    Standby(Good(), Good, Good, builder).close()
    builder.stdout.close()
    assert builder.returncode == -9


def test_closing_stops_the_builder_and_that_is_no_failure(foreign, monkeypatch):
    monkeypatch.setenv("FAKE_BUILD_S", "30")
    backend = open_backend(foreign, "fp32", build=True)
    end = time.monotonic() + 20
    while not list((foreign.path / FOLDER).glob("*.failed")):
        assert time.monotonic() < end
        time.sleep(0.01)
    builder = backend._builder
    backend.close()
    assert builder.returncode is not None
    (failed,) = (foreign.path / FOLDER).glob("*.failed")
    assert '"count":0' in failed.read_text()


def test_the_builder_is_told_what_to_build(foreign, monkeypatch):
    seen = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: seen.append(command))
    start_build(foreign, "tensorrt", None)
    start_build(foreign, "rtx", None)
    start_build(foreign, "tensorrt", "int8")
    assert seen[0][:4] == [sys.executable, "-m", "htsat_edge.export.build_trt", str(foreign.path)]
    assert " ".join(seen[0][4:]) == (
        "--background --flavour tensorrt --batch 1,1,2 --workspace-mib 64 --optimization-level 1 "
        "--budget 30.0 --precision fp32"
    )
    assert seen[1][4:] == ["--background", "--flavour", "rtx", "--precision", "auto"]
    assert seen[2][-2:] == ["--precision", "int8"]


def test_a_precision_of_engines_alone_begins_on_another_graph(foreign, monkeypatch, farmyard):
    """The bundle has no fp16.onnx, of which an engine is made all the same."""
    monkeypatch.setenv("FAKE_BUILD_S", "30")
    backend = open_backend(foreign, "fp16", build=True)
    assert isinstance(backend._backend, OrtBackend)
    backend.close()
    with pytest.raises(HtsatEdgeError, match=r"has no fp16.onnx; precisions here: fp32"):
        open_backend(foreign, "fp16")
    with pytest.raises(HtsatEdgeError, match=r"has no cpu-int8.onnx"):  # and nothing is built
        open_backend(foreign, "cpu-int8", build=True)


@pytest.mark.parametrize("flavour", [None, "tensorrt"])
def test_where_nothing_can_be_built_the_log_is_quiet_unless_an_engine_is_there(flavour, bundle, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.installed_flavour", lambda: flavour)
    monkeypatch.setattr("htsat_edge.runtime.models.backends.trt.MODULES", {"tensorrt": ("no_such_module",)})
    assert isinstance(open_backend(bundle), OrtBackend)
    assert caplog.text == ""
    assert isinstance(open_backend(bundle, build=True), OrtBackend)
    assert ("is not there" in caplog.text) == (flavour is not None)
    caplog.clear()
    (bundle.path / FOLDER).mkdir()
    assert isinstance(open_backend(bundle), OrtBackend)
    assert caplog.text == ""
    monkeypatch.setattr("htsat_edge.runtime.models.engines.read_passports", lambda bundle: ["one"])
    assert isinstance(open_backend(bundle), OrtBackend)
    assert "TensorRT for Python is not there" in caplog.text
