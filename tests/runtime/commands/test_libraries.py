"""Commands where a library is there and cannot be loaded, or would end the process: one line."""

import sys

import pytest


@pytest.mark.parametrize(
    ("library", "arguments", "line"),
    [
        ("matplotlib", ["detect", "absent.wav", "--plot", "x.png"], "--plot needs matplotlib, which cannot be loaded"),
        ("fastapi", ["web", "--demo"], "the page needs fastapi, which cannot be loaded"),
        ("uvicorn", ["web", "--demo"], "the page needs uvicorn, which cannot be loaded"),
    ],
)
def test_a_command_is_refused_in_one_line(library, arguments, line, breaks, command):
    breaks(library)
    status, out, err = command(*arguments)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"htsat-edge: {line}")


@pytest.mark.parametrize(
    ("library", "output", "line"),
    [
        ("paho", "mqtt: {host: 127.0.0.1}", "fix  mqtt: outputs.mqtt needs paho-mqtt, which cannot be loaded here: "),
        ("prometheus_client", "metrics: {}", "fix  metrics: outputs.metrics needs prometheus-client, which cannot be "),
    ],
)
def test_check_shows_a_broken_library(library, output, line, breaks, command, tiny_bundle, tmp_path):
    breaks(library)
    config = tmp_path / "detector.yaml"
    config.write_text(f"model: {{bundle: {tiny_bundle}}}\noutputs: {{{output}}}\n")
    status, out, err = command("check", "--config", config, tmp_path / "absent.wav")
    assert (status, err) == (1, "")
    assert line in out


def test_an_old_matplotlib_is_refused_before_any_work(command, farmyard, monkeypatch):
    """matplotlib.typing is in it from 3.8 on."""
    monkeypatch.setitem(sys.modules, "matplotlib.typing", None)
    line = 'htsat-edge: --plot needs matplotlib: pip install "htsat-edge[plot]"\n'
    assert command("detect", farmyard, "--plot", "x.png") == (2, "", line)


def test_an_onnxruntime_that_would_end_the_process(command, tiny_bundle, farmyard, crashing):
    """As on an aarch64 where some processors are off."""
    status, out, err = command("detect", "--bundle", tiny_bundle, farmyard)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("htsat-edge: onnxruntime ends with SIGABRT when it is loaded, as before 1.27 ")
    status, out, err = command("check", farmyard)
    assert (status, err) == (1, "")
    assert "fix  bundle: onnxruntime ends with SIGABRT when it is loaded" in out
