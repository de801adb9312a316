"""`htsat-edge web`: what it serves, refuses and leaves behind."""

import http.client
import io
import json
import os
import signal
import socket
import stat
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from htsat_edge.runtime.common.programs import command_of
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.web.passwords import read_password


@pytest.fixture
def store(tmp_path):
    """An empty one."""
    path = tmp_path / "events.db"
    Database(path).close()
    return path


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def start():
    """Start the command as a process of its own; it is killed where it does not end."""
    processes = []

    def begin(*arguments, **more):
        command = command_of("htsat_edge", "web", *map(str, arguments))
        processes.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def ask(port, path, body=None):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        if body is None:
            connection.request("GET", path)
        else:
            headers = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_it_serves_until_it_is_told_to_end(start, store, free_port, tmp_path):
    """As the daemon starts it: with the configuration on stdin, and the name of the file that it is from."""
    config = {"outputs": {"store": {"path": str(store)}}, "web": {"port": free_port}}
    file = tmp_path / "detector.yaml"
    file.write_text(f"outputs: {{store: {{path: {store}}}}}  # as ever\n")
    process = start("--config", "/dev/stdin", "--config-file", file, stdin=subprocess.PIPE)
    process.stdin.write(json.dumps(config))
    process.stdin.close()
    assert process.stderr.readline() == f"the page is at http://127.0.0.1:{free_port}; Ctrl-C ends it\n"
    assert ask(free_port, "/api/events") == (200, {"events": [], "total": 0, "next": None})
    assert ask(free_port, "/api/session")[1]["clips"] is False
    status, done = ask(free_port, "/api/tune/apply", {"changes": [{"label": "Dog", "threshold": 0.7}]})
    assert (status, done["path"]) == (200, str(file))
    assert "# as ever\n" in file.read_text()
    assert "Dog: 0.7" in file.read_text()
    process.terminate()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_what_it_refuses(command, store, tmp_path, free_port):
    def refused(*arguments):
        status, out, err = command("web", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        return err

    assert "--config FILE" in refused()
    assert "not allowed with" in refused("--demo", "--database", store)
    assert "no port" in refused("--database", store, "--port", 70_000)
    assert "--config-file is for --config" in refused("--database", store, "--config-file", tmp_path / "detector.yaml")
    assert "there are no clips" in refused("--database", store, "--export", tmp_path / "out")
    assert "nothing to export" in refused("--database", store, "--clips", tmp_path, "--export", tmp_path / "out")
    with socket.create_server(("127.0.0.1", free_port)):
        assert "take another port: --port 8481" in refused("--database", store, "--port", free_port)
    config = tmp_path / "detector.yaml"
    config.write_text("detection: {hop_s: 0.32}")
    assert "outputs.store is missing" in refused("--config", config)
    section = f"outputs: {{store: {{path: {store}}}}}\nweb: "
    config.write_text(f"{section}{{host: 0.0.0.0}}")
    assert "a password is needed; write one with" in refused("--config", config)
    config.write_text(f"{section}{{host: 0.0.0.0, password_file: {tmp_path / 'none'}}}")
    assert "no such file; write it with" in refused("--config", config)
    config.write_text(f"{section}{{port: {free_port}}}")
    with socket.create_server(("127.0.0.1", free_port)):
        assert "take another port: web: {port: 8481}" in refused("--config", config)
    config.write_text(f"{section}{{host: 192.0.2.1, port: {free_port}, password_file: {tmp_path / 'password'}}}")
    (tmp_path / "password").touch(0o600)
    assert "is no hash of a password" in refused("--config", config)


def test_a_password_is_written(command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse\n"))
    status, out, err = command("web", "--set-password", tmp_path / "password")
    assert (status, err) == (0, "")
    assert "password_file" in out
    assert read_password(tmp_path / "password").matches("correct horse")
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600


def test_it_says_what_to_install(command, store, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.page.find_spec", lambda name: None)
    assert command("web", "--database", store) == (
        2,
        "",
        'htsat-edge: the page needs FastAPI and uvicorn: pip install "htsat-edge[web]"\n',
    )


@pytest.fixture
def short_tmp():
    """A folder for temporary files: the path of a Unix socket has 107 letters at most."""
    with tempfile.TemporaryDirectory(prefix="web-") as name:
        yield Path(name)


def test_the_demo_plays_and_leaves_nothing(start, free_port, short_tmp, wait_for):
    """The recording is heard, by a daemon that ends with the page, in a folder that is removed."""
    process = start("--demo", "--port", free_port, env={**os.environ, "TMPDIR": str(short_tmp)}, start_new_session=True)
    assert f":{free_port};" in process.stderr.readline()
    assert ask(free_port, "/api/session")[1]["demo"]
    wait_for(lambda: (ask(free_port, "/api/device")[1]["status"] or {"sources": []})["sources"])
    assert ask(free_port, "/api/sounds")[1] == {"can_enroll": True, "reason": "", "sounds": []}
    assert ask(free_port, "/api/tune/apply", {"changes": [{"label": "Dog", "threshold": 0.7}]})[0] == 200
    wait_for(lambda: ask(free_port, "/api/thresholds")[1]["farmyard"]["Dog"] == 0.7)  # the daemon has taken it over
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert list(short_tmp.iterdir()) == []
