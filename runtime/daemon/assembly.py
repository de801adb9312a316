"""Build the daemon's parts as a configuration wants them."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, DetectionConfig, MetricsConfig, OutputsConfig, SourceConfig
from htsat_edge.runtime.daemon.hop import HopControl, control_hop
from htsat_edge.runtime.daemon.level import with_level_label
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.daemon.outputs.clips import ClipRecorder, ClipWriter
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.daemon.page import open_page
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.rules import Rules, check_labels
from htsat_edge.runtime.daemon.score_recorder import ScoreRecorder
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.sources.feed import Feed, Source
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.bundle import BUNDLED, DEFAULT_THRESHOLD, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.groups import read_groups
from htsat_edge.runtime.models.settings import Settings

if TYPE_CHECKING:
    from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer

KEY = r"\w+: "
"""What an error of the settings begins with, where it is about one of them."""
logger = logging.getLogger(__name__)


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
    hop: HopControl | None = None
    """None where the hop is fixed."""

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
    info = bundle.info
    if note := note_thresholds(info, prepare(info, config)):
        logger.warning(note)
    with ExitStack() as opened:
        backend = open_model(bundle, config, config.model.build)
        opened.callback(backend.close)
        scorer = Scorer(backend, info.front_end, config.detection.gate_dbfs)
        sources = [make_source(source, info, news) for source in config.sources] if sources is None else sources
        feeds = [feed for source in sources for feed in source.feeds]
        check_names([feed.name for feed in feeds])
        settings = {feed.name: settings_of(feed.name, info, config) for feed in feeds}
        labels = {name: with_level_label(own.reported(info), config.level) for name, own in settings.items()}
        outputs = make_outputs(config.outputs, labels, config.calibrated([*labels]))
        store = next((output for output in outputs if isinstance(output, StoreOutput)), None)
        writer = make_writer(config.outputs, store)
        publisher = Publisher(outputs, system, writer)
        sessions = [make_session(feed, info, settings[feed.name], config, system, writer) for feed in feeds]
        hop = control_hop(sessions, scorer, backend) if config.detection.hop_s == "auto" else None
        record_scores(store, sessions, config.outputs)
        for sender in publisher.senders:
            sender.start()
            opened.callback(sender.close)
        open_servers(config, StatusReader(sessions, scorer, publisher), opened)
        for sender in publisher.senders:
            if sender is not store or writer is None:  # the store is told of the last clips, and ends after them
                opened.callback(sender.end)  # all at once, and first
        return Parts(sources, sessions, scorer, publisher, system, news, opened.pop_all(), hop)


def make_writer(config: OutputsConfig, store: StoreOutput | None) -> ClipWriter | None:
    """Return what writes clips, where they are wanted; the store is told of them, and knows which are locked."""
    if config.clips is None:
        return None
    return ClipWriter(config.clips) if store is None else ClipWriter(config.clips, store.record, store.locked_clips)


def record_scores(store: StoreOutput | None, sessions: Sequence[SourceSession], config: OutputsConfig) -> None:
    """Have the scores of every session stored, where there is a store, and what its rules leave out."""
    if store is None:
        return
    with_scores = config.store is not None and config.store.scores is not None
    for session in sessions:
        session.observers = [*session.observers, ScoreRecorder(store, session, with_scores)]


def prepare(info: ModelInfo, config: DaemonConfig) -> Settings:
    """Return the settings of detection; raise an HtsatEdgeError where they, a source's or the rules do not fit."""
    settings = to_settings("detection", info, config.detection)
    each = [settings, *(settings_of(source.name, info, config) for source in config.sources)]
    names = dict.fromkeys(name for own in each for name in own.reported(info))
    check_labels(config.rules, with_level_label([*names], config.level))
    return settings


def settings_of(source: str, info: ModelInfo, config: DaemonConfig) -> Settings:
    """Return the settings of detection in a source; raise an HtsatEdgeError where the model cannot work with them."""
    detection = config.detection_of(source)
    where = "detection" if detection == config.detection else f"sources: {source}: detection"
    return to_settings(where, info, detection)


def to_settings(where: str, info: ModelInfo, detection: DetectionConfig) -> Settings:
    """Return a section as settings; raise an HtsatEdgeError that says where it is, if the model cannot work with it."""
    try:
        named = detection.groups
        settings = Settings(
            hop_s=None if detection.hop_s == "auto" else detection.hop_s,
            look_ahead_s=detection.look_ahead_s,
            threshold=detection.threshold,
            release=detection.release,
            min_length_s=detection.min_length_s,
            merge_gap_s=detection.merge_gap_s,
            early_margin=detection.early_margin,
            mirror_s=detection.mirror_s,
            labels=tuple(detection.labels) if detection.labels else None,
            groups=read_groups(named, info) if isinstance(named, str) else named,
            thresholds=detection.thresholds,
            confirm_s=detection.confirm_s,
            most_specific=detection.most_specific,
        )
        settings.validate(info)
    except HtsatEdgeError as error:
        raise HtsatEdgeError(f"{where}{'.' if re.match(KEY, str(error)) else ': '}{error}") from None
    return settings


def note_thresholds(info: ModelInfo, settings: Settings) -> str:
    """Return which thresholds count where a bundle has none, as those of published checkpoints; else nothing."""
    if info.thresholds or settings.threshold is not None:
        return ""
    names, plain = settings.reported(info), settings.without_threshold(info)
    return (
        f"{info.name}: the bundle has no thresholds: {len(names) - len(plain)} classes have those of the configuration "
        f"or of their groups, {len(plain)} have {DEFAULT_THRESHOLD:g}; `htsat-edge detect --top` shows what scores"
    )


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


def make_outputs(
    config: OutputsConfig, labels: Mapping[str, Sequence[str]], levels: Mapping[str, bool] = {}
) -> list[Output[Any]]:
    """Return the outputs that the configuration names, for events of these classes by source.

    `levels` has the sources whose level is published, and whether it is calibrated.
    """
    outputs: list[Output[Any]] = []
    if config.stdout:
        outputs.append(Stdout())
    if config.json_lines is not None:
        outputs.append(JsonLinesFile(config.json_lines))
    if config.store is not None:
        outputs.append(StoreOutput(config.store))
    if config.mqtt is not None:
        from htsat_edge.runtime.daemon.outputs.mqtt import Mqtt

        outputs.append(Mqtt(config.mqtt, {source: sorted(own) for source, own in labels.items()}, levels))
    if config.webhook is not None:
        from htsat_edge.runtime.daemon.outputs.webhook import Webhook

        outputs.append(Webhook(config.webhook))
    return outputs


def open_servers(config: DaemonConfig, status: StatusReader, opened: ExitStack) -> None:
    """Begin to say how the daemon gets on, to Prometheus and to the page, where these are wanted; `opened` ends it."""
    if config.outputs.metrics is not None:
        server = open_metrics(config.outputs.metrics, Collector(status))
        status.publisher.reporters.append(server)
        opened.callback(server.close)
    open_page(config, status, opened)


def open_metrics(settings: MetricsConfig, collector: Collector) -> MetricsServer:
    """Begin to serve the figures that a collector finds; raise an HtsatEdgeError where that cannot be done."""
    from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer

    server = MetricsServer(settings, collector)
    server.start()
    return server


def make_session(
    feed: Feed,
    info: ModelInfo,
    settings: Settings,
    config: DaemonConfig,
    system: SystemClock,
    writer: ClipWriter | None,
) -> SourceSession:
    """Return the session of a source."""
    return SourceSession(
        feed,
        info,
        settings,
        config.health,
        system,
        make_recorders(writer, feed.name, info, settings),
        Rules(config.rules, feed.name),
        config.level_of(feed.name),
    )


def make_recorders(writer: ClipWriter | None, source: str, info: ModelInfo, settings: Settings) -> list[ClipRecorder]:
    """Return what cuts the clips of a source, where clips are wanted."""
    if writer is None:
        return []
    label, privacy = writer.settings.speech_label, writer.settings.privacy
    speech = settings.classes(info).columns_of(label, info)
    if privacy == "no_speech" and not speech:
        raise HtsatEdgeError(f"outputs.clips.speech_label: {label}: the model knows no such class")
    late_s = settings.settled_s(info) + info.steps * info.step_s
    return [ClipRecorder(writer, source, speech, late_s)]
