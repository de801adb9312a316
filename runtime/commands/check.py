"""`htsat-edge check`: is this machine ready, and what to do if not.

Everything is opened with what `listen` opens it with (daemon/assembly.py), one part after the other, so that each has
its line; nothing is changed.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
from rich.console import Console
from rich.text import Text

from htsat_edge.runtime.commands.listen import read_config
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import read_machine
from htsat_edge.runtime.common.text import shown
from htsat_edge.runtime.common.timing import time_calls
from htsat_edge.runtime.daemon.assembly import (
    check_names,
    make_outputs,
    make_recorders,
    make_source,
    open_model,
    prepare,
)
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import ClipsConfig, DaemonConfig, MicrophoneConfig, OutputsConfig, SourceConfig
from htsat_edge.runtime.daemon.outputs.clips import ClipWriter
from htsat_edge.runtime.daemon.sources.devices import measure_level
from htsat_edge.runtime.daemon.sources.feed import Source
from htsat_edge.runtime.daemon.sources.microphone import choose_channels, choose_rate, load_portaudio, look_up
from htsat_edge.runtime.daemon.sources.streams import AGAIN
from htsat_edge.runtime.daemon.supervision import describe
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.level import deviation_dbfs
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

RUNS = 5
BUSY = 0.5
"""Of the time from one run of the model to the next; more leaves too little for the rest."""
HEAR_S = 20.0
"""For a stream to give something; a camera may need half of it to begin."""
SENDERS = ("json_lines", "store", "mqtt", "webhook")
"""The outputs that get messages, but for the standard output, which is always there."""


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
        console.print(Text.assemble(mark, (shown(result.name), "bold"), f": {shown(result.text)}"), soft_wrap=True)
        results.append(result)
    return 0 if all(result.ok for result in results) else 1


def check(config: DaemonConfig) -> Iterator[CheckResult]:
    """Yield a result for everything that the configuration needs."""
    yield CheckResult("machine", True, str(read_machine()))
    yield attempt("model", partial(check_model, config))
    info, settings = model_of(config)
    names: list[str] = []
    for source in config.sources:
        yield attempt(f"source {source.name}", partial(check_source, source, info, names))
    if not (unique := attempt("sources", partial(check_names, names))).ok:
        yield unique
    yield from check_outputs(config.outputs, names, info, settings)
    now, ok = datetime.now().astimezone(), time.time() >= CLOCK_SET
    advice = f"says {now.year}: sudo timedatectl set-ntp true; until then the times of events are wrong"
    yield CheckResult("clock", ok, f"{now:%Y-%m-%d %H:%M %Z}" if ok else advice)


def attempt(name: str, check_it: Callable[[], str | None]) -> CheckResult:
    """Return what a check reports, or the error that it raises."""
    try:
        return CheckResult(name, True, check_it() or "")
    except Exception as error:  # an error that nobody expected must not hide the other results
        return CheckResult(name, False, describe(error))


def model_of(config: DaemonConfig) -> tuple[ModelInfo, Settings]:
    """Return the model and the settings, or those of the bundled model where the configuration's cannot be had."""
    try:
        return prepare(load_bundle(config.model.bundle or BUNDLED).info, config)
    except HtsatEdgeError:
        return prepare(load_bundle(BUNDLED).info, DaemonConfig())


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


def check_source(config: SourceConfig, info: ModelInfo, names: list[str]) -> str:
    """Return what a source is; raise where it cannot be heard. The names of its feeds are added to `names`."""
    news = threading.Event()
    source = make_source(config, info, news)
    names += [feed.name for feed in source.feeds]
    if config.microphone is not None:
        return check_microphone(config.microphone)
    if config.stream is not None:
        return hear(source, news)
    return "stdin" if config.file is None else str(config.file)


def hear(source: Source, news: threading.Event) -> str:
    """Start a source; return how loud its first second is, or raise where nothing comes."""
    (feed,) = source.feeds
    source.start()
    try:
        end_s, heard = time.monotonic() + HEAR_S, list[AudioBlock]()
        while time.monotonic() < end_s and sum(block.end_s - block.start_s for block in heard) < 1:
            news.wait(0.25)
            news.clear()
            while (item := feed.read()) is not None:
                heard += [item] if isinstance(item, AudioBlock) else []
            for notice in feed.notices():
                if not heard:
                    raise HtsatEdgeError(notice.text.removesuffix(AGAIN))
        if not heard:
            raise HtsatEdgeError(f"it gave nothing for {HEAR_S:g} s")
    finally:
        source.stop()
    samples = np.concatenate([block.samples for block in heard])
    return f"it gives {deviation_dbfs(samples):.0f} dBFS"


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


def check_outputs(
    config: OutputsConfig, sources: list[str], info: ModelInfo, settings: Settings
) -> Iterator[CheckResult]:
    """Yield a result for every output but stdout."""
    labels = settings.labels or info.labels
    for name in SENDERS:
        if (section := getattr(config, name)) is not None:
            alone = OutputsConfig.model_validate({"stdout": False, name: section})
            yield attempt(name, partial(check_sender, alone, sources, labels))
    if config.clips is not None:
        yield attempt("clips", partial(check_clips, config.clips, info, settings))
    if config.metrics is not None:
        from htsat_edge.runtime.daemon.outputs.metrics import check_metrics

        yield attempt("metrics", partial(check_metrics, config.metrics))


def check_sender(alone: OutputsConfig, sources: list[str], labels: Sequence[str]) -> str:
    """Return what an output, the only one of its configuration, reports; raise where it could not send."""
    (output,) = make_outputs(alone, sources, labels)
    return output.check()


def check_clips(config: ClipsConfig, info: ModelInfo, settings: Settings) -> str:
    """Return the room for clips; raise where they could not be cut or written."""
    writer = ClipWriter(config)
    make_recorders(writer, "", info, settings)
    return writer.check()
