"""Brokers that are set up otherwise than the configuration says: the cause is reported, before any message fails."""

import gc
import re
import signal
import socket
import subprocess
import threading

import pytest
from pydantic import ValidationError

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import MqttConfig, Secret
from htsat_edge.runtime.daemon.outputs.mqtt.broker import UNREACHABLE
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt
from htsat_edge.runtime.daemon.outputs.mqtt.permission import why_refused

pytestmark = [
    pytest.mark.usefixtures("short_pauses"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # paho leaves sockets open
]


@pytest.fixture
def run_broker(tmp_path, free_port, start_mosquitto):
    """Runs mosquitto with further lines of configuration; returns its port."""
    processes = []

    def run(*lines):
        port, config = free_port(), tmp_path / "broker.conf"
        config.write_text("\n".join([f"listener {port} 127.0.0.1", "user root", *lines, ""]))
        run.process = start_mosquitto(config, port)
        processes.append(run.process)
        return port

    yield run
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def begin(monkeypatch):
    """Starts an output without a message."""
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.2)
    started = []

    def output(port, host="127.0.0.1", **settings):
        made = Mqtt(MqttConfig(host=host, port=port, **settings), {"yard": ["Dog"]}, {}, "session")
        made._client.paho.reconnect_delay_set(0.05, 0.1)
        made.start()
        started.append(made)
        return made

    yield output
    for made in started:
        made.close()
    gc.collect()  # so that no other test is blamed for the sockets


def first_notice(output, wait_for):
    notices = []
    wait_for(lambda: notices.extend(output.notices()) or notices, 60)
    return notices[0]


def test_a_password_is_taken_and_that_the_broker_does_not_know_it_is_said_at_once(
    tmp_path, run_broker, begin, make_events, wait_for, monkeypatch
):
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    passwords.chmod(0o600)
    monkeypatch.setenv("PW", "s3cret")
    port = run_broker("allow_anonymous false", f"password_file {passwords}")
    output = begin(port, username="me", password=Secret(env="PW"))
    assert first_notice(output, wait_for) == "the broker refuses: Not authorized; it is tried again"
    assert output.dropped == 0
    subprocess.run(["mosquitto_passwd", "-b", passwords, "me", "s3cret"], check=True)
    run_broker.process.send_signal(signal.SIGHUP)  # it reads the passwords again
    output.offer(*make_events(1))
    wait_for(lambda: output.sent == 1)
    assert output._client.problem == UNREACHABLE  # and no earlier cause, should it be lost again


def test_a_topic_that_is_not_the_accounts_is_said_and_one_that_is_is_not(
    tmp_path, run_broker, begin, wait_for, monkeypatch
):
    """The broker confirms what it drops: only MQTT 5 tells."""
    passwords, acl = tmp_path / "passwords", tmp_path / "acl"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "barn", "s3cret"], check=True)
    acl.write_text("pattern readwrite htsat-edge/%u/#\n")
    monkeypatch.setenv("PW", "s3cret")
    port = run_broker("allow_anonymous false", f"password_file {passwords}", f"acl_file {acl}")
    account = {"username": "barn", "password": Secret(env="PW")}
    refused = (
        "the broker does not let this account publish under htsat-edge/bern (Not authorized), and drops what comes: "
        "set outputs.mqtt.topic to one that it may use; with deploy/mosquitto/acl that is htsat-edge/USERNAME"
    )
    bern, barn = (begin(port, topic=f"htsat-edge/{name}", **account) for name in ("bern", "barn"))
    wait_for(lambda: bern._greeted and barn._greeted)
    assert ([*bern.notices()], [*barn.notices()]) == ([refused], [])
    bern, barn = (Mqtt(one._settings, {"yard": ["Dog"]}, {}, "check") for one in (bern, barn))
    with pytest.raises(HtsatEdgeError, match=re.escape(f"mqtt 127.0.0.1:{port}: {refused}")):
        bern.check()
    assert barn.check() == f"127.0.0.1:{port} accepts the connection"


@pytest.mark.parametrize("answer", [b"\x20\x02\x00\x01", b""], ids=["refuses", "closes"])
def test_a_broker_that_speaks_mqtt_3_alone_is_not_waited_for(answer):
    def refuse(listener):
        with listener.accept()[0] as one:
            one.recv(1000)
            one.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=[listener])
        thread.start()
        settings = MqttConfig(host="127.0.0.1", port=listener.getsockname()[1])
        assert why_refused(settings, "htsat-edge/barn", patience_s=float("inf")) == ""
        thread.join()


def test_a_certificate_that_is_not_trusted(certificate, run_broker, begin, wait_for):
    crt, key = certificate
    port = run_broker("allow_anonymous true", f"certfile {crt}", f"keyfile {key}")
    notice = first_notice(begin(port, host="localhost", tls=True), wait_for)
    assert notice.startswith("the broker's certificate is not trusted: self")


def test_a_certificate_of_ones_own_is_trusted_by_its_file(certificate, run_broker, begin, make_events, wait_for):
    crt, key = certificate
    port = run_broker("allow_anonymous true", f"certfile {crt}", f"keyfile {key}")
    output = begin(port, host="localhost", tls=True, ca_file=crt)
    output.offer(*make_events(1))
    wait_for(lambda: output.sent == 1, 60)


@pytest.mark.parametrize(
    ("content", "wrong"), [(None, "cannot be read: No such file or directory"), ("x", "holds no certificate (PEM)")]
)
def test_a_file_of_certificates_that_is_none(tmp_path, begin, free_port, content, wrong):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(HtsatEdgeError, match=re.escape(f"outputs.mqtt.ca_file: {path}: {wrong}")):
        begin(free_port(), tls=True, ca_file=path)


def test_tls_to_a_plain_port(run_broker, begin, wait_for):
    port = run_broker("allow_anonymous true")
    output = begin(port, tls=True)
    notice = first_notice(output, wait_for)
    assert notice.startswith("TLS fails (")
    assert f"is {port} its port for TLS?" in notice
    run_broker.process.kill()
    wait_for(lambda: output._client.problem == f"{UNREACHABLE}: Connection refused")  # which is why now


def test_a_plain_connection_to_a_port_for_tls(certificate, run_broker, begin, wait_for):
    crt, key = certificate
    port = run_broker("allow_anonymous true", f"certfile {crt}", f"keyfile {key}")
    notice = first_notice(begin(port), wait_for)
    assert notice == (
        f"the broker closes the connection and does not answer; does port {port} want tls?; it is tried again"
    )


def test_a_broker_that_is_not_there_says_why(free_port, begin, make_events, wait_for):
    output = begin(free_port())
    output.patience_s = 0.1
    output.offer(*make_events(1))
    wait_for(lambda: output.failures > 2)
    assert output._client.problem == "the broker cannot be reached: Connection refused"


def test_a_broker_that_confirms_nothing_is_reported_and_gets_no_other_message(broker, connect, make_events, wait_for):
    """While the connection stands; at the end nobody waits for it."""
    output = connect()
    wait_for(lambda: output._greeted)  # what was published until then is confirmed
    output.confirm_s = 0.1
    handle, held = output._client.paho._handle_pubackcomp, threading.Event()
    output._client.paho._handle_pubackcomp = lambda kind: 0 if held.is_set() else handle(kind)
    held.set()
    output.offer(*make_events(1))
    assert first_notice(output, wait_for) == "the broker does not confirm what it gets; it is waited for"
    assert output.failing
    held.clear()
    output._client.paho._sock_close()  # paho sends it again through the next connection
    wait_for(lambda: output.sent == 1)
    wait_for(lambda: list(output.notices()) == [None])
    assert (output.failing, output.failures) == (False, 0)


def test_one_that_waits_for_a_confirmation_ends(broker, connect, make_events, wait_for, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.1)
    output = connect()
    output.offer(*make_events(1))
    wait_for(lambda: output.sent == 1)
    output._client.paho._handle_pubackcomp = lambda _: 0
    output.offer(*make_events(1, first=1))
    wait_for(lambda: len(broker.all("htsat-edge/yard/event")) == 2)
    output.close()
    wait_for(lambda: not output._thread.is_alive(), 60)
    assert output.undelivered == 1


def test_a_connection_that_stands_is_no_message_that_was_sent(broker, connect, make_events, wait_for):
    """One that cannot be published is a failure until another one is."""
    output = connect()
    output.offer(*make_events(1))
    wait_for(lambda: output.sent == 1)
    publish, idle, idled = output._publish, output.idle, []

    def fail(topic, *_):
        raise ValueError("bug")

    output._publish = fail
    output.offer(*make_events(1))
    wait_for(lambda: output.dropped == 1)
    output._publish, output.idle = publish, lambda: idled.append(idle())
    wait_for(lambda: len(idled) == 2)
    assert output.failing
    assert None not in output.notices()
    output.offer(*make_events(1, first=1))
    wait_for(lambda: output.sent == 2)
    assert not output.failing


def test_a_greeting_that_fails_is_sent_again(broker, connect, wait_for, monkeypatch):
    """Though the connection stands."""
    greet, failed = Mqtt._greet, []

    def fail(output):
        if not failed:
            failed.append(True)
            raise RuntimeError("Message publish failed")
        greet(output)

    monkeypatch.setattr(Mqtt, "_greet", fail)
    connect()
    wait_for(lambda: broker.last("htsat-edge/status") == "online", 60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_ends_the_thread_of_paho_is_no_end(run_broker, make_events, wait_for, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.mqtt.broker.RESTART_S", 0.05)
    settings = MqttConfig(host="127.0.0.1", port=run_broker("allow_anonymous true"))
    output = Mqtt(settings, {"yard": ["Dog"]}, {}, "session")
    connect, tries = output._client.paho._create_socket, []

    def create():
        tries.append(True)
        if len(tries) < 3:
            raise UnicodeError("label empty or too long")
        return connect()

    monkeypatch.setattr(output._client.paho, "_create_socket", create)
    output.start()
    output.offer(*make_events(1))
    wait_for(lambda: output.sent == 1)
    output.close()
    gc.collect()
    assert len(tries) == 3


@pytest.mark.parametrize("key", ["topic", "discovery"])
@pytest.mark.parametrize("value", ["a/#", "+", "a/+/b", "#", "", "/a", "a/", "$SYS/a", "a\0b", "a\nb", " a", "a "])
def test_what_cannot_be_published_under_is_refused(key, value):
    with pytest.raises(ValidationError):
        MqttConfig(host="broker", **{key: value})


@pytest.mark.parametrize("value", ["a", "a/b", "haus/hütte", "home assistant"])
def test_what_can_be_published_under_is_taken(value):
    assert MqttConfig(host="broker", topic=value, discovery=value).topic == value


@pytest.mark.parametrize(
    "page", ["http://me:pw@ear.local", "http://ear.local/?token=1", "http://ear.local/#events", "http://", "http://a b"]
)
def test_a_page_that_cannot_be_published_is_refused(page):
    with pytest.raises(ValidationError) as failed:
        MqttConfig(host="broker", page=page)
    assert "pw" not in str(failed.value.errors()[0]["msg"])
