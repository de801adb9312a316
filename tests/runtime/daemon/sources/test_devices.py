"""The inputs of this machine, measured, by the commands that show them; on a virtual microphone."""

import json
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.sources.devices import measure_level
from htsat_edge.runtime.models.bundle import load_bundle


class Card:
    """PortAudio, with a sound card that gives a value."""

    PortAudioError = OSError

    def __init__(self, value):
        self._value = value

    def InputStream(self, callback, **_):
        callback(np.full((8000, 1), self._value, np.float32))
        return nullcontext()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_device_that_gives_no_numbers_has_no_level(value):
    """Those of ALSA's null device are whatever the memory holds."""
    assert measure_level(Card(value), 0, 1, 8000) == (
        None,
        "gives samples that are no numbers, or far beyond full scale",
    )
    assert measure_level(Card(0.5), 0, 1, 8000) == (pytest.approx(-200), None)


@pytest.fixture
def run(microphone):
    """Runs `htsat-edge` where the virtual microphone is."""

    def command(*arguments):
        program = [sys.executable, "-m", "htsat_edge", *arguments]
        return subprocess.run(program, env=microphone.environment, capture_output=True, text=True, check=False)

    return command


@pytest.fixture
def noise(tmp_path):
    """Ten minutes of noise at -20 dBFS."""
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 600 * 8000).clip(-1, 1), 8000)
    return path


def test_a_device_is_listed_with_its_level_and_checked(run, microphone, noise):
    stop = microphone.play(noise)
    done = run("devices", "--json")
    found = {device["name"]: device for device in map(json.loads, done.stdout.splitlines())}
    (default,) = (device for device in found.values() if device["default"])
    assert done.returncode == 0, done.stderr
    assert found["K\xfcche"]["level_dbfs"] == pytest.approx(
        -20, abs=3
    )  # in Latin-1: every command ended in a traceback
    assert default["level_dbfs"] == pytest.approx(-20, abs=3)
    assert default["error"] is None
    done = run("check")
    assert "ok   source microphone: default, " in done.stdout, done.stdout
    assert f"ok   model: bundled, {len(load_bundle().info.labels)} classes" in done.stdout
    assert done.returncode == 0
    stop()
    done = run("check")
    assert "fix  source microphone: default: digital silence: is it muted?" in done.stdout
    assert done.returncode == 1


def test_a_device_that_is_not_there_is_to_be_fixed(run):
    done = run("check", "--device", "Blue Yeti")
    assert "fix  source microphone: there is no microphone Blue Yeti; inputs: " in done.stdout
    assert done.returncode == 1
