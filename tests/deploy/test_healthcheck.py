"""The image's health check, against a real daemon."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

HEALTHCHECK = Path(__file__).parents[2] / "deploy" / "healthcheck.py"
RATE = 32_000


def check(port):
    """Run the health check as the image does; return its exit status and what it printed."""
    environment = {
        **os.environ,
        "http_proxy": "http://127.0.0.1:9",
        "PYTHONIOENCODING": "ascii",
    }  # Docker hands the host's proxies on
    command = [sys.executable, HEALTHCHECK, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def listen(tmp_path, port):
    """Starts `htsat-edge listen` on its stdin, with more outputs; ends it."""
    processes = []

    def start(**outputs):
        config = tmp_path / "detector.yaml"
        source = {"name": "yard", "stdin": {"sample_rate": RATE}}
        outputs = {"metrics": {"port": port}, **outputs}
        config.write_text(
            yaml.safe_dump({"sources": [source], "outputs": outputs, "model": {"backend": "onnxruntime"}})
        )
        command = [sys.executable, "-m", "htsat_edge", "listen", "--config", config]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL))
        noise = np.random.default_rng(0).normal(0, 0.05, 2 * RATE)
        processes[-1].stdin.write((noise * 32767).astype("<i2").tobytes())
        processes[-1].stdin.flush()
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_daemon_that_hears_is_well(listen, port, wait_for):
    process = listen()
    wait_for(lambda: check(port)[0] == 0)
    status, said = check(port)
    assert (status, json.loads(said)["sources"]["yard"]["heard"]) == (0, True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    status, said = check(port)
    assert status == 1
    assert said.startswith(f"no answer from 127.0.0.1:{port}/healthz: ")
    assert said.count("\n") == 1


def test_a_daemon_without_its_broker_is_not(listen, port, wait_for):
    listen(mqtt={"host": "127.0.0.1", "port": 9})
    wait_for(lambda: '"works": false' in check(port)[1])
    status, said = check(port)
    assert (status, json.loads(said)["healthy"]) == (1, False)


@pytest.mark.parametrize("port", ["abc", "0", "70000", "-1", "", "²"])
def test_what_is_no_port_is_one_line(port):
    status, said = check(port)
    assert status == 1
    assert said.endswith("is not a port, which is a number from 1 to 65535\n")


@pytest.mark.parametrize(("body", "printed"), [(b"\xff\xc3\xa9", "\\ufffd\\xe9\n"), (b"x" * 4095, f"{'x' * 4095}x\n")])
def test_an_answer_of_another_kind_is_printed_as_far_as_it_goes(body, printed):
    """Here one that is no UTF-8, and one that does not end."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)
            with suppress(OSError):
                while len(body) > 10:
                    self.wfile.write(b"x" * 4096)

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert check(server.server_port) == (0, printed)
        thread.join()
