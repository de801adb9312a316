"""From a server to this device and back, while detection goes on; no window is lost."""

import re
import threading

import numpy as np
import pytest

pytest.importorskip("tritonclient")

from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.backends.changing import backend_name, fallbacks_of, notices_of, present_backend
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.backends.remote_fallback import RemoteFallback
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.model import find_remote, load_model
from htsat_edge.runtime.models.settings import Settings

both = pytest.mark.parametrize("scheme", ["http", "grpc"])


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


@pytest.fixture
def short_looks(monkeypatch):
    """Looks for the server every few milliseconds, and believes it soon."""
    short = {"FIRST_PROBE_S": 0.01, "LONGEST_PROBE_S": 0.05, "FIRST_STEADY_S": 0.05, "BEGIN_S": 60.0}
    for name, seconds in short.items():
        monkeypatch.setattr(f"htsat_edge.runtime.models.backends.remote_fallback.{name}", seconds)


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
    waits = []

    def hang():
        served.model.open.clear()
        backend.hop_s = lambda: waits.append(0.25) or 0.25  # less than the server may take

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
    assert caplog.text.count("was made of another bundle") <= 2


def test_enrolled_sounds_are_around_it(bundle, serve, put_sound, tmp_path):
    from htsat_edge.runtime.enrolment.library import Library

    channels = open_backend(bundle, "fp32", threads=1).infer(np.zeros((1, 1024, 64), np.float32)).embedding.shape[1]
    put_sound(Library(tmp_path / "sounds", bundle), "Kettle", np.zeros(channels, np.float32))
    served = serve(bundle)
    model = load_model(bundle, tmp_path / "sounds")
    for backend in (
        model.open_lasting(RemoteServer(served.url, timeout_s=30), "fp32", threads=1),
        model.open(kind="remote", server=RemoteServer(served.url)),
    ):
        windows = np.zeros((2, 1024, 64), np.float32)
        assert backend.infer(windows).framewise.shape == (2, 32, 11)
        assert "frame_embedding" in served.model.asked[-1]
        assert backend_name(backend) == f"{served.url}, model tiny"
        assert (find_remote(backend) is not None, fallbacks_of(backend)) == (find_remote(backend) is not None, 0)
        backend.close()


class Stub:
    """A model that a test has answer, fail or wait; on a server or on this device."""

    def __init__(self, name):
        self.name, self.timeout_s, self.problem, self.closed = name, 30.0, None, False
        self.inferred, self.before = 0, lambda: None

    def infer(self, log_mel):
        self.before()
        self.inferred += 1
        if self.problem is not None:
            raise self.problem
        return Scores(log_mel, log_mel, log_mel)

    def close(self):
        self.closed = True


WINDOW = np.zeros((1, 2, 3), np.float32)


@pytest.fixture
def stubs():
    """A server and this device, both stubs, with a clock that a test sets."""
    made = []

    class Made:
        def __init__(self, timeout_s=30.0):
            self.server, self.local, self.now = Stub("server"), Stub("local"), 1000.0
            self.connections = 0
            self.backend = RemoteFallback(self.connect, self.local, WINDOW, timeout_s, lambda: self.now)
            made.append(self.backend)

        def connect(self):
            self.connections += 1
            return self.server

        def fall(self):
            self.server.problem = NotReadyError("gone")
            self.backend.infer(WINDOW)
            assert not self.backend.ready
            self.server.problem = None

    yield Made
    for backend in made:
        backend.close()


def test_one_that_comes_and_goes_is_soon_not_believed(stubs, wait_for, short_looks, monkeypatch):
    """Each change is published, so there must be few."""
    for name, seconds in {"FIRST_STEADY_S": 10.0, "LONGEST_STEADY_S": 40.0, "FORGIVEN_S": 100.0}.items():
        monkeypatch.setattr(f"htsat_edge.runtime.models.backends.remote_fallback.{name}", seconds)
    made = stubs()
    made.fall()
    wait_for(lambda: made.backend.ready)  # the first time, one answer is enough
    for steady_s in (10, 20, 40, 40):
        made.now += 1
        made.fall()
        probes = made.server.inferred
        wait_for(lambda known=probes: made.server.inferred > known + 3)
        made.now += steady_s - 0.5
        probes = made.server.inferred
        wait_for(lambda known=probes: made.server.inferred > known + 3)
        assert not made.backend.ready
        made.now += 0.5
        wait_for(lambda: made.backend.ready)
    made.now += 101  # it has done for long
    made.fall()
    wait_for(lambda: made.backend.ready)
    assert made.backend.fallbacks == 6
    changes = list(made.backend.notices())
    assert [change.backend for change in changes] == ["local", "server"] * 6


def test_one_failure_begins_the_steady_time_again(stubs, wait_for, short_looks, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.remote_fallback.FIRST_STEADY_S", 10.0)
    made = stubs()
    made.fall()
    wait_for(lambda: made.backend.ready)
    made.fall()
    known = made.server.inferred
    wait_for(lambda: made.server.inferred > known + 3)
    made.now += 9
    made.server.problem = NotReadyError("gone again")
    connections = made.connections
    wait_for(lambda: made.connections > connections + 1)
    made.server.problem = None
    known = made.server.inferred
    wait_for(lambda: made.server.inferred > known + 3)
    made.now += 9
    known = made.server.inferred
    wait_for(lambda: made.server.inferred > known + 3)
    assert not made.backend.ready
    made.now += 1
    wait_for(lambda: made.backend.ready)


@pytest.mark.parametrize("error", [HtsatEdgeError("wrong"), ValueError("not ours"), MemoryError()])
def test_whatever_fails_at_the_server_is_scored_here(error, stubs, wait_for, short_looks):
    made = stubs()
    made.server.problem = error
    assert made.backend.infer(WINDOW + 7).framewise[0, 0, 0] == 7
    made.server.problem = None
    wait_for(lambda: made.backend.ready)
    assert made.backend.infer(WINDOW + 8).framewise[0, 0, 0] == 8


def test_an_answer_that_comes_late_is_of_no_other_window(stubs, wait_for, short_looks):
    made = stubs(timeout_s=0.05)
    go, begun = threading.Event(), threading.Event()

    def wait():
        begun.set()
        go.wait()

    made.server.before = wait
    assert made.backend.infer(WINDOW + 1).framewise[0, 0, 0] == 1
    assert begun.is_set()
    assert made.backend.infer(WINDOW + 2).framewise[0, 0, 0] == 2
    made.server.before = lambda: None
    go.set()
    wait_for(lambda: made.backend.ready)
    assert made.backend.infer(WINDOW + 3).framewise[0, 0, 0] == 3


def test_the_server_is_tried_with_what_there_is_to_do(stubs, wait_for, short_looks):
    made = stubs()
    seen = []
    infer = made.server.infer
    made.server.infer = lambda log_mel: (seen.append(log_mel.shape), infer(log_mel))[1]
    made.server.problem = NotReadyError("gone")
    windows = np.ones((5, 2, 3), np.float32)
    made.backend.infer(windows)
    made.backend.infer(windows)
    wait_for(lambda: seen[-1] == (5, 2, 3))
    made.server.problem = None
    wait_for(lambda: made.backend.ready)


def test_a_server_that_takes_too_long_is_not_used_again(stubs, wait_for, short_looks):
    made = stubs(timeout_s=0.5)
    made.fall()
    made.server.before = lambda: setattr(made, "now", made.now + 0.6)
    wait_for(lambda: made.backend.ready or made.connections > 3)
    count = made.connections
    wait_for(lambda: made.connections > count + 3)
    made.server.before = lambda: setattr(made, "now", made.now + 0.4)
    wait_for(lambda: made.backend.ready)


def test_a_failure_on_this_device_is_not_hidden(stubs, short_looks):
    made = stubs()
    made.server.problem = NotReadyError("gone")
    made.local.problem = HtsatEdgeError("it failed")
    with pytest.raises(HtsatEdgeError, match="it failed"):
        made.backend.infer(WINDOW)


def test_closing_ends_all_of_it(stubs, wait_for, short_looks):
    made = stubs()
    thread = made.backend._thread
    made.backend.close()
    assert not thread.is_alive()
    assert made.server.closed
    assert made.local.closed
    assert present_backend(made.backend) is not None


def test_a_first_look_that_ends_late_is_reported(stubs, wait_for, short_looks, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.remote_fallback.BEGIN_S", 0.01)
    go = threading.Event()

    class Late(stubs):
        def connect(self):
            go.wait()
            return super().connect()

    made = Late()
    go.set()
    wait_for(lambda: made.backend.ready)
    assert [change.backend for change in made.backend.notices()] == ["local", "server"]


def test_a_fall_is_reported_before_the_server_is_looked_for(stubs, short_looks, monkeypatch):
    """Its return could be reported first."""
    made = stubs()
    used, report = [], made.backend._report
    monkeypatch.setattr(made.backend, "_report", lambda *what: (used.append(made.backend.ready), report(*what)))
    made.server.problem = NotReadyError("gone")
    made.backend.infer(WINDOW)
    assert used[0]
