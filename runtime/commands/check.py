"""`htsat-edge check`: is this machine ready, and what to do if not.

Everything is opened with what `listen` opens it with (daemon/assembly.py), one part after the other, so that each has
its line; nothing is changed.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np
from rich.console import Console
from rich.text import Text

from htsat_edge.runtime.commands.listen import KEEP, read_config
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import read_machine
from htsat_edge.runtime.common.text import listed, shown
from htsat_edge.runtime.daemon.assembly import (
    check_names,
    describe_model,
    make_outputs,
    make_recorders,
    make_source,
    open_model,
)
from htsat_edge.runtime.daemon.clock import CLOCK_SET
from htsat_edge.runtime.daemon.config import ClipsConfig, DaemonConfig, MicrophoneConfig, OutputsConfig, SourceConfig
from htsat_edge.runtime.daemon.hop import BUSY, choose_hop, time_window
from htsat_edge.runtime.daemon.live.server import check_socket
from htsat_edge.runtime.daemon.outputs.clips import ClipWriter
from htsat_edge.runtime.daemon.scorer import MOST_WINDOWS
from htsat_edge.runtime.daemon.settings import notes_of, prepare, settings_of
from htsat_edge.runtime.daemon.sources.devices import measure_level
from htsat_edge.runtime.daemon.sources.feed import Source
from htsat_edge.runtime.daemon.sources.microphone import choose_channels, choose_rate, load_portaudio, look_up
from htsat_edge.runtime.daemon.sources.streams import AGAIN
from htsat_edge.runtime.daemon.supervision import describe
from htsat_edge.runtime.dsp.blocks import AudioBlock
from htsat_edge.runtime.dsp.level import deviation_dbfs
from htsat_edge.runtime.models.backends import why_no_engine
from htsat_edge.runtime.models.backends.changing import backend_name, present_backend
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo, load_bundle
from htsat_edge.runtime.models.model import Model, load_model
from htsat_edge.runtime.models.sensitivity import describe_sensitivity
from htsat_edge.runtime.models.settings import Settings

SLOWEST = 4
"""A device that needs a hop that is longer than so many of the shortest one is too slow."""
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
    return print_results(check(read_config(args)))


def print_results(found: Iterable[CheckResult]) -> int:
    """Print each result as it comes; return 1 where something is not ready."""
    console = Console()
    results = []
    for result in found:
        mark = ("ok   ", "green") if result.ok else ("fix  ", "red")
        console.print(Text.assemble(mark, (shown(result.name), "bold"), f": {shown(result.text)}"), soft_wrap=True)
        results.append(result)
    return 0 if all(result.ok for result in results) else 1


def check(config: DaemonConfig) -> Iterator[CheckResult]:
    """Yield a result for everything that the configuration needs."""
    yield CheckResult("machine", True, str(read_machine()))
    yield (opened := attempt("bundle", partial(check_bundle, on_this_device(config))))
    if opened.ok:
        yield attempt("model", partial(check_model, on_this_device(config)))
    if config.model.backend == "remote":
        yield attempt("server", partial(check_server, config))
    if (sounds := attempt("sounds", partial(check_sounds, config))).text:
        yield sounds
    info, usable = model_of(config)
    names: list[str] = []
    for source in config.sources:
        yield attempt(f"source {source.name}", partial(check_source, source, info, names))
    if not (unique := attempt("sources", partial(check_names, names))).ok:
        yield unique
    yield from check_outputs(config.outputs, names, info, usable)
    if config.web is not None:
        yield attempt("web", partial(check_page, config))
    now, ok = datetime.now().astimezone(), time.time() >= CLOCK_SET
    advice = f"says {now.year}: sudo timedatectl set-ntp true; until then the times of events are wrong"
    yield CheckResult("clock", ok, f"{now:%Y-%m-%d %H:%M %Z}" if ok else advice)


def attempt(name: str, check_it: Callable[[], str | None]) -> CheckResult:
    """Return what a check reports, or the error that it raises."""
    try:
        return CheckResult(name, True, check_it() or "")
    except Exception as error:  # an error that nobody expected must not hide the other results
        return CheckResult(name, False, describe(error))


def model_of(config: DaemonConfig) -> tuple[ModelInfo, DaemonConfig]:
    """Return the model with a configuration that fits it: the bundled one and the defaults, where this one does not."""
    try:
        info = read_model(config).info
        prepare(info, config)
    except HtsatEdgeError:
        return load_bundle(BUNDLED).info, DaemonConfig()
    return info, config


def read_model(config: DaemonConfig) -> Model:
    """Return the model with the sounds that were enrolled."""
    return load_model(config.model.bundle or BUNDLED, config.model.sounds)


def check_sounds(config: DaemonConfig) -> str | None:
    """Return which sounds were enrolled, None where none was; raise where one cannot be heard."""
    sounds = read_model(config).sounds
    if notes := sounds.notes():
        raise HtsatEdgeError("; ".join(notes))
    return f"{sounds.folder}: {listed(sounds.labels)}" if sounds.labels else None


def check_bundle(config: DaemonConfig) -> str:
    """Return what listens, and why it is no engine where one could be expected; raise where it does not load."""
    model = read_model(config)
    with closing(open_model(model, config, build=False)) as backend:
        on_cpu, text = isinstance(present_backend(backend), OrtBackend), describe_model(model, backend)
    why = why_no_engine(model.bundle, config.model.precision) if on_cpu and config.model.backend == "auto" else ""
    return f"{text}; no engine is used: {why}" if why else text


def check_model(config: DaemonConfig) -> str:
    """Return how fast the model is; raise where it does not load or is too slow."""
    model = read_model(config)
    info, settings = model.info, prepare(model.info, config)
    backend = open_model(model, config, build=False)
    sources = count_feeds(config, info)
    window_s = time_window(backend, info, sources)
    backend.close()
    hop_s = settings.grid(info).hop_steps * info.step_s
    live = any(source.file is None for source in config.sources)  # a recording waits for a slow device
    if auto := live and config.detection.hop_s == "auto":
        hop_s = choose_hop(window_s * sources, hop_s, SLOWEST * hop_s)
        settings = replace(settings, hop_s=hop_s)
    share = window_s * sources / hop_s
    where = "onnxruntime" if isinstance(present_backend(backend), OrtBackend) else "TensorRT"
    text = (
        f"{info.name}, {len(info.labels)} classes, {1000 * window_s:.1f} ms a window on {where}, one every {hop_s:g} s"
        f"{' (auto)' if auto else ''}: {share:.0%} of the time for {sources} source{'s' * (sources > 1)}; "
        f"a clear sound is reported {settings.latency_s(info):.2f} s after its onset"
    )
    if live and share > BUSY:
        how = "take fewer sources" if auto else "detection.hop_s: auto"
        raise HtsatEdgeError(f"{text}; it is too slow: build an engine, or {how}")
    return "; ".join(
        filter(None, (text, describe_sensitivity(info, settings), *notes_of(model.bundle.info, info, config)))
    )


def on_this_device(config: DaemonConfig) -> DaemonConfig:
    """Return the configuration without a server, which may be gone."""
    model = config.model.model_copy(update={"backend": config.model.local_backend})
    return config.model_copy(update={"model": model})


def check_server(config: DaemonConfig) -> str:
    """Return how fast the server is that runs the model; raise where it is gone, or too slow to be used."""
    model, remote = read_model(config), config.model.remote
    assert remote is not None
    sources = count_feeds(config, model.info)
    with closing(model.open(kind="remote", server=remote.server())) as backend:
        window_s = time_window(backend, model.info, sources)
        text = f"{backend_name(backend)}: is ready, {1000 * window_s:.1f} ms a window"
    if (answer_s := window_s * min(sources, MOST_WINDOWS)) > remote.timeout_s:
        raise HtsatEdgeError(
            f"{text}, {answer_s:.2g} s for an answer, more than model.remote.timeout_s ({remote.timeout_s:g}): "
            "it would not be used"
        )
    return text


def count_feeds(config: DaemonConfig, info: ModelInfo) -> int:
    """Return how many sources there are, where a microphone may be several; one that cannot be opened is one."""
    count = 0
    for source in config.sources:
        try:
            count += len(make_source(source, info, threading.Event()).feeds)
        except HtsatEdgeError:
            count += 1
    return count


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
    config: OutputsConfig, sources: list[str], info: ModelInfo, usable: DaemonConfig
) -> Iterator[CheckResult]:
    """Yield a result for every output but stdout."""
    settings = {source: settings_of(source, info, usable) for source in sources}
    labels = {source: own.reported(info) for source, own in settings.items()}
    if not config.keeps_events:
        yield CheckResult("outputs", True, f"nothing that is heard is kept; {KEEP} in the configuration keeps events")
    for name in SENDERS:
        if (section := getattr(config, name)) is not None:
            alone = OutputsConfig.model_validate({"stdout": False, name: section})
            yield attempt(name, partial(check_sender, alone, labels))
    if config.notify is not None:
        from htsat_edge.runtime.daemon.outputs.notify.output import open_services

        for service in open_services(config.notify).values():
            yield attempt(service.name, service.check)
    if config.clips is not None:
        yield attempt("clips", partial(check_clips, config.clips, info, [*settings.values()]))
    if config.metrics is not None:
        from htsat_edge.runtime.daemon.outputs.metrics import check_metrics

        yield attempt("metrics", partial(check_metrics, config.metrics))


def check_sender(alone: OutputsConfig, labels: Mapping[str, Sequence[str]]) -> str:
    """Return what an output, the only one of its configuration, reports; raise where it could not send."""
    (output,) = make_outputs(alone, labels, levels={}, session="check")  # nothing begins
    return output.check()


def check_page(config: DaemonConfig) -> str:
    """Return where the page will be; raise where it, or the socket by which it gets what is heard, could not be."""
    if config.live_socket is not None:
        check_socket(config.live_socket)
    if config.web is None or not config.web.start:
        return "`htsat-edge web --config …` starts it"
    from htsat_edge.runtime.commands.web import check_web

    return check_web(config)


def check_clips(config: ClipsConfig, info: ModelInfo, settings: Sequence[Settings]) -> str:
    """Return the room for clips; raise where they could not be cut or written."""
    writer = ClipWriter(config)
    for own in settings:
        make_recorders(writer, "", info, own)
    return writer.check()
