"""`htsat-edge devices`: which microphones there are, and whether they hear anything."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from htsat_edge.runtime.daemon.sources.microphone import CARDS, MOST_MIXED, load_portaudio
from rich.console import Console
from rich.table import Table

LISTEN_S = 0.5
OPEN_S = 3.0
"""A device that gives nothing for so long is said to."""


@dataclass(frozen=True)
class Input:
    """A device that can be listened to."""

    number: int
    name: str
    default: bool
    channels: int
    sample_rate: int
    """Its own."""
    stable_id: str | None
    """What finds it again: `usb:VENDOR:PRODUCT` or `alsa:ID`."""
    level_dbfs: float | None
    """None where it could not be listened to."""
    error: str | None


def run_devices(args: argparse.Namespace) -> int:
    """Run the command; 1 where there is no input at all."""
    found = list(find_inputs())
    if args.json:
        for device in found:
            print(json.dumps(asdict(device)))
    else:
        print_inputs(found)
    return 0 if found else 1


def print_inputs(found: list[Input]) -> None:
    """A table for people."""
    console = Console()
    if not found:
        console.print("no inputs: plug a microphone in; in a container, give it --device /dev/snd")
        return
    table = Table(box=None, header_style="bold")
    for column in ("#", "name", "channels", "Hz", "stable id", "level"):
        table.add_column(column)
    for device in found:
        level = device.error if device.level_dbfs is None else f"{device.level_dbfs:.0f} dBFS"
        name = f"{device.name} (default)" if device.default else device.name
        row = (device.number, name, device.channels, device.sample_rate, device.stable_id or "", level)
        table.add_row(*map(str, row))
    console.print(table)


def find_inputs() -> Iterator[Input]:
    """Every input, listened to for a moment."""
    sd = load_portaudio()
    default = sd.default.device[0]
    for number, device in enumerate(sd.query_devices()):
        if device["max_input_channels"] == 0:
            continue
        rate, channels = round(device["default_samplerate"]), device["max_input_channels"]
        level, error = listen_to(sd, number, min(channels, MOST_MIXED), rate)
        yield Input(number, device["name"], number == default, channels, rate, stable_id(device["name"]), level, error)


def listen_to(sd: Any, number: int, channels: int, rate: int) -> tuple[float | None, str | None]:
    """The level in dBFS of half a second, or why there is none."""
    blocks: list[Any] = []
    enough = threading.Event()

    def hear(frames: Any, *_: Any) -> None:
        blocks.append(frames.copy())
        if sum(map(len, blocks)) >= LISTEN_S * rate:
            enough.set()

    try:
        with sd.InputStream(device=number, channels=channels, samplerate=rate, dtype="float32", callback=hear):
            enough.wait(OPEN_S)
    except sd.PortAudioError as error:
        return None, " ".join(str(error).split())
    if not blocks:
        return None, f"gives nothing for {OPEN_S:g} s"
    return 20 * float(np.log10(max(np.concatenate(blocks).std(), 1e-10))), None


def stable_id(name: str, cards: Path = CARDS) -> str | None:
    """What finds a sound card again when it is plugged in anew, by PortAudio's name for it."""
    at = name.rfind("(hw:")
    number = name[at + 4 :].split(",")[0] if at >= 0 else ""
    for prefix, file in (("usb", "usbid"), ("alsa", "id")):
        with suppress(OSError):
            if number.isdecimal():
                return f"{prefix}:{(cards / f'card{number}' / file).read_text().strip()}"
    return None
