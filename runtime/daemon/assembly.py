"""Build the daemon's parts as a configuration wants them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, MetricsConfig, OutputsConfig, SourceConfig
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.daemon.outputs.clips import ClipRecorder, ClipWriter
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed, Source
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

if TYPE_CHECKING:
    from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer


@dataclass
class Parts:
    """What a daemon works with; a context that releases all of it."""

    sources: Sequence[Source]
    sessions: Sequence[SourceSession]
    scorer: Scorer
    publisher: Publisher
    system: SystemClock
    news: threading.Event
    """Set when a source has something to read."""
    opened: ExitStack = field(default_factory=ExitStack)
    """Releases the parts, the last first."""

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.opened.close()


def assemble(
    config: DaemonConfig, sources: Sequence[Source] | None = None, news: threading.Event | None = None
) -> Parts:
    """Open the model and the outputs, and prepare the sources.

    Parameters
    ----------
    config
        The configuration.
    sources, news
        Take the place of the configuration's sources; `news` is the event that their feeds set.

    Raises
    ------
    HtsatEdgeError
        Something that the configuration asks for cannot be had; whatever was opened is closed.
    """
    news = news or threading.Event()
    system = SystemClock(time.time(), time.monotonic())
    bundle = load_bundle(config.model.bundle or BUNDLED)
    info, settings = prepare(bundle.info, config)
    with ExitStack() as opened:
        backend = open_model(bundle, config, config.model.build)
        opened.callback(backend.close)
        scorer = Scorer(backend, info.front_end, config.detection.gate_dbfs)
        sources = [make_source(source, info, news) for source in config.sources] if sources is None else sources
        feeds = [feed for source in sources for feed in source.feeds]
        check_names([feed.name for feed in feeds])
        outputs = make_outputs(config.outputs, [feed.name for feed in feeds], settings.labels or info.labels)
        writer = None if config.outputs.clips is None else ClipWriter(config.outputs.clips)
        publisher = Publisher(outputs, system, writer)
        sessions = [
            SourceSession(
                feed, info, settings, config.health, system, make_recorders(writer, feed.name, info, settings)
            )
            for feed in feeds
        ]
        for sender in publisher.senders:
            sender.start()
            opened.callback(sender.close)
        if config.outputs.metrics is not None:
            server = open_metrics(config.outputs.metrics, Collector(sessions, scorer, publisher))
            publisher.reporters.append(server)
            opened.callback(server.close)
        for sender in publisher.senders:
            opened.callback(sender.end)  # all at once, and first
        return Parts(sources, sessions, scorer, publisher, system, news, opened.pop_all())


def prepare(info: ModelInfo, config: DaemonConfig) -> tuple[ModelInfo, Settings]:
    """Return the model with the configuration's thresholds, and the settings of detection, both validated."""
    detection = config.detection
    info.check_labels("detection.thresholds", detection.thresholds)
    info.check_labels("detection.labels", detection.labels or ())
    info = info.model_copy(update={"thresholds": {**info.thresholds, **detection.thresholds}})
    settings = Settings(
        hop_s=detection.hop_s,
        look_ahead_s=detection.look_ahead_s,
        threshold=detection.threshold,
        release=detection.release,
        min_length_s=detection.min_length_s,
        merge_gap_s=detection.merge_gap_s,
        labels=tuple(detection.labels) if detection.labels else None,
    )
    settings.validate(info)
    return info, settings


def check_names(names: Sequence[str]) -> None:
    """Raise an HtsatEdgeError where two sources have one name: their events could not be told apart."""
    for name in names:
        if names.count(name) > 1:
            raise HtsatEdgeError(f"sources: {name} is there twice")


def open_model(bundle: Bundle, config: DaemonConfig, build: bool) -> Backend:
    """Open the backend that the configuration wants; with `build` an engine is built where none fits."""
    model = config.model
    threads = model.threads or max(1, cores() - 1)
    return open_backend(bundle, model.precision, model.backend, build, threads)


def make_source(config: SourceConfig, info: ModelInfo, news: threading.Event) -> Source:
    """Return a source with its feeds."""
    from htsat_edge.runtime.daemon.sources import streams

    if config.file is not None:
        return streams.FileSource(config.file, Feed(config.name, news, live=False))
    if config.stdin is not None:
        return streams.PcmSource(config.stdin, Feed(config.name, news, live=True))
    if config.stream is not None:
        return streams.FfmpegSource(config.stream, Feed(config.name, news, live=True), info.front_end.sample_rate)
    assert config.microphone is not None
    from htsat_edge.runtime.daemon.sources.microphone import MicrophoneSource, count_channels

    names = [config.name]
    if config.microphone.channel == "each":
        names = [f"{config.name}/{i + 1}" for i in range(count_channels(config.microphone))]
    return MicrophoneSource(config.microphone, [Feed(name, news, live=True) for name in names])


def make_outputs(config: OutputsConfig, sources: Sequence[str], labels: Sequence[str]) -> list[Output[Any]]:
    """Return the outputs that the configuration names, for events of these classes in these sources."""
    outputs: list[Output[Any]] = []
    if config.stdout:
        outputs.append(Stdout())
    if config.json_lines is not None:
        outputs.append(JsonLinesFile(config.json_lines))
    if config.store is not None:
        from htsat_edge.runtime.daemon.outputs.store import StoreOutput

        outputs.append(StoreOutput(config.store))
    if config.mqtt is not None:
        from htsat_edge.runtime.daemon.outputs.mqtt import Mqtt

        outputs.append(Mqtt(config.mqtt, sources, sorted(labels)))
    if config.webhook is not None:
        from htsat_edge.runtime.daemon.outputs.webhook import Webhook

        outputs.append(Webhook(config.webhook))
    return outputs


def open_metrics(settings: MetricsConfig, collector: Collector) -> MetricsServer:
    """Begin to serve the figures that a collector finds; raise an HtsatEdgeError where that cannot be done."""
    from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer

    server = MetricsServer(settings, collector)
    server.start()
    return server


def make_recorders(writer: ClipWriter | None, source: str, info: ModelInfo, settings: Settings) -> list[ClipRecorder]:
    """Return what cuts the clips of a source, where clips are wanted."""
    if writer is None:
        return []
    late_s = settings.latency_s(info) + info.steps * info.step_s
    return [ClipRecorder(writer, source, info.labels, late_s)]
