"""A model on a server, over HTTP and gRPC: the scores, and what is wrong with a server in one line."""

import logging
import math
import socket
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("tritonclient")

from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError, ServerError
from htsat_edge.runtime.models.backends import kserve
from htsat_edge.runtime.models.backends.kserve import RemoteServer
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.backends.remote import RemoteBackend, open_remote
from htsat_edge.runtime.models.bundle import load_bundle

both = pytest.mark.parametrize("scheme", ["http", "grpc"])


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


def draw(bundle, count):
    shape = count, bundle.info.frames, bundle.info.front_end.n_mels
    return np.random.default_rng(0).normal(-40, 10, shape).astype(np.float32)


def connect(bundle, served, **more):
    server = RemoteServer(served.url, **{"timeout_s": 60.0, **more})
    return RemoteBackend(server, bundle.info, bundle.sha256("fp32"))


@both
def test_the_scores_are_those_of_this_device(scheme, bundle, serve):
    served, windows = serve(bundle, scheme), draw(bundle, 11)
    remote = connect(bundle, served)
    found, wanted = remote.infer(windows), OrtBackend(bundle.graph("fp32"), bundle.info, 1).infer(windows)
    assert served.model.batches[-2:] == [8, 3]
    for name, x in wanted.outputs().items():
        np.testing.assert_array_equal(found.outputs()[name], x)
    one, none = remote.infer(windows[:1]), remote.infer(windows[:0])
    one.framewise[:] = 0  # the caller owns it
    assert none.framewise.shape == (0, *wanted.framewise.shape[1:])
    assert remote.name == f"{served.url}, model {bundle.info.name}"
    with pytest.raises(ValueError, match="want log_mel of shape"):
        remote.infer(windows[:, :5])
    remote.close()


@both
def test_half_precision_and_a_limit_of_the_servers_own(scheme, bundle, serve):
    served, windows = serve(bundle, scheme), draw(bundle, 5)
    served.model.kind, served.model.most = "FP16", 2
    remote = connect(bundle, served)
    found = remote.infer(windows).framewise
    assert served.model.batches[-3:] == [2, 2, 1]
    wanted = OrtBackend(bundle.graph("fp32"), bundle.info, 1).infer(windows).framewise
    assert found.dtype == np.float32
    assert 0 < np.abs(found - wanted).max() < 0.02
    remote.close()


@pytest.mark.parametrize("has", [{"parameters": None}, {"most": 64}])
@both
def test_a_server_without_a_configuration_or_of_a_higher_limit(scheme, has, bundle, serve):
    """KServe v2 has none: it is Triton's."""
    served = serve(bundle, scheme)
    vars(served.model).update(has)
    remote = connect(bundle, served)
    assert len(remote.infer(draw(bundle, 9)).framewise) == 9
    assert served.model.batches[-2:] == [8, 1]
    remote.close()


@both
def test_frame_embedding_is_asked_for_only_where_it_is_needed(scheme, bundle, serve):
    served = serve(bundle, scheme)
    remote = RemoteBackend(RemoteServer(served.url, timeout_s=60), bundle.info, bundle.sha256("fp32"), False)
    assert remote.infer(draw(bundle, 1)).frame_embedding is None
    assert served.model.asked[-1] == ["framewise", "clipwise", "embedding"]
    remote.close()


@both
def test_a_token_is_sent_and_in_no_error(scheme, bundle, serve, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    served = serve(bundle, scheme)
    served.model.token = "hunter2"
    remote = connect(bundle, served, token="hunter2")
    remote.infer(draw(bundle, 1))
    remote.close()
    assert set(served.model.tokens) == {"Bearer hunter2"}
    with pytest.raises(HtsatEdgeError, match=r"refuses this device .*: model\.remote\.token must be") as raised:
        connect(bundle, served, token="swordfish")
    assert not isinstance(raised.value, NotReadyError)
    with pytest.raises(HtsatEdgeError, match="ASCII"):
        connect(bundle, served, token="schwertfisché")
    said = f"{raised.value} {raised.value.__cause__} {caplog.text} {capfd.readouterr()}"
    said += repr(RemoteServer("http://x:1", token="swordfish"))
    assert "swordfish" not in said
    assert "hunter2" not in said


@both
def test_a_server_that_is_gone_comes_back(scheme, bundle, serve):
    served, windows = serve(bundle, scheme), draw(bundle, 1)
    remote = connect(bundle, served)
    served.stop()
    with pytest.raises(NotReadyError, match="cannot be reached: "):
        remote.infer(windows)
    with pytest.raises(NotReadyError, match=f"^{served.url}: cannot be reached: ") as raised:
        connect(bundle, served)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 360
    served.start()
    again = connect(bundle, served)  # at once: gRPC would wait
    again.infer(windows)
    again.close()
    remote.close()


@both
def test_a_server_that_does_not_answer(scheme, bundle, serve):
    served = serve(bundle, scheme)
    remote = connect(bundle, served)
    served.model.open.clear()
    remote.timeout_s = 0.2
    with pytest.raises(NotReadyError, match=rf"^{served.url}: has not answered within 0\.2 s$"):
        remote.infer(draw(bundle, 1))
    served.model.open.set()
    remote.timeout_s = 60
    remote.infer(draw(bundle, 1))  # whatever came late is not taken for this answer
    remote.close()


@both
def test_a_port_on_which_nobody_speaks(scheme, bundle, monkeypatch):
    """It accepts connections, and that is all."""
    monkeypatch.setattr("htsat_edge.runtime.models.backends.remote.LOOK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(NotReadyError, match=r"has not answered within 0\.2 s"):
            RemoteBackend(RemoteServer(url), bundle.info, bundle.sha256("fp32"))


def test_an_answer_that_drips_is_late(bundle, serve, monkeypatch):
    """The limit is for all of an answer, not for each of its parts."""
    monkeypatch.setattr("htsat_edge.runtime.models.backends.remote.LOOK_S", 0.3)
    ended = threading.Event()

    def drip():
        connection, _ = listening.accept()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not ended.wait(0.02):
            connection.sendall(b" ")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with pytest.raises(NotReadyError, match=r"has not answered within 0\.3 s"):
                RemoteBackend(RemoteServer(url), bundle.info, bundle.sha256("fp32"))
        finally:
            ended.set()
            thread.join()


def replaced(name, change):
    """Return what changes one of the outputs."""
    return lambda found: {**found, name: change(found[name])}


def without_a_number(x):
    x = x.copy()
    x.flat[5] = math.nan
    return x


@both
def test_another_model_than_the_bundles(scheme, bundle, serve, monkeypatch):
    served, closed, close = serve(bundle, scheme), [], kserve.KServeClient.close
    monkeypatch.setattr(kserve.KServeClient, "close", lambda client: (closed.append(client), close(client)))
    served.model.parameters = {"bundle_sha256": "0" * 64}
    with pytest.raises(HtsatEdgeError, match=r"another bundle \(fp32.onnx 000000000000 there, [0-9a-f]{12} here"):
        connect(bundle, served)
    with pytest.raises(HtsatEdgeError, match="cannot run other: Request for unknown model"):
        connect(bundle, served, model="other")
    served.model.parameters = {}
    served.model.info = bundle.info.model_copy(update={"labels": bundle.info.labels[1:]})
    with pytest.raises(HtsatEdgeError, match=r"its framewise has the shape \[32, 9\].* it must be \[32, 10\]"):
        connect(bundle, served)
    served.model.info = bundle.info
    for name, value, text in (
        ("batch", 4, "takes 4 windows, never fewer"),
        ("kind", "INT8", "its log_mel is INT8, want float32 or float16"),
    ):
        served.model.__dict__[name] = value
        with pytest.raises(HtsatEdgeError, match=text):
            connect(bundle, served)
        served.model.batch, served.model.kind = -1, "FP32"
    assert len({*closed}) == 5, "a look that fails leaves no connection: there may be one every few seconds"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replaced("framewise", lambda x: x[:, 1:]), r"its framewise has the shape \[31, 10\]"),
        (replaced("framewise", lambda x: x[:, :0]), r"its framewise has the shape \[0, 10\]"),
        (replaced("framewise", without_a_number), "gives scores that are no numbers"),
        (replaced("frame_embedding", without_a_number), "gives scores that are no numbers"),
        (replaced("framewise", lambda x: x + 0.6), "gives scores that are not from 0 to 1; are they logits?"),
        (replaced("framewise", lambda x: x - 0.6), "gives scores that are not from 0 to 1; are they logits?"),
        (replaced("embedding", lambda x: x[:, :, None]), r"its embedding has the shape \[\d+, 1\]"),
        (replaced("clipwise", lambda x: x[0, 0]), "has answered for other windows"),
        (replaced("clipwise", lambda x: x[1:]), "has answered for other windows"),
        (lambda found: {"framewise": found["framewise"]}, "has answered for other windows"),
    ],
)
@both
def test_an_answer_that_is_none(scheme, change, text, bundle, serve):
    served = serve(bundle, scheme)
    remote = connect(bundle, served)
    served.model.change = change
    with pytest.raises(ServerError, match=text):
        remote.infer(draw(bundle, 2))
    remote.close()


NO_FLOATS = {"name": "framewise", "datatype": "FP32", "shape": [1], "data": ["x"]}


@pytest.mark.parametrize(
    ("place", "answer"),
    [
        *(("", answer) for answer in (None, [], {"inputs": None, "outputs": []})),
        *(("/config", answer) for answer in (None, [], {"config": None}, {"max_batch_size": "x"})),
        *(("/config", {"parameters": answer}) for answer in ("x", {"precision": None}, {"precision": "fp32"})),
        *(("/infer", answer) for answer in (None, [], {"outputs": [{}]}, {"outputs": [NO_FLOATS]})),
    ],
)
def test_an_answer_of_another_form(place, answer, bundle, serve):
    served = serve(bundle)
    served.model.instead[place] = answer
    with pytest.raises(ServerError, match=f"^{served.url}: does not answer as KServe v2 wants it;"):
        connect(bundle, served).infer(draw(bundle, 1))


@pytest.mark.parametrize(("score", "wanted"), [(-0.004, 0), (1.004, 1)])
def test_scores_that_the_server_has_rounded(score, wanted, bundle, serve):
    served = serve(bundle)
    remote = connect(bundle, served)
    served.model.change = replaced("framewise", lambda x: np.full_like(x, score))
    assert np.all(remote.infer(draw(bundle, 1)).framewise == wanted)
    remote.close()


def test_a_configuration_that_says_little(bundle, serve):
    served = serve(bundle)
    parameters = {"bundle_sha256": {}, "precision": {"string_value": None}}
    for config in ({"max_batch_size": -3, "parameters": None}, {"max_batch_size": None, "parameters": parameters}):
        served.model.instead["/config"] = config
        remote = connect(bundle, served)
        assert (len(remote.infer(draw(bundle, 3)).framewise), remote.precision) == (3, None)
        remote.close()
    served.model.instead["/config"] = {"parameters": {"bundle_sha256": {"string_value": 5}}}
    with pytest.raises(HtsatEdgeError, match=r"another bundle \(fp32\.onnx 5 there"):
        connect(bundle, served)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "does not answer as KServe v2 wants it"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\n<html", "cannot be reached: it answers 502"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be reached: "),
    ],
)
def test_something_else_that_answers(answer, text, bundle):
    def serve_one():
        connection, _ = listening.accept()
        with connection:
            connection.recv(10_000)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve_one)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(HtsatEdgeError, match=text):
            RemoteBackend(RemoteServer(url), bundle.info, bundle.sha256("fp32"))
        thread.join()


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_only_a_server_with_a_known_certificate_is_believed(scheme, bundle, serve, certificate, tmp_path):
    served = serve(bundle, scheme, certificate)
    remote = connect(bundle, served, ca_file=certificate.crt, token="hunter2")
    assert len(remote.infer(draw(bundle, 1)).framewise) == 1
    remote.close()
    served.model.tokens.clear()
    with pytest.raises(NotReadyError, match="cannot be reached: "):
        connect(bundle, served, token="hunter2")
    assert served.model.tokens == []
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(HtsatEdgeError, match=r"model\.remote\.ca_file: .*ca\.pem: holds no certificates"):
        connect(bundle, served, ca_file=tmp_path / "ca.pem")
    with pytest.raises(HtsatEdgeError, match=r"missing\.pem: No such file"):
        connect(bundle, served, ca_file=tmp_path / "missing.pem")


def test_one_shot_programs_wait_longer_and_need_a_server(bundle, serve):
    served = serve(bundle)
    remote = open_remote(bundle, RemoteServer(served.url, timeout_s=0.001))
    assert len(remote.infer(draw(bundle, 1)).framewise) == 1
    remote.close()
    with pytest.raises(HtsatEdgeError, match=r"^backend: remote needs a server: model\.remote in a conf"):
        open_remote(bundle, None)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_tritonclient_may_be_missing(scheme, bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, f"tritonclient.{scheme}", None)
    with pytest.raises(HtsatEdgeError, match=r'^backend: remote needs tritonclient: pip install "htsat-edge\[rem'):
        kserve.open_client(RemoteServer(f"{scheme}://127.0.0.1:1"))
