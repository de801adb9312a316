"""Real services on this machine: one that speaks ntfy's way to publish, a mail server, and one that hangs."""

import http.server
import json
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from htsat_edge.runtime.daemon.config.notify import NotifyConfig, ServiceConfig
from htsat_edge.runtime.daemon.outputs import sender
from htsat_edge.runtime.daemon.outputs.notify.service import NotificationService
from htsat_edge.runtime.dsp.events import EventEnd, EventStart


class NtfyServer(http.server.ThreadingHTTPServer):
    """Takes notifications as ntfy does: JSON to /, or a file to /TOPIC with the text in the query."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), NtfyHandler)
        self.got, self.codes, self.headers = [], [], []

    def url(self, topic="sirens", user=""):
        return f"ntfy://{user}127.0.0.1:{self.server_port}/{topic}"


class NtfyHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        code = self.server.codes.pop(0) if self.server.codes else 200
        if code == 200:
            self.server.headers.append(dict(self.headers))
            got = {"topic": parts.path[1:], **query, "file": content} if parts.path != "/" else json.loads(content)
            self.server.got.append(got)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(b'{"error": "no"}')

    def log_message(self, *_):
        pass


@pytest.fixture
def ntfy():
    """A server that speaks ntfy's way to publish; `codes` are its next answers."""
    server = NtfyServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hanging():
    """The port of a server that takes connections and never answers."""
    listening = socket.create_server(("127.0.0.1", 0))
    yield listening.getsockname()[1]
    listening.close()


@pytest.fixture
def smtp(free_port):
    """A mail server; `got` are the contents of its mails."""
    controller = pytest.importorskip("aiosmtpd.controller")

    class Mails:
        def __init__(self):
            self.got = []

        async def handle_DATA(self, _server, _session, envelope):
            self.got.append(envelope.content)
            return "250 OK"

    mails = Mails()
    mails.port = free_port()
    running = controller.Controller(mails, hostname="127.0.0.1", port=mails.port)
    running.start()
    yield mails
    running.stop()


@pytest.fixture
def open_service(monkeypatch):
    """Starts a service with an address."""
    opened = []

    def begin(url, timeout_s=20.0, name="phone"):
        monkeypatch.setenv(f"URL_{name}", url)
        service = NotificationService(name, service_config(name, timeout_s))
        service.start()
        opened.append(service)
        return service

    yield begin
    monkeypatch.setattr(sender, "CLOSE_S", 0.2)  # nobody waits for one that hangs
    for service in opened:
        service.close()


def service_config(name, timeout_s=20.0):
    return ServiceConfig.model_validate({"url": {"env": f"URL_{name}"}, "timeout_s": timeout_s})


@pytest.fixture(scope="session")
def make_config():
    """Makes a configuration of notifications with these rules."""

    def make(*rules, services=("phone",)):
        return NotifyConfig.model_validate(
            {"services": {name: {"url": {"env": f"URL_{name}"}} for name in services}, "rules": list(rules or [{}])}
        )

    return make


@pytest.fixture(scope="session")
def start():
    """Makes a start, and `ended` its end."""

    def make(label="Dog", source="yard", id=1, score=0.5, time=None, clip=None):
        return EventStart(source=source, id=id, label=label, onset=float(id), time=time, score=score, clip=clip)

    return make


@pytest.fixture(scope="session")
def ended():
    """Makes the end of a start."""

    def make(event, score=None):
        more = {"type": "end", "offset": event.onset + 1, "score": event.score if score is None else score}
        return EventEnd(**event.model_dump(exclude={"type", "score"}) | more)

    return make
