"""From a server to this device and back, while detection goes on; no window is lost."""

import re

import numpy as np
import pytest

pytest.importorskip("tritonclient")

from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.changing import backend_name, fallbacks_of, notices_of
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.model import find_remote, load_model
from htsat_edge.runtime.models.settings import Settings

both = pytest.mark.parametrize("scheme", ["http", "grpc"])


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture
def open_lasting(bundle):
    """Opens a model on a server and on this device; closed at the end."""
    opened = []

    def make(url, timeout_s=30.0):
        backend = load_model(bundle).open_lasting(RemoteServer(url, timeout_s=timeout_s), "fp32", threads=1)
        opened.append(backend)
        return backend

    yield make
    for backend in opened:
        backend.close()


def detect(bundle, backend, path, at=None):
    """Detect in a recording, block by block; `at` has what to do before blocks of these numbers."""
    file = AudioFile(path)
    detector = Detector(bundle.info, backend, file.sample_rate, Settings(threshold=0.5, hop_s=1.28))
    found = []
    for number, block in enumerate(file.blocks(file.sample_rate)):
        if number in (at or {}):
            at[number]()
        found += detector.push(block)
    return found + detector.flush()


@both
def test_a_server_that_goes_and_comes_back_changes_no_event(
    scheme, bundle, serve, open_lasting, farmyard, wait_for, short_looks, caplog
):
    wanted = detect(bundle, open_backend(bundle, "fp32", threads=1), farmyard)
    assert len(wanted) > 4
    served = serve(bundle, scheme)
    backend = open_lasting(served.url)
    assert list(notices_of(backend)) == []
    remote_name = f"{served.url}, model tiny"
    assert backend_name(backend) == remote_name
    asked = len(served.model.batches)

    def start():
        served.start()
        wait_for(lambda: backend.ready)

    assert detect(bundle, backend, farmyard, {13: served.stop, 20: start}) == wanted
    assert len(served.model.batches) > asked + 5
    gone, back = notices_of(backend)
    assert gone.backend == "onnxruntime, fp32.onnx"
    assert gone.text.startswith(f"{served.url}: cannot be reached: ")
    assert back.backend == remote_name
    assert back.text.startswith("it answers in ")
    assert (backend.fallbacks, backend_name(backend)) == (1, remote_name)
    assert [record.levelname for record in caplog.records if "from now on" in record.message] == ["WARNING"] * 2


@both
def test_a_server_that_hangs_costs_one_window_its_time(
    scheme, bundle, serve, open_lasting, farmyard, wait_for, short_looks
):
    wanted = detect(bundle, open_backend(bundle, "fp32", threads=1), farmyard)
    served = serve(bundle, scheme)
    backend = open_lasting(served.url)

    def hang():
        served.model.open.clear()
        backend.hop_s = lambda: 0.25  # less than the server may take

    assert detect(bundle, backend, farmyard, {14: hang}) == wanted
    (gone,) = notices_of(backend)
    assert re.fullmatch(rf"{served.url}(, model tiny)?: has not answered within 0\.25 s", gone.text)  # whoever is first
    backend.hop_s = lambda: 30.0
    served.model.open.set()
    wait_for(lambda: backend.ready)
    assert [change.backend for change in notices_of(backend)] == [f"{served.url}, model tiny"]


def test_a_server_that_is_not_there_at_the_start(bundle, serve, open_lasting, wait_for, short_looks):
    served = serve(bundle)
    served.stop()
    backend = open_lasting(served.url)
    (begun,) = notices_of(backend)
    assert begun.backend == backend_name(backend) == "onnxruntime, fp32.onnx"
    assert "cannot be reached" in begun.text
    served.start()
    wait_for(lambda: backend.ready)
    assert [change.backend for change in notices_of(backend)] == [f"{served.url}, model tiny"]


def test_a_server_with_another_model_is_not_used(bundle, serve, open_lasting, wait_for, short_looks, caplog):
    served = serve(bundle)
    served.model.parameters = {"bundle_sha256": "0" * 64}
    backend = open_lasting(served.url)
    (begun,) = notices_of(backend)
    assert "was made of another bundle" in begun.text
    count = len(served.model.tokens)
    wait_for(lambda: len(served.model.tokens) > count + 5)  # looks that go on in vain
    assert not backend.ready
    assert list(notices_of(backend)) == []
    assert caplog.text.count("was made of another bundle") == 2, "at the start, and once in a while"


def test_enrolled_sounds_are_around_it(bundle, serve, put_sound, tmp_path):
    from htsat_edge.runtime.enrolment.library import Library

    channels = open_backend(bundle, "fp32", threads=1).infer(np.zeros((1, 1024, 64), np.float32)).embedding.shape[1]
    put_sound(Library(tmp_path / "sounds", bundle), "Kettle", np.zeros(channels, np.float32))
    served = serve(bundle)
    model = load_model(bundle, tmp_path / "sounds")
    for backend, has_local in (
        (model.open_lasting(RemoteServer(served.url, timeout_s=30), "fp32", threads=1), True),
        (model.open(kind="remote", server=RemoteServer(served.url)), False),
    ):
        windows = np.zeros((2, 1024, 64), np.float32)
        assert backend.infer(windows).framewise.shape == (2, 32, 11)
        assert "frame_embedding" in served.model.asked[-1]
        assert backend_name(backend) == f"{served.url}, model tiny"
        assert (find_remote(backend) is not None, fallbacks_of(backend)) == (has_local, 0)
        backend.close()
