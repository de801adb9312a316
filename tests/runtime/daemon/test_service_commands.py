"""The daemon in a process of its own, which takes commands from a real broker and has a configuration file."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import yaml

SECOND = np.zeros(32_000, "<i2").tobytes()


@pytest.fixture
def listening(broker, tmp_path, wait_for):
    """Starts `htsat-edge listen` on stdin; ends it at the end."""
    path, processes = tmp_path / "detector.yaml", []
    content = {
        "sources": [{"name": "yard", "stdin": {"sample_rate": 32_000}}],
        "model": {"backend": "onnxruntime"},
        "detection": {"thresholds": {"Dog": 0.5}},
        "outputs": {"mqtt": {"host": "127.0.0.1", "port": broker.port, "discovery": None, "commands": True}},
    }
    path.write_text(f"# the yard\n{yaml.safe_dump(content)}")

    def start():
        command = [sys.executable, "-m", "htsat_edge", "listen", "--config", path]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env=os.environ, **pipes)
        processes.append(process)
        process.stdin.write(SECOND)
        process.stdin.flush()
        wait_for(lambda: broker.last("htsat-edge/yard/listening"), 60)
        return process, path

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ask(broker, last, content, retain=False):
    broker._client.publish(f"htsat-edge/yard/{last}/set", content, qos=1, retain=retain).wait_for_publish(20)


def texts(broker, state):
    return [message["text"] for message in broker.all("htsat-edge/event") if message["state"] == state]


def test_a_threshold_is_written_into_the_file_and_taken_over(listening, broker, wait_for):
    process, path = listening()
    ask(broker, "threshold", json.dumps({"label": "Dog", "threshold": 0.25}))
    wait_for(lambda: texts(broker, "config_loaded"), 60)
    assert texts(broker, "config_loaded") == ["thresholds: Dog 0.5 -> 0.25"]
    written = path.read_text()
    assert written.startswith("# the yard\n")
    assert yaml.safe_load(written)["sources"][0]["detection"]["thresholds"] == {"Dog": 0.25}
    ask(broker, "threshold", json.dumps({"label": "Dog", "threshold": 0.25}))  # is there already, which is no fault
    ask(broker, "threshold", json.dumps({"label": "Hound", "threshold": 0.25}))
    wait_for(lambda: texts(broker, "command_rejected"), 60)
    (rejected,) = texts(broker, "command_rejected")
    assert "Hound" in rejected
    assert path.read_text() == written
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_retained_pause_outlives_the_process(listening, broker, wait_for):
    process, _ = listening()
    ask(broker, "listening", "OFF", retain=True)
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "OFF", 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    gaps = [message["reason"] for message in broker.all("htsat-edge/yard/event") if message["type"] == "gap"]
    assert gaps == ["paused"]
    broker.heard.clear()
    process, _ = listening()
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "OFF", 60)
    ask(broker, "listening", "ON")
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "ON", 60)
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: texts(broker, "config_loaded"), 60)
    ask(broker, "listening", "?")  # comes after the retained pause, which has come again, and is undone
    wait_for(lambda: texts(broker, "command_rejected"), 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    texts_of_yard = [message.get("text", "") for message in broker.all("htsat-edge/yard/event")]
    assert [text for text in texts_of_yard if text.endswith("by MQTT")] == ["paused by MQTT", "resumed by MQTT"]
