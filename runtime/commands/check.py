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
from rich.console import Console
from rich.text import Text

from htsat_edge.runtime.commands.listen import read_config
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import read_machine
from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.daemon.assembly import open_model, prepare
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import DaemonConfig, MicrophoneConfig
from htsat_edge.runtime.daemon.sources.devices import measure_level
from htsat_edge.runtime.daemon.sources.microphone import choose_channels, choose_rate, load_portaudio, look_up
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

FREE_MB = 200
RUNS = 5
BUSY = 0.5
"""Of the time from one run of the model to the next; more leaves too little for the rest."""


@dataclass(frozen=True)
class CheckResult:
    """Whether something is as the daemon needs it."""

    name: str
    ok: bool
    text: str


def run(args: argparse.Namespace) -> int:
    """Run the command; return 1 where something is not ready."""
    console = Console()
    results = []
    for result in check(read_config(args)):
        mark = ("ok   ", "green") if result.ok else ("fix  ", "red")
        console.print(Text.assemble(mark, (result.name, "bold"), f": {result.text}"), soft_wrap=True)
        results.append(result)
    return 0 if all(result.ok for result in results) else 1


def check(config: DaemonConfig) -> Iterator[CheckResult]:
    """Yield a result for everything that the configuration needs."""
    yield CheckResult("machine", True, str(read_machine()))
    yield attempt("model", partial(check_model, config))
    for source in config.sources:
        name = f"source {source.name}"
        if source.microphone is not None:
            yield attempt(name, partial(check_microphone, source.microphone))
        elif source.stream is not None:
            ok = shutil.which("ffmpeg") is not None
            yield CheckResult(name, ok, "ffmpeg is there" if ok else "needs ffmpeg: sudo apt install ffmpeg")
        elif source.file is not None:
            yield CheckResult(
                name, source.file.is_file(), f"{source.file}{'' if source.file.is_file() else ': no such file'}"
            )
        else:
            yield CheckResult(name, True, "stdin")
    for name, path in output_folders(config):
        yield attempt(name, partial(check_folder, path))
    now, ok = datetime.now().astimezone(), time.time() >= CLOCK_SET
    advice = f"says {now.year}: sudo timedatectl set-ntp true; until then the times of events are wrong"
    yield CheckResult("clock", ok, f"{now:%Y-%m-%d %H:%M %Z}" if ok else advice)


def attempt(name: str, check_it: Callable[[], str]) -> CheckResult:
    """Return what a check reports, or the error that it raises."""
    try:
        return CheckResult(name, True, check_it())
    except HtsatEdgeError as error:
        return CheckResult(name, False, str(error))


def check_model(config: DaemonConfig) -> str:
    """Return how fast the model is; raise where it does not load or is too slow."""
    bundle = load_bundle(config.model.bundle or BUNDLED)
    info, settings = prepare(bundle.info, config)
    backend = open_model(bundle, config, build=False)
    window = np.full((1, info.frames, info.front_end.n_mels), -60, np.float32)
    took_s = float(np.median(time_calls(lambda: backend.infer(window), RUNS)))
    backend.close()
    hop_s = settings.grid(info).hop_steps * info.step_s
    where = "onnxruntime" if isinstance(backend, OrtBackend) else "TensorRT"
    text = f"{info.name}, {len(info.labels)} classes, {1000 * took_s:.1f} ms a window on {where}, one every {hop_s:g} s"
    if took_s * len(config.sources) > BUSY * hop_s:
        raise HtsatEdgeError(
            f"{text}: too slow for {len(config.sources)} sources; raise detection.hop_s, or build an engine"
        )
    return text


def check_microphone(settings: MicrophoneConfig) -> str:
    """Return the device with its rate and level; raise where it is not there or hears nothing."""
    sd = load_portaudio()
    number, device = look_up(sd, settings)
    channels, _ = choose_channels(settings.channel, device, device["max_input_channels"])
    rate = choose_rate(sd, settings.sample_rate, number, channels, device)
    level, error = measure_level(sd, number, channels, rate)
    name = device["name"]
    if level is None:
        raise HtsatEdgeError(f"{name}: {error}")
    if level < -100:
        raise HtsatEdgeError(f"{name}: digital silence: is it muted? alsamixer, F4")
    return f"{name}, {rate} Hz, {channels} channels, {level:.0f} dBFS"


def output_folders(config: DaemonConfig) -> Iterator[tuple[str, Path]]:
    """Yield the outputs that write files, with their folders."""
    outputs = config.outputs
    if outputs.json_lines is not None:
        yield "json_lines", outputs.json_lines.path.parent
    if outputs.store is not None:
        yield "store", outputs.store.path.parent
    if outputs.clips is not None:
        yield "clips", outputs.clips.folder


def check_folder(folder: Path) -> str:
    """Return the room in a folder, or in the one that it will be made in; raise where it cannot be written to."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not os.access(there, os.W_OK | os.X_OK):
        raise HtsatEdgeError(f"{there}: cannot be written to by {os.environ.get('USER', os.getuid())}: chown it")
    free = shutil.disk_usage(there).free / 1e6
    if free < FREE_MB:
        raise HtsatEdgeError(f"{there}: {free:.0f} MB are free, want {FREE_MB}")
    return f"{folder}: {free / 1000:.1f} GB are free"
