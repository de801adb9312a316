"""Recording a sound in turn: where a take begins and ends, and a real microphone (PulseAudio)."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import MicrophoneConfig
from htsat_edge.runtime.daemon.sources.takes import TakeCutter, record_takes

RATE = 16_000


def room(seconds, level=0.001):
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32)


def with_sound(samples, onset_s, offset_s, level=0.1):
    span = slice(round(onset_s * RATE), round(offset_s * RATE))
    samples[span] += level * np.sin(np.arange(span.stop - span.start) / 3).astype(np.float32)
    return samples


def cut(samples, chunk):
    cutter = TakeCutter(RATE)
    for at in range(0, len(samples), chunk):
        cutter.push(samples[at : at + chunk])
        if cutter.done:
            return at / RATE, cutter.samples
    return None, cutter.samples if cutter.begun else None


@pytest.mark.parametrize("chunk", [100, 1600, 10**6])
def test_a_take_is_the_sound_with_a_little_around_it(chunk):
    samples = with_sound(with_sound(room(5), 1.5, 1.9), 2.3, 2.5)  # a pause of 0.4 s is within the sound
    _, found = cut(samples, chunk)
    begin = round(1.2 * RATE)
    assert found.tobytes() == samples[begin : begin + len(found)].tobytes()
    assert len(found) / RATE == pytest.approx(1.6, abs=0.05)


def test_it_ends_soon_after_the_sound():
    at_s, _ = cut(with_sound(room(6), 1, 2), 160)
    assert at_s == pytest.approx(2.8, abs=0.05)


def test_a_sound_without_end_is_cut_after_five_seconds():
    at_s, found = cut(with_sound(room(9), 1, 9), 160)
    assert at_s == pytest.approx(6, abs=0.05)
    assert len(found) / RATE == pytest.approx(5.3, abs=0.1)


def test_a_room_alone_is_no_sound():
    assert cut(room(5), 160) == (None, None)
    assert cut(np.zeros(5 * RATE, np.float32), 160) == (None, None)
    assert cut(with_sound(room(5, level=1e-5), 1, 2, level=3e-4), 160) == (None, None)  # below what a sound must have


def test_without_a_microphone_it_is_one_line(tmp_path):
    with pytest.raises(HtsatEdgeError, match="there is no microphone nowhere") as raised:
        record_takes(MicrophoneConfig(device="nowhere"), 3, tmp_path, print)
    assert "\n" not in str(raised.value)


SCRIPT = """
import sys
from pathlib import Path
from htsat_edge.runtime.daemon.config import MicrophoneConfig
from htsat_edge.runtime.daemon.sources.takes import record_takes
print(len(record_takes(MicrophoneConfig(), 2, Path(sys.argv[1]), lambda line: print(line, flush=True))))
"""


def test_two_takes_of_a_real_microphone(microphone, tmp_path):
    soundfile.write(tmp_path / "bell.wav", with_sound(np.zeros(RATE // 2, np.float32), 0, 0.5), RATE)
    command, lines = [sys.executable, "-c", SCRIPT, tmp_path], []
    with subprocess.Popen(command, env=microphone.environment, stdout=subprocess.PIPE, text=True) as recorder:
        for line in recorder.stdout:
            lines.append(line.strip())
            if line.startswith("make the sound now"):
                play = ["paplay", "--device=virtual", tmp_path / "bell.wav"]
                subprocess.run(play, env=microphone.environment, check=True)
    assert recorder.wait() == 0
    assert [line.split(",")[0][:25] for line in lines[::2]] == [
        "make the sound now … 1 of",
        "make the sound now … 2 of",
        "2",
    ]
    for number in (1, 2):
        samples, rate = soundfile.read(tmp_path / f"take-{number:02}.wav")
        assert 0.5 < len(samples) / rate < 2
        assert np.abs(samples).max() == pytest.approx(0.1, abs=0.02)
