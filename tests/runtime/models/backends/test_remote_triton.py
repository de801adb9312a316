"""A real Triton Inference Server runs the model: the same events as on this device, also where it is killed."""

import numpy as np
import pytest
import soundfile

pytest.importorskip("tritonclient.grpc")

from htsat_edge.export.to_triton import main
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends.changing import notices_of
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.settings import Settings

RATES = (32_000, 44_100, 16_000)
both = pytest.mark.parametrize("scheme", ["http", "grpc"])


@pytest.fixture(scope="module")
def model():
    return load_model()


@pytest.fixture(scope="module")
def server(tritonserver, model, tmp_path_factory):
    """It serves the bundled model in full precision."""
    folder = tmp_path_factory.mktemp("triton") / "models"
    assert main([str(model.bundle.path), "--out", str(folder), "--backend", "python", "--precision", "fp32"]) == 0
    with tritonserver(folder) as running:
        yield running


@pytest.fixture(scope="module")
def recordings(farmyard):
    """25 of them, of 3 to 11 s, at several rates."""
    whole, rate = soundfile.read(farmyard, dtype="float32")
    rng = np.random.default_rng(0)
    parts = []
    for number in range(25):
        begin, length = rng.integers(0, len(whole) - 3 * rate), rng.integers(3 * rate, 11 * rate)
        parts.append((RATES[number % 3], whole[begin : begin + length] * np.float32(rng.uniform(0.3, 1))))
    return parts


def detect(model, backend, rate, samples, before=None):
    """Detect second by second; `before` has what to do before some of them."""
    detector = Detector(model.info, backend, rate, Settings(hop_s=1.28))
    found = []
    for number, begin in enumerate(range(0, len(samples), rate)):
        (before or {}).get(number, lambda: None)()
        found += detector.push(samples[begin : begin + rate])
    return found + detector.flush()


@pytest.fixture(scope="module")
def wanted(model, recordings):
    """What this device finds in them."""
    local = model.open("fp32", "onnxruntime", threads=1)
    found = [detect(model, local, *one) for one in recordings]
    local.close()
    return found


@both
def test_25_recordings_have_the_events_of_this_device(scheme, model, server, recordings, wanted):
    url = f"{scheme}://{getattr(server, scheme)}"
    remote = model.open(kind="remote", server=RemoteServer(url))
    assert [detect(model, remote, *one) for one in recordings] == wanted
    assert sum(map(len, wanted)) > 25
    remote.close()


@both
@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_server_that_fails_in_the_middle(scheme, fault, model, server, farmyard, wait_for):
    """No window is lost, both changes are published, and no window waits for longer than the hop."""
    samples, rate = soundfile.read(farmyard, dtype="float32")
    local = model.open("fp32", "onnxruntime", threads=1)
    wanted = detect(model, local, rate, samples)
    local.close()
    url = f"{scheme}://{getattr(server, scheme)}"
    backend = model.open_lasting(RemoteServer(url, timeout_s=5), "fp32", threads=1)
    wait_for(lambda: backend.ready)
    list(notices_of(backend))

    def fail():
        backend.hop_s = lambda: 1.28
        getattr(server, fault)()

    def come_back():
        assert not backend.ready
        backend.hop_s = lambda: 5.0
        {"kill": server.start, "freeze": server.thaw}[fault]()
        wait_for(lambda: backend.ready)

    try:
        assert detect(model, backend, rate, samples, {12: fail, 18: come_back}) == wanted
    finally:
        server.thaw()
    gone, back = list(notices_of(backend))[:2]
    assert gone.backend == "onnxruntime, fp32.onnx"
    assert ("has not answered within 1.28 s" in gone.text) == (fault == "freeze")
    assert back.backend == f"{url}, model {model.info.name}"
    backend.close()
