"""Choosing a device; noticing loss; and a real capture by PortAudio from a virtual microphone (PulseAudio)."""

import json
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.daemon.config import MicrophoneConfig
from htsat_edge.runtime.daemon.sources.microphone import (
    Continuity,
    choose_channels,
    choose_rate,
    count_channels,
    find_device,
)

DEVICES = [
    {"name": "HDMI: 0 (hw:0,3)", "max_input_channels": 0, "default_samplerate": 48_000},
    {"name": "USB Audio Device: - (hw:2,0)", "max_input_channels": 1, "default_samplerate": 44_100},
    {"name": "ReSpeaker 4 Mic Array: USB Audio (hw:3,0)", "max_input_channels": 6, "default_samplerate": 16_000},
    {"name": "default", "max_input_channels": 32, "default_samplerate": 44_100},
]


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (None, 3),
        (1, 1),
        ("default", 3),
        ("respeaker", 2),
        ("usb audio", 1),  # the first of two
        ("usb:2886:0018", 2),
        ("alsa:Device", 1),
    ],
)
def test_a_device_is_found(wanted, number, cards):
    assert find_device(wanted, DEVICES, 3, cards) == number


@pytest.mark.parametrize("wanted", [0, 7, "hdmi", "usb:1234:5678", "alsa:none", "Blue Yeti"])
def test_a_device_that_is_not_there_is_an_error_with_those_that_are(wanted, cards):
    with pytest.raises(HtsatEdgeError) as raised:
        find_device(wanted, DEVICES, 3, cards)
    assert f"there is no microphone {wanted}; inputs: USB Audio Device: - (hw:2,0); ReSpeaker" in str(raised.value)


def test_no_device_at_all(cards):
    with pytest.raises(HtsatEdgeError, match="the system has no default microphone; inputs: none"):
        find_device(None, DEVICES[:1], -1, cards)


def test_a_device_whose_channels_are_to_be_counted_may_come_later(monkeypatch):
    """So its absence is no mistake in the configuration, and systemd tries again."""
    sound = SimpleNamespace(query_devices=lambda: DEVICES, default=SimpleNamespace(device=(3, 0)))
    monkeypatch.setattr("htsat_edge.runtime.daemon.sources.microphone.load_portaudio", lambda: sound)
    assert count_channels(MicrophoneConfig(device="respeaker", channel="each")) == 6
    with pytest.raises(NotReadyError, match="there is no microphone Blue Yeti"):
        count_channels(MicrophoneConfig(device="Blue Yeti", channel="each"))


@pytest.mark.parametrize(
    ("channel", "feeds", "chosen"),
    [
        ("mix", 1, (2, ["mix"])),
        ("loudest", 1, (2, ["loudest"])),
        ("first", 1, (1, ["first"])),
        ("each", 4, (4, [1, 2, 3, 4])),
        (3, 1, (3, [3])),
        (6, 1, (6, [6])),
    ],
)
def test_channels(channel, feeds, chosen):
    assert choose_channels(channel, DEVICES[2], feeds) == chosen


def test_channels_that_are_not_there():
    with pytest.raises(HtsatEdgeError, match="has 1 channels, but channel 2 is asked for"):
        choose_channels(2, DEVICES[1], 1)
    with pytest.raises(HtsatEdgeError, match="has 1 channels, and had 2"):
        choose_channels("each", DEVICES[1], 2)


class Sd:
    """PortAudio's check of settings."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *rates):
        self._rates = rates

    def check_input_settings(self, device, channels, dtype, extra, rate):
        if rate not in self._rates:
            raise self.PortAudioError("Invalid sample rate")


def test_the_rate_is_the_devices_own_or_one_that_it_takes():
    assert choose_rate(Sd(44_100, 48_000), None, 1, 1, DEVICES[1]) == 44_100
    assert choose_rate(Sd(16_000, 48_000), None, 1, 1, DEVICES[1]) == 48_000
    assert choose_rate(Sd(16_000), 16_000, 1, 1, DEVICES[1]) == 16_000
    with pytest.raises(HtsatEdgeError, match="does not take 96000 Hz with 1 channels; it takes 48000, 16000"):
        choose_rate(Sd(16_000, 48_000), 96_000, 1, 1, DEVICES[1])
    with pytest.raises(HtsatEdgeError, match="takes nothing now: is another program using it"):
        choose_rate(Sd(), None, 1, 1, DEVICES[1])


def run_callbacks(lost_s=0.0, stall_s=0.0, overflow_s=None, ppm=0.0, jitter_s=0.01):
    """Return what was lost by a Continuity in a minute of blocks, with a stall and a loss at 30 s."""
    continuity, rng, rate = Continuity(48_000), np.random.default_rng(0), 48_000
    found, recorded_s, free_s = [], 0.0, 0.0
    for block in range(600):
        recorded_s += 0.1 * (1 + ppm / 1e6)
        if block == 300:
            recorded_s += lost_s
            free_s = recorded_s + stall_s
        # After a stall blocks come one upon the other, until none is left of those that waited.
        now = max(recorded_s + rng.exponential(jitter_s), free_s)
        free_s = max(free_s, now + 0.001)
        found.append(
            continuity.update(now, round(0.1 * rate), overflow_s is not None and block == round(10 * overflow_s))
        )
    return sum(found)


@pytest.mark.parametrize("stall_s", [0, 1, 3, 8])
@pytest.mark.parametrize("ppm", [-200, 0, 200])
def test_a_stall_that_loses_nothing_is_no_loss(stall_s, ppm):
    assert run_callbacks(stall_s=stall_s, ppm=ppm) == 0


@pytest.mark.parametrize("lost_s", [0.4, 1.0, 8.0])
def test_a_loss_that_nobody_reports_is_found(lost_s):
    assert run_callbacks(lost_s=lost_s) == pytest.approx(lost_s, abs=0.05)


@pytest.mark.parametrize(("overflow_s", "found_s"), [(30, 0.08), (29, 0.08), (25, 0), (None, 0)])
def test_soon_after_an_overflow_a_small_loss_is_found_too(overflow_s, found_s):
    """It is known two seconds after the loss, which may be four after the overflow."""
    assert run_callbacks(lost_s=0.08, overflow_s=overflow_s) == pytest.approx(found_s, abs=0.02)


HANGS = """
import sys
import threading
import time
from types import SimpleNamespace

class Stream:
    def __init__(self, **settings):
        pass

    def start(self):
        opened.set()

    def close(self):
        closing.set()
        threading.Event().wait()

opened, closing = threading.Event(), threading.Event()
device = {"name": "broken", "max_input_channels": 1, "default_samplerate": 48_000}
sys.modules["sounddevice"] = SimpleNamespace(
    query_devices=lambda: [device],
    default=SimpleNamespace(device=[0, 0]),
    check_input_settings=lambda *_: None,
    InputStream=Stream,
    PortAudioError=OSError,
)

from htsat_edge.runtime.daemon.config import MicrophoneConfig
from htsat_edge.runtime.daemon.sources import microphone
from htsat_edge.runtime.daemon.sources.feed import Feed

microphone.CLOSE_S = 0.1
source = microphone.MicrophoneSource(MicrophoneConfig(), [Feed("yard", threading.Event(), live=True)])
source.start()
assert opened.wait(60)
source.stop()
assert closing.wait(60)
print("stopped")
"""


def test_a_device_that_cannot_be_closed_does_not_keep_the_program_from_ending():
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


# A real capture


class Listening:
    """`htsat-edge listen` in a process of its own; its messages as they come, with when that was."""

    def __init__(self, environment, *arguments):
        command = [sys.executable, "-m", "htsat_edge", "listen", *arguments]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.messages = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.messages.append((time.monotonic(), json.loads(line)))

    def published(self, **wanted):
        """Return the messages with these keys, and when each came."""
        return [
            (at, message)
            for at, message in list(self.messages)
            if all(message.get(key) == value for key, value in wanted.items())
        ]

    def close(self):
        self.process.terminate()
        status = self.process.wait(20)
        self._thread.join()
        self.process.stdout.close()
        return status


def test_what_is_played_is_heard_live_and_a_lost_microphone_comes_back(microphone, farmyard, wait_for):
    daemon = Listening(microphone.environment)
    wait_for(lambda: daemon.published(state="listening"))
    ((begun, listening),) = daemon.published(state="listening")
    assert (listening["source"], listening["sample_rate"]) == ("microphone", 44_100)
    stop = microphone.play(farmyard)
    wait_for(lambda: daemon.published(type="end", label="Speech"))
    stop()
    heard_at, start = daemon.published(type="start", label="Speech")[0]
    # A window must have been heard, and the sound itself: hop, look-ahead and all else come on top.
    assert heard_at - begun < 10.24 + 6
    assert start["source"] == "microphone"
    assert listening["time"] < start["time"]
    assert start["time"].endswith("+00:00")
    unplugged = time.monotonic()
    microphone.unplug()
    wait_for(lambda: daemon.published(state="source_lost"))
    microphone.plug()
    plugged = time.monotonic()
    wait_for(lambda: daemon.published(type="gap"))
    ((back, gap),) = daemon.published(type="gap")
    assert back - plugged < 10
    assert gap["offset"] - gap["onset"] == pytest.approx(back - unplugged, abs=0.5)
    assert gap["reason"] == "the microphone was lost"
    wait_for(lambda: daemon.published(state="source_back"))
    assert daemon.close() == 0
    states = [message["state"] for _, message in daemon.published(type="status")]
    assert [state for state in states if not state.startswith("input_")] == ["listening", "source_lost", "source_back"]
