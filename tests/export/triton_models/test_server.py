"""What to_triton.py writes, on a real Triton Inference Server: the events of the detector, exactly."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

import numpy as np
import pytest
import soundfile
import soxr

from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle

http = pytest.importorskip("tritonclient.http", reason="needs tritonclient")
grpc = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")


from htsat_edge.export.to_triton import main  # noqa: E402  needs tritonclient

NAME, STREAMS = "bundled", 4
RATES = (8_000, 16_000, 22_050, 32_000, 44_100, 48_000)


@dataclass
class Recording:
    """Some of the farmyard at another rate and level, and how it is cut."""

    name: str
    samples: np.ndarray
    rate: int
    seed: int

    def parts(self):
        rng, ends = np.random.default_rng(self.seed), [0]
        while ends[-1] < len(self.samples):
            ends.append(min(ends[-1] + int(self.rate * rng.uniform(0.05, 3)), len(self.samples)))
        return [self.samples[begin:end] for begin, end in itertools.pairwise(ends)]


@pytest.fixture(scope="module")
def recordings(farmyard):
    """25 of them, of 3 to 10 s."""
    whole, rate = soundfile.read(farmyard, dtype="float32")
    rng = np.random.default_rng(0)

    def take(number):
        length = int(rate * rng.uniform(3, 10))
        begin = rng.integers(0, len(whole) - length)
        wanted = RATES[number % len(RATES)]
        samples = soxr.resample(whole[begin : begin + length] * rng.uniform(0.3, 1), rate, wanted)
        return Recording(f"recording {number}", np.asarray(samples, np.float32), wanted, number)

    return [take(number) for number in range(25)]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The model twice: as it is by default, and giving up streams after a second."""
    folder = tmp_path_factory.mktemp("repository")
    common = ["--out", str(folder), "--backend", "python", "--precision", "fp32"]
    assert main([*common, "--name", NAME, "--streams", str(STREAMS)]) == 0
    assert main([*common, "--name", "hasty", "--idle-s", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def server(tritonserver, repository):
    """One for all tests here."""
    with tritonserver(repository) as running:
        yield running


class Client:
    """Streams to the server, over HTTP or gRPC."""

    def __init__(self, server, library=http, model=f"{NAME}_events"):
        self._library, self._model = library, model
        self._client = library.InferenceServerClient(server.http if library is http else server.grpc)

    def send(self, stream, samples, rate, start=False, end=False):
        """Return the events that a block settles."""
        inputs = [
            self._library.InferInput("samples", [1, len(samples)], "FP32"),
            self._library.InferInput("sample_rate", [1, 1], "INT32"),
        ]
        inputs[0].set_data_from_numpy(np.ascontiguousarray(samples[None]))
        inputs[1].set_data_from_numpy(np.array([[rate]], np.int32))
        answer = self._client.infer(self._model, inputs, sequence_id=stream, sequence_start=start, sequence_end=end)
        (text,) = answer.as_numpy("events").ravel()
        return text.decode().splitlines()

    def hear(self, recording, stream=None):
        """Return the events of a whole recording."""
        parts, last = recording.parts(), len(recording.parts()) - 1
        return [
            line
            for number, part in enumerate(parts)
            for line in self.send(stream or recording.name, part, recording.rate, number == 0, number == last)
        ]

    def close(self):
        self._client.close()


@pytest.fixture(params=[http, grpc], ids=["http", "grpc"])
def client(request, server):
    made = Client(server, request.param)
    yield made
    made.close()


@pytest.fixture(scope="module")
def local():
    """The events of a recording, on this machine."""
    bundle = load_bundle()
    backend = open_backend(bundle, "fp32", "onnxruntime", threads=1)

    def hear(recording, stream=None):
        detector = Detector(bundle.info, backend, recording.rate, source=str(stream or recording.name))
        return [event.encoded for event in detector.push(recording.samples) + detector.flush()]

    yield hear
    backend.close()


def test_25_recordings_have_the_events_of_the_detector(server, recordings, local):
    """As many at once as the server hears, so that windows of several are scored together."""

    def hear(part):
        client = Client(server)  # each thread needs its own
        try:
            return {one.name: client.hear(one) for one in part}
        finally:
            client.close()

    with ThreadPoolExecutor(STREAMS) as threads:
        found = {
            name: x
            for part in threads.map(hear, [recordings[n::STREAMS] for n in range(STREAMS)])
            for name, x in part.items()
        }
    wanted = {one.name: local(one) for one in recordings}
    assert found == wanted
    assert sum(map(len, wanted.values())) > 25


def test_the_id_of_a_stream_may_be_a_number(client, recordings, local):
    assert client.hear(recordings[0], 17) == local(recordings[0], 17) != []


def test_two_interleaved_streams_do_not_mix(client, recordings, local):
    pair, found = recordings[1:3], {}
    waiting = {one.name: (one, one.parts()) for one in pair}
    first = set(waiting)
    while waiting:
        for name, (one, parts) in [*waiting.items()]:
            part = parts.pop(0)
            found.setdefault(name, []).extend(client.send(name, part, one.rate, name in first, not parts))
            first.discard(name)
            if not parts:
                del waiting[name]
    assert found == {one.name: local(one) for one in pair}


def test_a_stream_that_starts_again_forgets_what_it_heard(client, recordings, local):
    client.send("yard", recordings[3].samples, recordings[3].rate, start=True)
    assert client.hear(recordings[4], "yard") == local(recordings[4], "yard") != []


def test_the_end_may_come_without_samples(client, recordings, local):
    one = recordings[5]
    found = client.send("yard", one.samples, one.rate, start=True)
    found += client.send("yard", one.samples[:0], one.rate, end=True)
    assert found == local(one, "yard") != []


def test_an_idle_stream_goes_on_where_it_was(client, server, recordings, local, wait_for):
    """Triton's own limit is a second, which is less than many send at a time."""
    one, half = recordings[6], len(recordings[6].samples) // 2
    hasty = Client(server, model="hasty_events")
    found = client.send("yard", one.samples[:half], one.rate, start=True)
    hasty.send("yard", one.samples[:half], one.rate, start=True)
    begun = monotonic()
    wait_for(lambda: monotonic() > begun + 3)
    with pytest.raises(http.InferenceServerException, match="must specify the START flag"):
        hasty.send("yard", one.samples[half:], one.rate)
    found += client.send("yard", one.samples[half:], one.rate, end=True)
    assert found == local(one, "yard") != []
    hasty.close()


def test_one_stream_too_many_waits_until_another_ends(server, recordings, local):
    one = recordings[9]
    holding = Client(server)
    for number in range(STREAMS):
        holding.send(f"holding {number}", one.samples[:10], one.rate, start=True)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(lambda: Client(server).hear(one, "late"))
        with pytest.raises(TimeoutError):
            waiting.result(1)
        for number in range(STREAMS):
            holding.send(f"holding {number}", one.samples[:50_000], one.rate, end=True)
        assert waiting.result(120) == local(one, "late") != []
    holding.close()


def test_a_wrong_piece_is_refused_in_one_line_and_the_stream_goes_on(client, recordings, local):
    one, half = recordings[7], len(recordings[7].samples) // 2
    found = client.send("yard", one.samples[:half], one.rate, start=True)
    with pytest.raises(
        http.InferenceServerException, match=f"sequence yard: began with {one.rate} Hz, and now has 7 Hz"
    ):
        client.send("yard", one.samples[half:], 7)
    with pytest.raises(http.InferenceServerException, match="finite"):
        client.send("yard", np.full(10, np.inf, np.float32), one.rate)
    found += client.send("yard", one.samples[half:], one.rate, end=True)
    assert found == local(one, "yard") != []


def test_the_model_of_windows_has_the_scores_of_the_backend(server):
    bundle = load_bundle()
    rng = np.random.default_rng(0)
    windows = rng.normal(-40, 20, (5, bundle.info.frames, bundle.info.front_end.n_mels)).astype(np.float32)
    given = grpc.InferInput("log_mel", windows.shape, "FP32")
    given.set_data_from_numpy(windows)
    client = grpc.InferenceServerClient(server.grpc)
    found = client.infer(NAME, [given])
    backend = open_backend(bundle, "fp32", "onnxruntime")
    for name, wanted in backend.infer(windows).outputs().items():
        np.testing.assert_allclose(found.as_numpy(name), wanted, atol=1e-6, err_msg=name)
    labelled = client.infer(NAME, [given], outputs=[grpc.InferRequestedOutput("clipwise", class_count=1)])
    best = [row[0].decode().split(":")[2] for row in labelled.as_numpy("clipwise")]
    assert best == [bundle.info.labels[k] for k in backend.infer(windows).clipwise.argmax(1)]
    config = client.get_model_config(NAME, as_json=True)["config"]
    assert config["parameters"]["bundle_sha256"]["string_value"] == bundle.sha256("fp32")
    backend.close()
    client.close()


def test_a_killed_server_wants_the_stream_to_begin_again(server, recordings, local):
    client, one = Client(server, grpc), recordings[8]
    client.send("yard", one.samples, one.rate, start=True)
    server.kill()
    server.start()
    with pytest.raises(grpc.InferenceServerException, match="must specify the START flag"):
        client.send("yard", one.samples, one.rate)
    assert client.hear(one, "yard") == local(one, "yard") != []
    client.close()


def test_a_model_of_windows_that_the_server_lacks_is_said_in_one_line(tritonserver, tmp_path):
    """This server has no backend of ONNX; that is all it finds wrong with what is written for one."""
    assert main(["--out", str(tmp_path), "--precision", "fp32", "--name", NAME]) == 0
    with tritonserver(tmp_path, "--exit-on-error=false", "--strict-readiness=false") as partly:
        assert "failed to load 'bundled' version 1: Invalid argument: unable to find backend library" in partly.log
        client = Client(partly)
        with pytest.raises(
            http.InferenceServerException, match=r"bundled: .*not ready.*; begin the sequence again"
        ) as said:
            client.send("yard", np.zeros(32_000 * 11, np.float32), 32_000, start=True)
        assert len(str(said.value).splitlines()) == 1
        client.close()
