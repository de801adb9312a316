"""A real HTTP server that is slow, fails and refuses."""

import json

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Secret, WebhookConfig
from htsat_edge.runtime.daemon.outputs.webhook import Webhook

pytestmark = pytest.mark.usefixtures("short_pauses")


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
    assert list(output.notices()) == ["answered 400 Bad Request; what is refused is lost"]


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
    assert Webhook(WebhookConfig(url="https://me:pw@hooks.example/T0/s3cret")).name == "webhook hooks.example"


def test_a_server_that_fails_or_refuses_is_reported_to_the_other_outputs(start_daemon, samples, server, wait_for):
    server.answers += [(200, 0), (503, 0), (200, 0), (400, 0)]
    daemon = start_daemon(outputs={"webhook": WebhookConfig(url=server.url)})
    daemon.feed.open(32_000)
    daemon.source.write(samples)
    wait_for(lambda: daemon.states().count("output_failed") == 2)
    messages = daemon.end()
    name = "webhook 127.0.0.1"
    assert [
        (message["state"], message["output"], message.get("text")) for message in messages if "output" in message
    ] == [
        ("output_failed", name, "HTTP Error 503: Service Unavailable; it is tried again"),
        ("output_back", name, None),
        ("output_failed", name, "answered 400 Bad Request; what is refused is lost"),
    ]
    others = [message for message in messages if "output" not in message]
    assert [content for content, _ in server.got] == [*others[:2], *others[3:]]
