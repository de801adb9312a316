"""`htsat-edge check` where it needs no microphone; what it says of one is in ../daemon/sources/test_microphone.py."""

import os
import re
import socket
import struct
import sys
from functools import partial
from pathlib import Path

import pytest

from htsat_edge.runtime.commands.check import attempt, check, check_model, check_page
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings


def config_of(*sources, **sections):
    return DaemonConfig.model_validate({"sources": sources, **sections})


def results_of(config):
    return {result.name: result for result in check(config)}


def test_what_is_ready_is_ok(command, noise, tiny_bundle, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}}}\noutputs: {{store: {{path: {tmp_path}/new/store.db}}}}\n")
    status, out, err = command("check", "--config", path, noise)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok   machine",
        "ok   bundle",
        "ok   model",
        f"ok   source {noise}",
        "ok   store",
        "ok   clock",
    ]
    assert lines[1] == f"ok   bundle: {tiny_bundle}: tiny, 10 classes, on onnxruntime, fp32.onnx"
    assert lines[2].startswith("ok   model: tiny, 10 classes, ")
    info = load_bundle(tiny_bundle).info
    hop_s, latency_s = Settings().grid(info).hop_steps * info.step_s, Settings().latency_s(info)
    assert re.search(rf" ms a window on onnxruntime, one every {hop_s:g} s: \d+% of the time for 1 source; ", lines[2])
    assert f"; a clear sound is reported {latency_s:.2f} s after its onset" in lines[2]
    assert not (tmp_path / "new").exists()


def test_what_is_not_ready_says_how_to_mend_it(command, tiny_bundle, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}, precision: int3}}\n")
    status, out, err = command("check", "--config", path, "absent.wav")
    assert (status, err) == (1, "")
    assert f"fix  bundle: {tiny_bundle}: has no int3.onnx; precisions here: fp32" in out
    assert "fix  source absent.wav: absent.wav: no such file" in out


def test_a_configuration_that_cannot_be_read_is_bad_input(command, tmp_path):
    assert command("check", "--config", tmp_path / "absent.yaml") == (
        2,
        "",
        f"htsat-edge: {tmp_path}/absent.yaml: no such file\n",
    )


@pytest.fixture
def timed(tiny_bundle, monkeypatch):
    """Checks a model that takes so many of its shortest hops for a window; returns that hop, if it is ok, the text."""

    def check_it(hops, *sources, hop_s="auto"):
        info = load_bundle(tiny_bundle).info
        shortest_s = Settings().grid(info).hop_steps * info.step_s
        monkeypatch.setattr("htsat_edge.runtime.commands.check.time_window", lambda *_: hops * shortest_s)
        config = config_of(*sources, model={"bundle": tiny_bundle}, detection={"hop_s": hop_s})
        found = attempt("model", partial(check_model, config))
        return shortest_s, found.ok, found.text

    return check_it


GATE, YARD = ({"name": name, "stream": {"url": "rtsp://gate/1"}} for name in ("gate", "yard"))


@pytest.mark.parametrize(
    ("hops", "sources", "times", "text"),
    [
        (0.22, [GATE, YARD], 1, "44% of the time for 2 sources; a clear sound is reported "),
        (0.28, [GATE, YARD], 2, "28% of the time for 2 sources; "),
        (2, [GATE], 4, "50% of the time for 1 source; "),
    ],
)
def test_the_hop_that_the_device_can_afford(hops, sources, times, text, timed):
    shortest_s, ok, found = timed(hops, *sources)
    assert ok
    assert f", one every {times * shortest_s:g} s (auto): {text}" in found


@pytest.mark.parametrize("source", [GATE, {"name": "gate", "stdin": {"sample_rate": 16_000}}])
def test_a_device_that_is_too_slow(source, timed):
    shortest_s, ok, text = timed(2.1, source)
    assert not ok
    assert f", one every {4 * shortest_s:g} s (auto): 52% of the time for 1 source; " in text
    assert text.endswith("; it is too slow: build an engine, or take fewer sources")
    _, ok, text = timed(2.1, source, hop_s=shortest_s)
    assert not ok
    assert f", one every {shortest_s:g} s: 210% of the time for 1 source; " in text
    assert text.endswith("; it is too slow: build an engine, or detection.hop_s: auto")


def test_no_device_is_too_slow_for_a_recording(timed):
    _, ok, text = timed(99, {"name": "yard", "file": "yard.wav"})
    assert ok
    assert ": 9900% of the time for 1 source; " in text


def test_a_stream_is_heard_and_stdin_only_named(tiny_bundle, monkeypatch, tmp_path):
    config = config_of(
        {"name": "gate", "stream": {"url": "rtsp://gate/1"}},
        {"name": "pipe", "stdin": {"sample_rate": 16_000}},
        model={"bundle": tiny_bundle},
    )
    with monkeypatch.context() as patch, Path(os.devnull).open() as stdin:
        patch.setenv("PATH", str(tmp_path))
        patch.setattr(sys, "stdin", stdin)
        results = results_of(config)
    found = results["source gate"]
    assert (found.ok, found.text) == (False, "gate: needs ffmpeg: sudo apt install ffmpeg")
    assert (results["source pipe"].ok, results["source pipe"].text) == (True, "stdin")
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "ffmpeg"
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 32_000, 4 * 32_000, 4, 32)
    (tmp_path / "head").write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + fmt + b"data\xff\xff\xff\xff")
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/head; head -c 256000 /dev/zero\n")
    program.chmod(0o755)
    found = results_of(config)["source gate"]
    assert (found.ok, found.text) == (True, "it gives -200 dBFS")
    assert results_of(config)["source pipe"].text == "pipe: stdin is closed"
    program.write_text("#!/bin/sh\necho rtsp://me:secret@gate/1: Connection refused >&2\n")
    found = results_of(config)["source gate"]
    assert (found.ok, found.text) == (False, "rtsp://gate/1: Connection refused")


@pytest.fixture
def away(monkeypatch):
    """Takes a package away, as where its extra is not installed."""
    return lambda package: monkeypatch.setitem(sys.modules, package, None)


OUTPUTS = {
    "mqtt": {"host": "broker.invalid", "port": 1},
    "webhook": {"url": "http://127.0.0.1:1/hook"},
    "store": {"path": "notes.txt"},
    "json_lines": {"path": "notes.txt"},
    "clips": {"folder": "notes.txt"},
    "metrics": {"host": "192.0.2.1"},
}


@pytest.mark.parametrize(
    ("section", "changed", "text"),
    [
        ("mqtt", {}, "mqtt broker.invalid:1: the broker cannot be reached: "),
        ("mqtt", {"username": "me", "password": {"env": "NOT_SET"}}, "the environment has no NOT_SET, which must hold"),
        ("webhook", {}, "webhook 127.0.0.1: Connection refused"),
        ("webhook", {"url": "http://hook.invalid/"}, "webhook hook.invalid: "),
        ("webhook", {"token": {"file": "/dev/zero"}}, "/dev/zero: is no regular file; it must hold a secret"),
        ("store", {}, "outputs.store.path: notes.txt: was not written by htsat-edge, and is left as it is"),
        ("json_lines", {}, "outputs.json_lines.path: notes.txt: was not written by htsat-edge, and is left as it is"),
        ("store", {"path": "notes.txt/events.db"}, "/notes.txt: is no folder"),
        ("clips", {}, "/notes.txt: is no folder"),
        ("clips", {"privacy": "no_speech"}, "speech_label: Speech: the model knows no such class"),
        ("metrics", {}, "outputs.metrics: 192.0.2.1:9464: cannot be listened on: Cannot assign requested address"),
    ],
)
def test_an_output_that_cannot_work_is_found(section, changed, text, tiny_bundle, tmp_path, noise, monkeypatch):
    """All of these were called ready."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.setattr(Mqtt, "patience_s", 0.5)
    (tmp_path / "notes.txt").write_text("mine\n")
    config = config_of(
        {"name": "yard", "file": noise}, model={"bundle": tiny_bundle}, outputs={section: OUTPUTS[section] | changed}
    )
    found = results_of(config)[section]
    assert not found.ok
    assert text in found.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise.wav", "notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("section", "package", "text"),
    [
        ("mqtt", "paho.mqtt.client", 'outputs.mqtt needs paho-mqtt: pip install "htsat-edge[mqtt]"'),
        ("metrics", "prometheus_client", 'outputs.metrics needs prometheus-client: pip install "htsat-edge[metrics]"'),
    ],
)
def test_an_extra_that_is_missing_is_found(section, package, text, away, tiny_bundle, noise):
    away(package)
    source = {"name": "yard", "file": noise}
    config = config_of(source, model={"bundle": tiny_bundle}, outputs={section: OUTPUTS[section]})
    found = results_of(config)[section]
    assert (found.ok, found.text) == (False, text)


def test_what_listen_refuses_is_not_ready(command, tiny_bundle, noise, tmp_path):
    """The two commands open everything with the same code."""
    files = tmp_path / "detector.yaml"
    for line, text in (
        ("detection: {labels: [Dgo]}", "Dgo"),
        ("model: {threads: 1, precision: int3}", "has no int3.onnx"),
        (f"sources: [{{name: a, stream: {{url: {noise}}}}}]", "is a file, and would be heard again and again"),
        ("outputs: {metrics: {host: 192.0.2.1}}", "cannot be listened on"),
        ("outputs: {store: {path: /dev/null}}", "/dev/null"),
        ("outputs: {webhook: {url: 'http://127.0.0.1:1', token: {file: /dev/zero}}}", "/dev/zero: is no regular file"),
    ):
        model = "" if line.startswith("model") else f"model: {{bundle: {tiny_bundle}}}\n"
        files.write_text(f"{model}{line.replace('threads: 1', f'bundle: {tiny_bundle}')}\n")
        source = [] if line.startswith("sources") else [noise]
        status, _, err = command("listen", "--config", files, *source)
        later = "metrics" in line  # an address that this machine does not have yet
        assert (status, text in err) == (1 if later else 2, True), line
        status, out, _ = command("check", "--config", files, *source)
        assert (status, text in next(x for x in out.splitlines() if x.startswith("fix"))) == (1, True), line


def test_two_recordings_of_one_name(command, tiny_bundle, noise, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}}}\n")
    status, out, _ = command("check", "--config", path, noise, noise)
    assert status == 1
    assert f"fix  sources: sources: {noise} is there twice" in out
    assert "ok   outputs: nothing that is heard is kept; `store: {path: events.db}` under `outputs` " in out


def test_outputs_that_are_ready_are_left_as_they_are(tiny_bundle, noise, tmp_path):
    outputs = {
        "json_lines": {"path": tmp_path / "a" / "x.jsonl"},
        "store": {"path": tmp_path / "b" / "x.db"},
        "clips": {"folder": tmp_path / "c"},
        "metrics": {"port": free_port()},
    }
    config = config_of({"name": "x", "file": noise}, model={"bundle": tiny_bundle}, outputs=outputs)
    results = results_of(config)
    assert [name for name in results if not results[name].ok] == []
    assert results["json_lines"].text.startswith(f"{tmp_path}/a: ")
    assert results["clips"].text.startswith(f"{tmp_path}/c: ")
    assert results["metrics"].text == f"127.0.0.1:{outputs['metrics']['port']} is free"
    assert [path.name for path in tmp_path.iterdir()] == ["noise.wav"]


@pytest.mark.parametrize(
    ("web", "socket_there", "ok", "text"),
    [
        ({}, False, True, "http://127.0.0.1:"),
        ({"start": False}, False, True, "`htsat-edge web --config …` starts it"),
        ({"start": False}, True, False, "web.socket: {0}/x.db.live: is no socket, and is left as it is"),
        ({"host": "0.0.0.0", "password_file": "none"}, False, False, "none: "),
    ],
)
def test_a_page_is_looked_at(web, socket_there, ok, text, tiny_bundle, noise, tmp_path):
    if socket_there:
        (tmp_path / "x.db.live").touch()
    store, model = {"store": {"path": tmp_path / "x.db"}}, {"bundle": tiny_bundle}
    config = config_of({"name": "x", "file": noise}, model=model, outputs=store, web={"port": free_port(), **web})
    found = attempt("web", partial(check_page, config))
    assert (found.ok, text.format(tmp_path) in found.text) == (ok, True), found.text


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HtsatEdgeError("the cable is out"), "the cable is out"),
        (KeyError("cable"), "KeyError: 'cable' (test_check.py:"),
    ],
)
def test_an_error_is_a_result(error, text):
    def fail():
        raise error

    found = attempt("cable", fail)
    assert (found.name, found.ok) == ("cable", False)
    assert found.text.startswith(text)


def test_names_are_printed_as_they_are(command, tiny_bundle, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"model: {{bundle: {tiny_bundle}}}\n")
    _, out, _ = command("check", "--config", path, "[/] :dog: [bold].wav")
    assert "fix  source [/] :dog: [bold].wav: [/] :dog: [bold].wav: no such file" in out
