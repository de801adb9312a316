"""A page that is served to real sockets, with a small store and a live socket."""

import http.client
import json
import socket
import threading
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.secret import Secret
from htsat_edge.runtime.daemon.config.web import WebConfig
from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveFrame, LiveSource, NewestScores
from htsat_edge.runtime.daemon.live.server import LiveServer
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.writes import SavedClip, ScoreRow, SourceSetup
from htsat_edge.runtime.web.passwords import PasswordHash
from htsat_edge.runtime.web.server import PageServer, open_port
from htsat_edge.runtime.web.settings import PageSettings

BEGAN = datetime(2026, 5, 1, 12, tzinfo=timezone.utc).timestamp()
STEP_S = 0.32
LABELS = ["Dog", "Bird", "Speech"]
CLIP = "20260501T140003.200+0200_yard_Dog.flac"
PASSWORD = "correct horse"


def iso(at):
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")


def fill(path, clips, began=BEGAN):
    """Store two minutes of one source: four events, the first with a clip."""
    clips.mkdir(exist_ok=True)
    soundfile.write(clips / CLIP, np.random.default_rng(0).normal(0, 0.1, 32_000), 32_000, subtype="PCM_16")
    setup = Setup(
        model="test",
        step_s=STEP_S,
        labels=LABELS,
        thresholds=[0.5, 0.6, None],
        releases=[0.3, 0.36, None],
        min_length=1,
        confirm=[0, 0, 0],
        merge_gap=1,
    )
    scores = np.full((375, 3), 0.05, np.float32)
    with closing(Database(path)) as database, database:
        session = database.session("one", began)
        database.put(session, SourceSetup("yard", setup), began)
        for number, (label, onset) in enumerate((("Dog", 3.2), ("Bird", 32.0), ("Dog", 48.0), ("Bird", 80.0)), 1):
            scores[round(onset / STEP_S) :][:5, LABELS.index(label)] = 0.9
            event = EventEnd(
                source="yard",
                id=number,
                label=label,
                onset=onset,
                offset=onset + 1.6,
                time=iso(began + onset),
                score=0.9,
            )
            database.put_event(session, event, began + onset)
        database.put(session, ScoreRow("yard", 0.0, STEP_S, iso(began), scores), began)
        database.put(session, SavedClip("yard", 1, CLIP, 3.0, 4.0, iso(began + 3.0)), began)
        database.add_gap(
            session, 1, began, source="yard", onset=120, offset=125, time=iso(began + 120), reason="overflow"
        )


class Answer:
    """What a request was answered with."""

    def __init__(self, response):
        self.status, self.content = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.cookies = [value for name, value in response.getheaders() if name.lower() == "set-cookie"]

    @property
    def json(self):
        return json.loads(self.content)


class Served:
    """A page that is served, and what a test needs of it."""

    def __init__(self, server, port):
        self.server, self.port, self.cookie = server, port, None
        self.origin = f"http://127.0.0.1:{port}"

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, method, path, body=None, **headers):
        """Send a request as a browser does; a header of None is left out."""
        usual = {"Origin": self.origin if method not in ("GET", "HEAD") else None, "Cookie": self.cookie}
        if body is not None and not isinstance(body, bytes):
            body, usual["Content-Type"] = json.dumps(body).encode(), "application/json"
        given = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request(method, path, body, {name: value for name, value in given.items() if value is not None})
            return Answer(connection.getresponse())

    def get(self, path, query=(), **headers):
        return self.ask("GET", f"/api/{path}?{urlencode(query, doseq=True)}", **headers)

    def follow(self, query="", cookie=""):
        """Open the live stream; return a reader of its events."""
        connection = self.connect()
        head = f"GET /api/live{query} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {cookie}\r\n\r\n"
        connection.sendall(head.encode())
        return Stream(connection)


class Stream:
    """A live stream that is read event by event."""

    def __init__(self, connection):
        self.connection = connection
        response = http.client.HTTPResponse(connection)
        response.begin()
        self.status, self._response = response.status, response

    def __iter__(self):
        """Yield the names and contents of events, until the stream ends, or it is clear that it does not."""
        name, end = None, time.monotonic() + 120
        while time.monotonic() < end:
            if not (line := self._response.readline()):
                return
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                yield name, json.loads(value)
        raise AssertionError("the stream does not end")

    def find(self, name, count=1):
        """Return the content of the next `count` events of a name."""
        found = []
        for kind, content in self:
            found += [content] if kind == name else []
            if len(found) == count:
                return found
        raise AssertionError(f"the stream has ended after {len(found)} of {name}")

    def close(self):
        self._response.close()
        self.connection.close()


@pytest.fixture(scope="session")
def began():
    """When the source of the store began."""
    return BEGAN


@pytest.fixture(scope="session")
def clip():
    """The name of the clip of the first event."""
    return CLIP


@pytest.fixture(scope="session")
def password():
    """The one of `password_file`."""
    return PASSWORD


@pytest.fixture(scope="session")
def frame():
    """Make a frame of a source."""
    return make_frame


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A filled store, with clips beside it."""
    folder = tmp_path_factory.mktemp("page")
    fill(folder / "events.db", folder / "clips")
    return folder / "events.db"


@pytest.fixture
def own_store(tmp_path):
    """A filled store of one test alone."""
    fill(tmp_path / "events.db", tmp_path / "clips")
    return tmp_path / "events.db"


@pytest.fixture
def recent_store(tmp_path):
    """A store of one test alone, filled two minutes ago."""
    fill(tmp_path / "events.db", tmp_path / "clips", time.time() - 120)
    return tmp_path / "events.db"


def write_config(folder):
    """Write the configuration of a daemon with its store in a folder; return its file."""
    path = folder / "detector.yaml"
    path.write_text(
        f"model: {{sounds: {folder / 'sounds'}}}\n"
        "detection:\n  thresholds: {Dog: 0.5}  # as at home\n"
        f"outputs:\n  store: {{path: {folder / 'events.db'}}}\n  clips: {{folder: {folder / 'clips'}}}\n"
    )
    return path


@pytest.fixture
def config_file(own_store):
    """The configuration of the daemon of `own_store`."""
    return write_config(own_store.parent)


@pytest.fixture(scope="module")
def serve(wait_for):
    """Serve a store, each on a port of its own, in a thread; with the configuration of its daemon."""
    running = []

    def begin(path, config_file=None, fleet=False, of_fleet=None, **web):
        from htsat_edge.runtime.web.app import make_app

        with open_port("127.0.0.1", 0) as probe:
            port = probe.getsockname()[1]
        listener = open_port("127.0.0.1", port)
        config = None if config_file is None else read_yaml(config_file, DaemonConfig)
        web = WebConfig(port=port, **web)
        clips = None if fleet else path.parent / "clips"
        settings = PageSettings(web, path, clips, False, config, config_file, fleet, **(of_fleet or {}))
        server = PageServer(make_app(settings))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread))
        wait_for(lambda: server.started)
        return Served(server, port)

    yield begin
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def home(own_store, config_file, serve):
    """A page of one test alone, that knows its daemon's configuration."""
    return serve(own_store, config_file)


@pytest.fixture(scope="module")
def page(store, serve):
    """A page without a password, and without a daemon."""
    return serve(store, write_config(store.parent))


@pytest.fixture(scope="module")
def password_file(tmp_path_factory):
    """The hash of PASSWORD, which is quickly tried."""
    path = tmp_path_factory.mktemp("password") / "password"
    path.touch(0o600)
    path.write_text(f"{PasswordHash.of(PASSWORD, cost=2, block=8, lanes=1)}\n")
    return path


@pytest.fixture
def secret(monkeypatch, password):
    """Where a collector has the password of `password_file` from."""
    monkeypatch.setenv("PAGES", password)
    return Secret(env="PAGES")


@pytest.fixture
def daemon(tmp_path):
    """Begin to serve a live socket, as the daemon does."""
    servers = []

    def begin(path=None, **of_source):
        server = LiveServer(path or Path(tmp_path / "events.db.live"), lambda: device(**of_source))
        server.start()
        servers.append(server)
        return server

    yield begin
    for server in servers:
        server.close()


def device(**of_source):
    usual = LiveSource(
        name="yard",
        heard=True,
        problems=[],
        failure=None,
        coverage=1.0,
        gaps=0,
        lost_s=0.0,
        position_s=10.0,
        level_dbfs=-30.0,
        hop_s=0.32,
        latency_s=0.9,
        behind_s=0.0,
        suppressed=0,
        paused=False,
    )
    return DeviceStatus(
        time=iso(time.time()),
        version="1",
        uptime_s=10.0,
        healthy=True,
        model="test",
        backend="onnxruntime",
        engine=None,
        load=0.1,
        inference_ms=20.0,
        slowest_ms=30.0,
        temperatures={},
        sources=[usual.model_copy(update=of_source)],
        outputs=[],
    )


def make_frame(number, source="yard", columns=""):
    newest = NewestScores(onset=number * STEP_S, step_s=STEP_S, final=1, scores={"Dog": [0.5]})
    return LiveFrame(
        source=source,
        onset=number * STEP_S,
        time=None,
        column_s=0.04,
        mels=64,
        low_hz=50.0,
        high_hz=14_000.0,
        columns=columns,
        level_dbfs=-30.0,
        newest=newest,
    )
