"""A real HTTP server that is slow, fails and refuses."""

import json
import socket
import threading
import time
import tracemalloc
from contextlib import suppress

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Secret, WebhookConfig
from htsat_edge.runtime.daemon.outputs.sender import TRIES
from htsat_edge.runtime.daemon.outputs.webhook import Deadline, Webhook

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def talk(monkeypatch):
    """Starts a server that answers with what the test says, for as long as somebody listens; returns its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    cut = []

    def serve(head, endless, pause_s):
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            with connected, suppress(OSError):
                connected.recv(65_536)
                connected.sendall(head)
                while endless:
                    connected.sendall(endless)
                    time.sleep(pause_s)
            cut.append(True)

    def begin(head, endless=b"", pause_s=0.0):
        threading.Thread(target=serve, args=(head, endless, pause_s), daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/hook"

    begin.cut = cut
    yield begin
    listening.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n10000\r\n"])
def test_an_answer_without_end_is_not_read_to_its_end(head, talk, make_events, wait_for):
    """Where the message was taken: the status says so."""
    tracemalloc.start()
    output = Webhook(WebhookConfig(url=talk(head, b"x" * 65_536), timeout_s=30))
    output.start()
    output.offer(*make_events(1))
    wait_for(lambda: output.sent == 1 and talk.cut)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    output.close()
    assert peak < 10_000_000
    assert (output.failures, output.dropped) == (0, 0)


@pytest.mark.parametrize("head", [OK + b"\r\n", OK + b"Content-Length: 1000\r\n\r\n"])
def test_an_answer_of_a_byte_a_while_holds_up_no_other_message(head, talk, make_events, wait_for):
    """Each took until the deadline, so that `listen` lost what `check` called well."""
    output = Webhook(WebhookConfig(url=talk(head, b"x", 0.02), timeout_s=1000))
    assert output.check() == "127.0.0.1 answers"
    output.start()
    for message in make_events(3):
        output.offer(message)
    wait_for(lambda: output.sent == 3 and len(talk.cut) == 4)
    output.close()
    assert (output.failures, output.dropped) == (0, 0)


@pytest.mark.parametrize("endless", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_byte_a_while_before_the_status_is_a_failure_and_tried_again(endless, talk, make_events, wait_for):
    output = Webhook(WebhookConfig(url=talk(b"", endless, 0.02), timeout_s=0.3))
    output.start()
    output.offer(*make_events(1))
    wait_for(lambda: output.failures > 1)
    output.end()
    assert list(output.notices()) == ["has not answered within 0.3 s; it is tried again"]
    assert output.sent == 0


def test_the_handshake_of_tls_is_under_the_deadline_too(talk, make_events, wait_for):
    url = talk(b"\x16\x03\x03\x3f\xff", b"\x02", 0.02).replace("http:", "https:")
    output = Webhook(WebhookConfig(url=url, timeout_s=0.3))
    output.start()
    output.offer(*make_events(1))
    wait_for(lambda: output.failures > 1)
    output.end()
    assert list(output.notices()) == ["has not answered within 0.3 s; it is tried again"]


def test_a_message_that_breaks_the_server_each_time_is_set_aside(server, post, make_events):
    server.answers += [(200, 0), *[(500, 0)] * TRIES, (200, 0)]
    output = post(make_events(3), 2)
    assert [content["id"] for content, _ in server.got] == [1, 3]
    assert (output.dropped, output.failures) == (1, TRIES)
    reason = "HTTP Error 500: Internal Server Error"
    set_aside = f"{reason}; what cannot be sent is set aside after {TRIES} tries"
    assert list(output.notices()) == [f"{reason}; it is tried again", set_aside, None]


def test_a_server_that_refuses_all_is_one_warning_and_counted(server, make_events, wait_for, caplog):
    server.answers += [(404, 0)] * 30
    output = Webhook(WebhookConfig(url=server.url))
    output.start()
    for message in make_events(30):
        output.offer(message)
    wait_for(lambda: output.dropped == 30)
    assert output.failing
    assert caplog.messages == ["webhook 127.0.0.1: answered 404 Not Found; what is refused is lost"]
    output.close()
    assert caplog.messages[1:] == [f"{caplog.messages[0]} (29 more since the last one)"]
    assert len(list(output.notices())) == 1


@pytest.fixture
def post(server, wait_for):
    """Posts messages; returns the output once so many were taken."""

    def begin(messages, sent, **settings):
        output = Webhook(WebhookConfig(url=server.url, **settings))
        output.start()
        for message in messages:
            output.offer(message)
        wait_for(lambda: output.sent == sent)
        output.close()
        return output

    return begin


def test_each_message_is_posted_once_in_order(server, post, make_events, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    server.answers += [(200, 0), (503, 0), (500, 0), (429, 0), (408, 0), (425, 0), (200, 0)]
    output = post(make_events(10), 10, token=Secret(env="TOKEN"))
    assert [content for content, _ in server.got] == [json.loads(message.encoded) for message in make_events(10)]
    assert server.got[0][1]["Authorization"] == "Bearer s3cret"
    assert server.got[0][1]["Content-Type"] == "application/json"
    assert (output.failures, output.dropped) == (5, 0)


def test_what_the_server_refuses_for_good_is_lost_and_the_rest_goes_on(server, post, make_events, caplog):
    server.answers += [(200, 0), (400, 0), (200, 0)]
    output = post(make_events(3), 2)
    assert [content["id"] for content, _ in server.got] == [1, 3]
    assert (output.dropped, output.failures) == (1, 0)
    assert "webhook 127.0.0.1: answered 400 Bad Request; what is refused is lost" in caplog.text
    assert list(output.notices()) == ["answered 400 Bad Request; what is refused is lost", None]


def test_without_a_token_nothing_is_sent_of_one(server, post, make_events):
    post(make_events(1), 1)
    assert "Authorization" not in server.got[0][1]


def test_a_redirect_is_not_followed(server, post, make_events):
    server.answers += [(302, 0)]
    output = post(make_events(2), 1)
    assert output.dropped == 1
    assert [content["id"] for content, _ in server.got] == [2]


def test_a_server_that_hangs_is_given_up_and_asked_again(server, post, make_events):
    server.answers += [(200, 1.0), (200, 0)]
    output = post(make_events(1), 1, timeout_s=0.2)
    assert output.failures >= 1
    assert output.dropped == 0


def test_without_the_token_nothing_begins(monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(HtsatEdgeError, match="the environment has no TOKEN"):
        Webhook(WebhookConfig(url="http://localhost", token=Secret(env="TOKEN"))).start()


def test_the_name_holds_no_secret():
    assert Webhook(WebhookConfig(url="https://hooks.example/T0/s3cret")).name == "webhook hooks.example"


def test_a_server_that_fails_or_refuses_is_reported_to_the_other_outputs(start_daemon, samples, server, wait_for):
    server.answers += [(200, 0), (503, 0), (200, 0), (400, 0)]
    daemon = start_daemon(outputs={"webhook": WebhookConfig(url=server.url)})
    daemon.feed.open(32_000)
    daemon.source.write(samples)
    wait_for(lambda: daemon.states().count("output_back") == 2)
    messages = daemon.end()
    name = "webhook 127.0.0.1"
    assert [
        (message["state"], message["output"], message.get("text")) for message in messages if "output" in message
    ] == [
        ("output_failed", name, "HTTP Error 503: Service Unavailable; it is tried again"),
        ("output_back", name, None),
        ("output_failed", name, "answered 400 Bad Request; what is refused is lost"),
        ("output_back", name, None),
    ]
    others = [message for message in messages if "output" not in message]
    assert [content for content, _ in server.got] == [*others[:2], *others[3:]]


def test_a_connection_that_is_made_at_the_deadline_is_cut_too():
    """Whichever comes first: nothing else would ever end what it waits for."""
    deadline, (here, there) = Deadline(1000), socket.socketpair()

    class Late:
        def dup(self):
            deadline._end_s = 0
            deadline._cut()
            return here

    with here, there, pytest.raises(TimeoutError), deadline.enforced():
        deadline.watch(Late())
    assert here.fileno() == -1


@pytest.mark.parametrize("head", [OK + b"\r\n", b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"])
def test_a_check_wants_an_answer_alone(head, talk):
    assert Webhook(WebhookConfig(url=talk(head))).check() == "127.0.0.1 answers"


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "answers 401 Unauthorized; is the token right?"),
        (b"SSH-2.0\r\n", "SSH-2.0"),
    ],
)
def test_a_check_of_what_is_no_webhook(head, reason, talk):
    with pytest.raises(HtsatEdgeError) as raised:
        Webhook(WebhookConfig(url=talk(head))).check()
    assert str(raised.value).strip() == f"webhook 127.0.0.1: {reason}"


def test_a_token_that_cannot_be_sent_is_refused_at_the_start(monkeypatch):
    """Each message was tried and lost."""
    monkeypatch.setenv("TOKEN", "naïve")
    output = Webhook(WebhookConfig(url="http://127.0.0.1:1", token=Secret(env="TOKEN")))
    with pytest.raises(HtsatEdgeError, match=r"webhook 127\.0\.0\.1: the token holds what is not ASCII"):
        output.start()
