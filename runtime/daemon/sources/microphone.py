"""Record microphones through PortAudio: found by name, opened at a rate that they take, opened again when lost."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError, NotReadyError
from htsat_edge.runtime.daemon.config import MicrophoneConfig
from htsat_edge.runtime.daemon.sources.cards import CARDS, find_card, list_cards
from htsat_edge.runtime.daemon.sources.feed import Feed
from htsat_edge.runtime.daemon.sources.names import tolerate_names
from htsat_edge.runtime.daemon.supervision import SupervisedThread, describe
from htsat_edge.runtime.dsp.channels import Channel, Downmix

BLOCK_S = 0.1
STALL_S = 3.0
"""A device whose callback has not come for so long is closed and opened again."""
WATCH_S = 0.2
CLOSE_S = 5.0
MOST_MIXED = 2
"""Channels: virtual devices have as many as one asks for."""
RATES = (48_000, 44_100, 32_000, 16_000)
"""Tried in turn where the device does not take its own default."""
WINDOW_S = 2.0
SURE_S = 0.25
"""Lateness that scheduling does not explain, if it lasts for a window."""
SURE_AFTER_OVERFLOW_S = 0.02
_portaudio = threading.RLock()
_open: set[MicrophoneSource] = set()
"""Those that have a stream: PortAudio must close all of them to look for new devices."""


def load_portaudio() -> Any:
    """Return the sounddevice module; raise an HtsatEdgeError with what to install."""
    try:
        import sounddevice
    except OSError:
        raise HtsatEdgeError("PortAudio is not there: sudo apt install libportaudio2") from None
    tolerate_names(sounddevice)
    return sounddevice


def look_up(sd: Any, settings: MicrophoneConfig) -> tuple[int, dict[str, Any]]:
    """Return the number of the device that is meant and what PortAudio knows of it; raise where it is not there."""
    devices = list(sd.query_devices())
    number = find_device(settings.device, devices, sd.default.device[0])
    return number, devices[number]


def find_device(wanted: str | int | None, devices: Sequence[dict[str, Any]], default: int, cards: Path = CARDS) -> int:
    """Return the number of an input device; raise an HtsatEdgeError with those that there are.

    `wanted` is a number, `alsa:ID`, `usb:VENDOR:PRODUCT`, a name or a part of it; None is the `default` one.
    """
    inputs = [i for i, device in enumerate(devices) if device["max_input_channels"] > 0]
    if wanted is None:
        found = [default] if default in inputs else []
    elif isinstance(wanted, int):
        found = [i for i in inputs if i == wanted]
    elif wanted.startswith(("alsa:", "usb:")):
        number = find_card(wanted, cards)
        found = [i for i in inputs if re.search(rf"\(hw:{number},", devices[i]["name"])]
    else:
        name = wanted.casefold()
        found = [i for i in inputs if devices[i]["name"].casefold() == name]
        found = found or [i for i in inputs if name in devices[i]["name"].casefold()]
    if not found:
        there = "; ".join(devices[i]["name"] for i in inputs) or "none"
        if wanted is None:
            raise HtsatEdgeError(f"the system has no default microphone; inputs: {there}")
        raise HtsatEdgeError(f"there is no microphone {wanted}; inputs: {there}")
    return found[0]


class Continuity:
    """Notices samples that a device lost without counting them: those that follow stay late."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._received = 0
        self._late: deque[tuple[float, float]] = deque()
        self._usual: float | None = None
        self._overflow_s = -np.inf

    def update(self, now_s: float, samples: int, overflow: bool) -> float:
        """Take the time and count of new samples; return how many seconds were lost before them."""
        self._received += samples
        if overflow:
            self._overflow_s = now_s
        self._late.append((now_s, now_s - self._received / self._rate))
        while self._late[0][0] < now_s - WINDOW_S:
            self._late.popleft()
        if now_s - self._late[0][0] < 0.9 * WINDOW_S:
            return 0.0
        least = min(late for _, late in self._late)
        if self._usual is None:
            self._usual = least
        lost = least - self._usual
        if lost > (SURE_AFTER_OVERFLOW_S if now_s - self._overflow_s < 2 * WINDOW_S else SURE_S):
            self._received += round(lost * self._rate)
            self._late.clear()
            return lost
        self._usual += 0.05 * lost  # the device's clock drifts
        return 0.0


class MicrophoneSource:
    """A microphone; whenever it is lost, it is looked for until it is back."""

    def __init__(self, settings: MicrophoneConfig, feeds: Sequence[Feed]) -> None:
        """Fill one feed; or, for `channel: each`, one for each channel of the device.

        An HtsatEdgeError where there is no PortAudio.
        """
        load_portaudio()
        self.feeds = list(feeds)
        self._settings = settings
        self._stop = threading.Event()
        self._thread = SupervisedThread(self.feeds[0].name, self._listen, self._lose, self._stop, self._finish)
        self._stream: Any = None
        self._last_s: float | None = None
        self._delivering = False
        self._error: str | None = None
        self._tried = False
        self._cards: list[tuple[str, int]] | None = None

    def start(self) -> None:
        """Begin to record, now or as soon as the device is there."""
        self._thread.start()

    def stop(self) -> None:
        """Close the device; give up after 5 s where PortAudio does not."""
        self._stop.set()
        self._thread.join(CLOSE_S)

    def _listen(self) -> None:
        """Listen until the source is stopped; raise an HtsatEdgeError when the device is lost."""
        if self._tried:
            self._look_again()
        self._tried = True
        try:
            self._open()
            self._watch()
        finally:
            self._close()

    def _lose(self, reason: str) -> None:
        if not self._stop.is_set():
            for feed in self.feeds:
                feed.report_lost(f"{reason}; it is looked for until it is there")

    def _finish(self) -> None:
        for feed in self.feeds:
            feed.end()

    def _open(self) -> None:
        sd = load_portaudio()
        self._delivering, self._error = False, None
        with _portaudio:
            try:
                number, device = look_up(sd, self._settings)
                channels, chosen = choose_channels(self._settings.channel, device, len(self.feeds))
                rate = choose_rate(sd, self._settings.sample_rate, number, channels, device)
                self._ended = threading.Event()
                self._stream = sd.InputStream(
                    device=number,
                    channels=channels,
                    samplerate=rate,
                    blocksize=round(BLOCK_S * rate),
                    dtype="float32",
                    callback=self._make_callback(rate, channels, chosen),
                    finished_callback=self._ended.set,
                )
                self._opened_s = time.monotonic()
                self._stream.start()
            except sd.PortAudioError as error:
                raise HtsatEdgeError(f"the microphone cannot be opened: {' '.join(str(error).split())}") from None
            _open.add(self)
        for feed in self.feeds:
            feed.device = device["name"]

    def _make_callback(self, rate: int, channels: int, chosen: Sequence[Channel]) -> Any:
        mixes = [Downmix(channels, rate, channel, feed.name) for feed, channel in zip(self.feeds, chosen, strict=True)]
        continuity, sd = Continuity(rate), load_portaudio()

        def callback(frames: FloatArray, count: int, _: Any, status: Any) -> None:
            try:
                take(frames, count, status)
            except Exception as error:
                self._error = describe(error)
                raise sd.CallbackAbort from None  # which ends the stream

        def take(frames: FloatArray, count: int, status: Any) -> None:
            now, begun_s = time.monotonic(), time.monotonic() - count / rate
            if not self._delivering:
                lost_s = 0.0 if self._last_s is None else max(0.0, begun_s - self._last_s)
                for feed in self.feeds:
                    feed.open(rate, lost_s, "the microphone was lost")
                self._last_s = begun_s
            lost_s = continuity.update(now, count, bool(status.input_overflow))
            for feed, mix in zip(self.feeds, mixes, strict=True):
                if lost_s:
                    feed.skip(lost_s, "the device was not read in time")
                feed.write(mix.push(frames))
            self._last_s = now
            if not self._delivering:
                self._delivering = True
                self._thread.worked()
                for feed in self.feeds:
                    feed.report_back("the microphone")

        return callback

    def _watch(self) -> None:
        """Wait until the source is stopped; raise an HtsatEdgeError when the device gives nothing any more."""
        while not self._stop.wait(WATCH_S):
            if self._ended.is_set():
                raise HtsatEdgeError(self._error or "the microphone is gone")
            last = self._last_s if self._delivering and self._last_s is not None else self._opened_s
            if time.monotonic() - last > STALL_S:
                raise HtsatEdgeError(f"the microphone has given nothing for {STALL_S:g} s")

    def _close(self) -> None:
        sd = load_portaudio()
        with _portaudio:
            _open.discard(self)
            if self._stream is not None:
                with suppress(sd.PortAudioError):
                    self._stream.close()
                self._stream = None

    def _look_again(self) -> None:
        """Let PortAudio look for devices, which it does only when it starts: other microphones pause meanwhile.

        While any works, do so only when the list of sound cards has changed.
        """
        sd = load_portaudio()
        cards = list_cards() or None
        with _portaudio:
            if _open and cards == self._cards:
                return
            self._cards = cards
            for other in list(_open):
                other._close()
            with suppress(sd.PortAudioError):  # which it says where it did not begin the last time
                sd._terminate()
            with suppress(sd.PortAudioError):
                sd._initialize()


def choose_channels(
    channel: Channel | Literal["each"], device: dict[str, Any], feeds: int
) -> tuple[int, list[Channel]]:
    """Return how many channels to open, and what of them goes into each feed."""
    most, name = device["max_input_channels"], device["name"]
    if channel in ("mix", "loudest"):
        return min(most, MOST_MIXED), [channel]
    if channel == "first":
        return 1, ["first"]
    if channel == "each":
        if most < feeds:
            raise HtsatEdgeError(f"{name}: has {most} channels, and had {feeds}")
        return feeds, list(range(1, feeds + 1))
    assert isinstance(channel, int)
    if channel > most:
        raise HtsatEdgeError(f"{name}: has {most} channels, but channel {channel} is asked for")
    return channel, [channel]


def choose_rate(sd: Any, wanted: int | None, number: int, channels: int, device: dict[str, Any]) -> int:
    """Return a sample rate in Hz that the device takes; raise where it refuses the wanted one."""
    taken = []
    for rate in [wanted] if wanted else [round(device["default_samplerate"]), *RATES]:
        with suppress(sd.PortAudioError):
            sd.check_input_settings(number, channels, "float32", None, rate)
            return rate
    for rate in RATES:
        with suppress(sd.PortAudioError):
            sd.check_input_settings(number, channels, "float32", None, rate)
            taken.append(str(rate))
    raise HtsatEdgeError(
        f"{device['name']}: does not take {wanted or 'any usual rate'} Hz with {channels} channels; "
        f"it takes {', '.join(taken) or 'nothing now: is another program using it?'}"
    )


def count_channels(settings: MicrophoneConfig) -> int:
    """Return the number of input channels of a device; raise a NotReadyError where it is not there."""
    sd = load_portaudio()
    try:
        with _portaudio:
            _, device = look_up(sd, settings)
    except HtsatEdgeError as error:
        raise NotReadyError(str(error)) from None
    return int(device["max_input_channels"])
