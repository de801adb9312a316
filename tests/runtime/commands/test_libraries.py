"""Commands where a library is there and cannot be loaded, or would end the process: one line."""

import os
import subprocess
import sys

import pytest

BROKEN = "which cannot be loaded here: numpy.core.multiarray failed to import"


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


@pytest.fixture
def program(tmp_path):
    """Runs the program anew, in a process that finds `tmp_path` first; returns its status, output and errors."""

    def run(*arguments):
        path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
        done = subprocess.run(
            [sys.executable, "-m", "htsat_edge", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("command", [["detect", "absent.wav"], ["listen"]], ids=["detect", "listen"])
@pytest.mark.parametrize("library", ["numpy", "pydantic", "scipy", "soxr", "rich", "yaml"])
def test_a_broken_base_library_is_refused_in_one_line(library, command, breaks, program):
    """With status 2, so that a service does not start again for ever."""
    breaks(library)
    status, out, err = program(*command)
    noise, line = err.splitlines()
    name = {"yaml": "PyYAML"}.get(library, library)
    assert (status, out, noise) == (2, "", "compiled using NumPy 1.x")
    assert line == f"htsat-edge: needs {name}, {BROKEN}; pip install --upgrade {name}"


def test_a_missing_base_library_is_refused_in_one_line(breaks, program):
    breaks("scipy", "raise ModuleNotFoundError('No module named scipy', name='scipy')")
    status, out, err = program("detect", "absent.wav")
    assert (status, out, err.splitlines()[-1]) == (2, "", "htsat-edge: needs scipy: pip install htsat-edge")


def test_soundfile_without_its_library(breaks, program):
    breaks("soundfile", "raise OSError('sndfile library not found using ctypes.util.find_library')")
    status, _, err = program("detect", "absent.wav")
    assert status == 2
    assert "needs soundfile, which cannot be loaded here: sndfile library not found" in err.splitlines()[-1]
    assert err.endswith(", or sudo apt install libsndfile1\n")


def test_a_bench_says_once_what_its_processes_cannot_load(breaks, program):
    breaks("soxr")
    status, out, err = program("bench", "--runs", "1")
    assert (status, out) == (2, "")
    assert err.splitlines()[1:] == [f"htsat-edge: needs soxr, {BROKEN}; pip install --upgrade soxr"]


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
