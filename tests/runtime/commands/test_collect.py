"""`htsat-edge collect` as a process: what it checks and refuses, how it ends, and that it may be killed at any time."""

import http.client
import json
import signal
import socket
import sqlite3
import subprocess
from contextlib import closing

import pytest
import yaml

from htsat_edge.runtime.commands.collect import check_page
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.fleet.config import CollectorConfig
from htsat_edge.runtime.store.schema import has_mark


@pytest.fixture
def write_config(tmp_path):
    """Write a configuration; return its path."""

    def write(port, **sections):
        path = tmp_path / "collector.yaml"
        broker = {"host": "127.0.0.1", "port": port, **sections.pop("broker", {})}
        path.write_text(yaml.safe_dump({"broker": broker, "store": {"path": str(tmp_path / "fleet.db")}, **sections}))
        return path

    return write


@pytest.fixture
def start(tmp_path, wait_for):
    """Start the command as a process that listens; return it, and what it logs."""
    processes, log = [], tmp_path / "log"
    log.touch()

    def begin(config):
        before = log.read_text().count("listening to")
        with log.open("a") as file:
            processes.append(
                subprocess.Popen(command_of("htsat_edge", "collect", "--config", str(config)), stderr=file)
            )
        wait_for(lambda: log.read_text().count("listening to") > before)
        return processes[-1], log

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def publish(broker):
    """Publish messages of a device, numbered from `first` on; return once the broker has them."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()

    def send(count, first=1):
        for i in range(first, first + count):
            event = {"type": "start", "source": "gate", "id": i, "label": "Dog", "onset": i, "time": None, "score": 0.5}
            content = json.dumps({"session": "a" * 32, "number": i, "message": event})
            sent = client.publish("htsat-edge/yard/messages", content, qos=1)
        sent.wait_for_publish(60)

    yield send
    client.disconnect()
    client.loop_stop()


def read_ids(path):
    if not path.exists() or not has_mark(path):
        return []
    with closing(sqlite3.connect(path)) as database:
        return [number for (number,) in database.execute("SELECT number FROM events ORDER BY number")]


def test_it_is_killed_again_and_again_and_loses_nothing(broker, write_config, start, publish, tmp_path, wait_for):
    config, path = write_config(broker.port), tmp_path / "fleet.db"
    process, _ = start(config)
    for turn in range(3):
        publish(400, first=1 + 400 * turn)
        wait_for(lambda turn=turn: len(read_ids(path)) > 400 * turn)
        process.send_signal(signal.SIGKILL)  # while it writes
        process.wait()
        process, _ = start(config)
    wait_for(lambda: len(read_ids(path)) >= 1200)
    assert read_ids(path) == list(range(1, 1201))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT lost FROM devices").fetchall() == [(0,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_a_signal(broker, write_config, start, number):
    process, log = start(write_config(broker.port))
    process.send_signal(number)
    assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()


def test_the_page_shows_the_fleet(broker, write_config, start, publish, free_port, tmp_path, wait_for):
    pytest.importorskip("fastapi")
    port = free_port()
    process, log = start(write_config(broker.port, web={"port": port}))
    publish(3)
    wait_for(lambda: read_ids(tmp_path / "fleet.db") == [1, 2, 3])
    wait_for(lambda: f"the page is at http://127.0.0.1:{port}" in log.read_text())

    def ask(path):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    found = ask("/api/events")["events"]
    assert [(event["device"], event["source"]) for event in found] == [("htsat-edge/yard", "gate")] * 3
    assert ask("/api/session")["fleet"] is True
    process.terminate()
    assert process.wait(60) == 0


def test_check_says_what_is_ready(broker, write_config, command, free_port, tmp_path):
    status, out, _ = command("collect", "--check", "--config", write_config(broker.port))
    assert status == 0
    ready, room = out.splitlines()
    assert ready == f"ok   broker: 127.0.0.1:{broker.port} accepts the connection"
    assert room.startswith(f"ok   store: {tmp_path}: ")
    port = free_port()
    status, out, _ = command("collect", "--check", "--config", write_config(port, store={"path": "/proc/x/fleet.db"}))
    assert status == 1
    assert f"fix  broker: mqtt 127.0.0.1:{port}: the broker cannot be reached" in out
    assert "fix  store: " in out
    assert not (tmp_path / "fleet.db").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "page_password: .*/pages: cannot be read: No such file or directory"),
        ("htsat-edge-scrypt:1:1:1:a:b", "page_password: is the hash that --set-password writes, and wants the"),
        ("sesame", "web: .*: cannot be listened on: .*; take another port: web: {port: 8481}$"),
    ],
)
def test_a_page_that_cannot_be_served_says_which_key_is_wrong(tmp_path, content, error):
    pytest.importorskip("fastapi")
    path = tmp_path / "pages"
    if content is not None:
        path.write_text(content)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sections = {
            "web": {"port": taken.getsockname()[1]},
            "page_password": {"file": path},
            "page_hosts": ["barn.lan"],
        }
        config = CollectorConfig.model_validate({"broker": {"host": "x"}, "store": {"path": "fleet.db"}, **sections})
        with pytest.raises(HtsatEdgeError, match=f"^{error}"):
            check_page(config, config.web)


@pytest.mark.parametrize(
    ("sections", "error"),
    [
        (
            {"broker": {"username": "me", "password": {"env": "NO_SUCH_SECRET"}}},
            "the environment has no NO_SUCH_SECRET",
        ),
        ({"store": {"url": {"env": "NO_SUCH_SECRET"}}}, "the environment has no NO_SUCH_SECRET"),
        ({"store": {"path": "/dev/null"}}, "store.path: /dev/null: is no regular file"),
        ({"page": {}}, "page: unknown key"),
    ],
)
def test_what_can_never_work_is_one_line(command, write_config, sections, error):
    pytest.importorskip("paho.mqtt")
    status, _, err = command("collect", "--config", write_config(1, **sections))
    assert status == 2
    assert error in err.splitlines()[-1]
    assert "Traceback" not in err
