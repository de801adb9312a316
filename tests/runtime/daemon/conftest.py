"""Sources that a test fills, outputs that keep what they get, a daemon in a thread, a real HTTP server."""

import http.server
import json
import threading
import time
from collections import deque

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.assembly import Parts, assemble
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, HealthConfig, JsonLinesConfig, OutputsConfig
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.settings import Settings


@pytest.fixture(scope="session")
def read_lines():
    """Reads the messages of a file of JSON Lines; none where it is not there yet."""

    def read(path):
        if not path.exists():
            return []
        whole, _, _ = path.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    return read


@pytest.fixture(scope="session")
def samples(farmyard):
    """The recording's samples (S,), at 32 kHz."""
    return soundfile.read(farmyard, dtype="float32")[0]


@pytest.fixture(scope="session")
def make_events():
    """Makes starts (or ends) of dogs, one each second."""

    def make(count, first=0, kind="start", source="yard", label="Dog"):
        more = {"offset": 0.5} if kind == "end" else {}
        return [
            {"start": EventStart, "end": EventEnd}[kind](
                source=source, id=i + 1, label=label, onset=float(i), time=None, score=0.5, **more
            )
            for i in range(first, first + count)
        ]

    return make


class FilledSource:
    """A source whose feed the test fills."""

    def __init__(self, name="yard", live=False):
        self.news = threading.Event()
        self.feed = Feed(name, self.news, live=live)
        self.feeds = [self.feed]

    def start(self):
        pass

    def stop(self):
        self.feed.end()

    def write(self, samples, rate=32_000):
        """Write blocks of 0.1 s as fast as they are read."""
        for at in range(0, len(samples), rate // 10):
            self.feed.wait_for_room(threading.Event())
            self.feed.write(np.asarray(samples[at : at + rate // 10], np.float32))


@pytest.fixture(scope="session")
def filled_source():
    """The class of sources that a test fills."""
    return FilledSource


class KeptOutput:
    """An output that keeps its messages; the test puts in what it has to report."""

    def __init__(self, name="kept"):
        self.name, self.got, self.reported = name, [], deque()
        self.sent = self.dropped = self.failures = self.waiting = self.undelivered = 0
        self.failing, self.vital = False, True

    def start(self):
        pass

    def offer(self, message):
        self.got.append(message)

    def notices(self):
        while self.reported:
            yield self.reported.popleft()

    def end(self):
        pass

    def close(self):
        pass


@pytest.fixture(scope="session")
def kept_output():
    """The class of outputs that keep their messages."""
    return KeptOutput


SHORT = load_bundle(BUNDLED).info.model_copy(update={"frames": 256, "steps": 8})
"""A model with a quarter of a window: as much as a feed holds, so that a test can write before the daemon reads."""


class NoModel:
    """A backend that hears nothing, and remembers how many windows came at once."""

    def __init__(self):
        self.batches, self.closed = [], False

    def infer(self, log_mel):
        self.batches.append(len(log_mel))
        framewise = np.zeros((len(log_mel), SHORT.steps, len(SHORT.labels)), np.float32)
        return Scores(framewise, framewise[:, 0], framewise[:, 0])

    def close(self):
        self.closed = True


@pytest.fixture
def make_parts(kept_output, filled_source):
    """Makes the parts of a daemon around a model that hears nothing, with an output that keeps its messages."""

    def make(count=1, live=False):
        sources = [filled_source(f"yard {i}", live) for i in range(count)]
        system, model = SystemClock(time.time(), time.monotonic()), NoModel()
        sessions = [
            SourceSession(source.feed, SHORT, Settings(hop_s=1.28), HealthConfig(), system) for source in sources
        ]
        publisher = Publisher([kept_output(), kept_output("other")], system)
        parts = Parts(sources, sessions, Scorer(model, SHORT.front_end, None), publisher, system, threading.Event())
        parts.opened.callback(model.close)
        parts.kept, parts.model = publisher.senders[0].got, model
        return parts

    return make


@pytest.fixture
def run_daemon():
    """Runs a daemon in a thread, and returns both; it is stopped at the end, whatever the test did."""
    running = []

    def run(parts):
        daemon = Daemon(parts, Notifier())
        thread = threading.Thread(target=daemon.run, daemon=True)  # pytest ends even where this does not
        thread.start()
        running.append((daemon, thread))
        return daemon, thread

    yield run
    for daemon, _ in running:
        daemon.stop()
    for _, thread in running:
        thread.join(90)
        assert not thread.is_alive()


@pytest.fixture
def start_daemon(tmp_path, read_lines, run_daemon):
    """Starts a daemon in a thread, on a source that the test fills; its messages go into a file."""

    class Started:
        def __init__(self, live=False, **sections):
            self.source = FilledSource(live=live)
            self.feed = self.source.feed
            self._out = tmp_path / "messages.jsonl"
            outputs = {"stdout": False, "json_lines": JsonLinesConfig(path=self._out), **sections.pop("outputs", {})}
            config = DaemonConfig(outputs=OutputsConfig(**outputs), **sections)
            self.parts = assemble(config, [self.source], self.source.news)
            self.daemon, self.thread = run_daemon(self.parts)

        @property
        def messages(self):
            """Those so far."""
            return read_lines(self._out)

        def states(self):
            """The states of the status messages so far."""
            return [message["state"] for message in self.messages if message["type"] == "status"]

        def end(self):
            """End the source; return all messages."""
            self.feed.end()
            self.thread.join(60)
            assert not self.thread.is_alive()
            return self.messages

    return Started


@pytest.fixture
def short_pauses(monkeypatch):
    """Shortens the pauses between tries, of outputs and sources."""
    for module in ("outputs.sender", "supervision"):
        monkeypatch.setattr(f"htsat_edge.runtime.daemon.{module}.FIRST_PAUSE_S", 0.02)
        monkeypatch.setattr(f"htsat_edge.runtime.daemon.{module}.LONGEST_PAUSE_S", 0.1)


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
