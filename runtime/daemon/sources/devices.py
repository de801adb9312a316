"""The inputs of this machine, and how loud each is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from htsat_edge.runtime.daemon.sources.cards import stable_id
from htsat_edge.runtime.daemon.sources.microphone import MOST_MIXED, load_portaudio
from htsat_edge.runtime.daemon.sources.sieve import INVALID
from htsat_edge.runtime.dsp.audio import LOUDEST
from htsat_edge.runtime.dsp.level import deviation_dbfs

MEASURE_S = 0.5
OPEN_S = 3.0
"""A device that gives nothing for so long is reported as such."""


@dataclass(frozen=True)
class Input:
    """A device that can be listened to."""

    number: int
    name: str
    default: bool
    channels: int
    sample_rate: int
    """Its default, in Hz."""
    stable_id: str | None
    """Finds it again: `usb:VENDOR:PRODUCT` or `alsa:ID`."""
    level_dbfs: float | None
    """None where it could not be measured."""
    error: str | None


def find_inputs() -> Iterator[Input]:
    """Yield every input, after listening to it for a moment."""
    sd = load_portaudio()
    default = sd.default.device[0]
    for number, device in enumerate(sd.query_devices()):
        if device["max_input_channels"] == 0:
            continue
        rate, channels = round(device["default_samplerate"]), device["max_input_channels"]
        level, error = measure_level(sd, number, min(channels, MOST_MIXED), rate)
        yield Input(number, device["name"], number == default, channels, rate, stable_id(device["name"]), level, error)


def measure_level(sd: Any, number: int, channels: int, rate: int) -> tuple[float | None, str | None]:
    """Return the level in dBFS of half a second, or why there is none."""
    blocks: list[Any] = []
    enough = threading.Event()

    def callback(frames: Any, *_: Any) -> None:
        blocks.append(frames.copy())
        if sum(map(len, blocks)) >= MEASURE_S * rate:
            enough.set()

    try:
        with sd.InputStream(device=number, channels=channels, samplerate=rate, dtype="float32", callback=callback):
            enough.wait(OPEN_S)
    except sd.PortAudioError as error:
        return None, " ".join(str(error).split())
    if not blocks:
        return None, f"gives nothing for {OPEN_S:g} s"
    samples = np.concatenate(blocks)
    if not (np.abs(samples) <= LOUDEST).all():
        return None, f"gives {INVALID}"
    return deviation_dbfs(samples), None
