"""`htsat-edge check`: is this machine ready, and what to do if not."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
from htsat_edge.runtime.commands.devices import listen_to
from htsat_edge.runtime.commands.listen import read_config
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import read_machine
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import DaemonConfig, Microphone
from htsat_edge.runtime.daemon.loop import make_settings, open_model, tuned
from htsat_edge.runtime.daemon.sources.microphone import choose_channels, choose_rate, load_portaudio, look_up
from htsat_edge.runtime.detector import make_grid
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, read_bundle
from rich.console import Console

FREE_MB = 200
RUNS = 5
BUSY = 0.5
"""Of the time from one run of the model to the next; more leaves too little for the rest."""


@dataclass(frozen=True)
class Finding:
    """What was looked at."""

    name: str
    well: bool
    text: str


def run_check(args: argparse.Namespace) -> int:
    """Run the command; 1 where something is not ready."""
    console = Console()
    findings = []
    for finding in check(read_config(args)):
        mark = "[green]ok[/]  " if finding.well else "[red]mend[/]"
        console.print(f"{mark} [bold]{finding.name}[/]: ", end="")
        console.print(finding.text, markup=False, highlight=False)
        findings.append(finding)
    return 0 if all(finding.well for finding in findings) else 1


def check(config: DaemonConfig) -> Iterator[Finding]:
    """Look at everything that the configuration needs."""
    yield Finding("machine", True, str(read_machine()))
    yield look("model", partial(check_model, config))
    for source in config.sources:
        name = f"source {source.name}"
        if source.microphone is not None:
            yield look(name, partial(check_microphone, source.microphone))
        elif source.stream is not None:
            well = shutil.which("ffmpeg") is not None
            yield Finding(name, well, "ffmpeg is there" if well else "needs ffmpeg: sudo apt install ffmpeg")
        elif source.file is not None:
            yield Finding(
                name, source.file.is_file(), f"{source.file}{'' if source.file.is_file() else ': no such file'}"
            )
        else:
            yield Finding(name, True, "stdin")
    for name, path in written(config):
        yield look(name, partial(check_folder, path))
    now, well = datetime.now().astimezone(), time.time() >= CLOCK_SET
    advice = f"says {now.year}: sudo timedatectl set-ntp true; until then times of events are wrong"
    yield Finding("clock", well, f"{now:%Y-%m-%d %H:%M %Z}" if well else advice)


def look(name: str, check_it: Callable[[], str]) -> Finding:
    """What a check says, or what it fails of."""
    try:
        return Finding(name, True, check_it())
    except HtsatEdgeError as error:
        return Finding(name, False, str(error))


def check_model(config: DaemonConfig) -> str:
    """The model loads, and is fast enough."""
    bundle = read_bundle(config.model.bundle or BUNDLED)
    info = tuned(bundle.info, config)
    grid = make_grid(info, make_settings(config))
    backend = open_model(bundle, config, build=False)
    clip = np.full((1, info.frames, info.front_end.n_mels), -60, np.float32)
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        backend.infer(clip)
        times.append(time.perf_counter() - begun)
    backend.close()
    took_s, hop_s = float(np.median(times)), grid.hop_steps * info.step_s
    where = "onnxruntime" if isinstance(backend, OrtBackend) else "TensorRT"
    text = f"{info.name}, {len(info.labels)} classes, {1000 * took_s:.1f} ms a clip on {where}, one every {hop_s:g} s"
    if took_s * len(config.sources) > BUSY * hop_s:
        raise HtsatEdgeError(
            f"{text}: too slow for {len(config.sources)} sources; raise detection.hop_s, or build an engine"
        )
    return text


def check_microphone(settings: Microphone) -> str:
    """The device is there, takes a rate, and hears something."""
    sd = load_portaudio()
    number, device = look_up(sd, settings)
    channels, _ = choose_channels(settings.channel, device, device["max_input_channels"])
    rate = choose_rate(sd, settings.sample_rate, number, channels, device)
    level, error = listen_to(sd, number, channels, rate)
    name = device["name"]
    if level is None:
        raise HtsatEdgeError(f"{name}: {error}")
    if level < -100:
        raise HtsatEdgeError(f"{name}: digital silence: is it muted? alsamixer, F4")
    return f"{name}, {rate} Hz, {channels} channels, {level:.0f} dBFS"


def written(config: DaemonConfig) -> Iterator[tuple[str, Path]]:
    """What the outputs write, and where."""
    outputs = config.outputs
    if outputs.json_lines is not None:
        yield "json_lines", outputs.json_lines.path.parent
    if outputs.store is not None:
        yield "store", outputs.store.path.parent
    if outputs.clips is not None:
        yield "clips", outputs.clips.folder


def check_folder(folder: Path) -> str:
    """A folder, or the one that it will be made in, can be written to, and has room."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        raise HtsatEdgeError(f"{there}: cannot be written to by {os.environ.get('USER', os.getuid())}: chown it")
    free = shutil.disk_usage(there).free / 1e6
    if free < FREE_MB:
        raise HtsatEdgeError(f"{there}: {free:.0f} MB are free, want {FREE_MB}")
    return f"{folder}: {free / 1000:.1f} GB are free"
