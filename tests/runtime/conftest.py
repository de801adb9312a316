"""A real broker and a real HTTP server, for what sends to them."""

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time

import paho.mqtt.client as paho
import pytest
from htsat_edge.runtime.daemon.sources import Feed
from paho.mqtt.enums import CallbackAPIVersion


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Filled:
    """A source whose feed the test fills."""

    def __init__(self, feed):
        self.feeds = [feed]

    def start(self):
        pass

    def stop(self):
        self.feeds[0].end()


@pytest.fixture
def fed(monkeypatch):
    """Gives the daemon that is made next a source which the test fills; its feed, in a list."""

    def prepare(live=False):
        feeds = []

        def make(config, info, news):
            feeds.append(Feed(config.name, news, live=live))
            return Filled(feeds[-1])

        monkeypatch.setattr("htsat_edge.runtime.daemon.loop.make_source", make)
        return feeds

    return prepare


class Broker:
    """mosquitto, on a port of its own, and a subscriber that keeps all it hears."""

    def __init__(self, folder):
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.heard = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = lambda _, __, message: self.heard.append((message.topic, message.payload.decode()))
        self._client.reconnect_delay_set(1, 1)
        self.start()
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        wait_for(self._client.is_connected)

    def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen([program, "-c", self._config], stderr=subprocess.DEVNULL)

        def answers():
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for(answers)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()
        self.kill()

    def last(self, topic):
        return next((content for at, content in reversed(self.heard) if at == topic), None)

    def all(self, topic):
        return [json.loads(content) for at, content in self.heard if at == topic]


@pytest.fixture
def broker(tmp_path):
    if not (shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")):
        pytest.skip("needs mosquitto: sudo apt install mosquitto")
    made = Broker(tmp_path)
    yield made
    made.close()


@pytest.fixture
def server():
    """An HTTP server that answers as the test says, and keeps what it gets."""
    got, answers = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            code, delay = answers.pop(0) if answers else (200, 0)
            time.sleep(delay)
            if code < 300:
                got.append((content, dict(self.headers)))
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.got, made.answers = got, answers
    made.url = f"http://127.0.0.1:{made.server_port}/hook"
    threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()
